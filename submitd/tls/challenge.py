"""The TLS server that an authority asks in a tls-alpn-01 challenge (RFC 8737)."""

from typing import Any, Final

from cryptography import x509
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer

_PROTOCOL: Final = b"acme-tls/1"


@implementer(IOpenSSLServerConnectionCreator)
class ProofTls:
    """Shows the proof for the name that is asked for; has nothing for others."""

    def __init__(self) -> None:
        self._proofs: dict[bytes, SSL.Context] = {}
        self._none = _context()
        self._none.set_tlsext_servername_callback(self._choose)

    def show(self, name: str, certificate: bytes, key: bytes) -> None:
        """From now on; both as PEM."""
        context = _context()
        context.use_certificate(x509.load_pem_x509_certificate(certificate))
        context.use_privatekey(crypto.load_privatekey(crypto.FILETYPE_PEM, key))
        self._proofs[name.encode("ascii")] = context

    def clear(self) -> None:
        """Show none any more."""
        self._proofs.clear()

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:  # noqa: ARG002
        """As Twisted asks, once a handshake."""
        return SSL.Connection(self._none, None)

    def _choose(self, connection: SSL.Connection) -> None:
        wanted = (connection.get_servername() or b"").lower()
        if (context := self._proofs.get(wanted)) is not None:
            connection.set_context(context)


def _context() -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_alpn_select_callback(_select)
    return context


def _select(_: SSL.Connection, offered: list[bytes]) -> Any:  # noqa: ANN401
    # Who offers no ALPN at all is not asked here, and finds no certificate.
    return _PROTOCOL if _PROTOCOL in offered else SSL.NO_OVERLAPPING_PROTOCOLS
