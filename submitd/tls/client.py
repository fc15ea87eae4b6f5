"""The client's side of TLS, by policy."""

from pathlib import Path
from typing import Any, Final

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from zope.interface import implementer

_PEM_END: Final = b"-----END CERTIFICATE-----"


@implementer(IOpenSSLClientConnectionCreator)
class Unverified:
    """Encrypts without asking who is there: better than clear text (RFC 7435)."""

    def __init__(self, host: str) -> None:
        self._host = host

    def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:  # noqa: ARG002
        """As Twisted asks, once a handshake."""
        connection = SSL.Connection(_unverified_context(), None)
        if not _is_address(self._host):
            connection.set_tlsext_host_name(self._host.encode("ascii"))
        return connection


class BadTlsName(Exception):
    """A host has a name that no certificate can be for."""


_CONTEXTS: Final[list[SSL.Context]] = []


def _unverified_context() -> SSL.Context:
    if not _CONTEXTS:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(SSL.OP_NO_COMPRESSION)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        _CONTEXTS.append(context)
    return _CONTEXTS[0]


def load_trust(ca_file: Path) -> Any:  # noqa: ANN401 - Twisted's private IOpenSSLTrustRoot
    """Who may vouch, from a PEM file. Blocks.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no certificate.
    """
    blocks = ca_file.read_bytes().split(_PEM_END)[:-1]
    try:
        certificates = [Certificate.loadPEM(one + _PEM_END + b"\n") for one in blocks]
    except SSL.Error as problem:
        raise ValueError("holds no usable certificate in PEM") from problem
    if not certificates:
        raise ValueError("holds no certificate in PEM")
    return trustRootFromCertificates(certificates)


def verified(host: str, trust: Any = None) -> Any:  # noqa: ANN401
    """Verifies the chain, and the name with service-identity.

    ``trust``: from `load_trust`; None: the system's.

    Raises:
        BadTlsName: no certificate can be for such a name.
    """
    try:
        return optionsForClientTLS(host, trustRoot=trust or platformTrust())
    except ValueError as problem:
        raise BadTlsName(f"{host} is no name for a certificate: {problem}") from problem


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdecimal()
