"""What a connection's TLS tells about the client, and what can be bound to it."""

from typing import Any, Final

from attrs import define
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.bindings.openssl.binding import Binding
from cryptography.hazmat.primitives import hashes
from OpenSSL import SSL, crypto

from submitd.sasl.channel import CertificateNames, Channel

_OPENSSL: Final[Any] = Binding().lib

_PRINCIPAL: Final = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
"""otherName of Microsoft's: a user principal name."""

_UTF8_STRING: Final = 0x0C
_LABEL: Final = b"EXPORTER-Channel-Binding"
_WEAK: Final = (hashes.MD5, hashes.SHA1)


@define
class ClientVerification:
    """How the verification of one client's certificate went."""

    is_faulty: bool = False
    is_leaf_good: bool = False

    @property
    def is_good(self) -> bool:
        """A certificate was shown, and all of its chain is right."""
        return self.is_leaf_good and not self.is_faulty


class ServerConnection(SSL.Connection):
    """Remembers the verification. (Its app data is Twisted's.)"""

    def __init__(self, context: SSL.Context) -> None:
        super().__init__(context, None)
        self.verification = ClientVerification()


def note_verification(
    connection: SSL.Connection,
    _: crypto.X509,
    fault: int,
    depth: int,
    is_good: int,
) -> bool:
    """As OpenSSL asks of each certificate of a client's chain.

    None ends the handshake: mail programs show what they have, and may well log in
    with a password.
    """
    if isinstance(connection, ServerConnection):
        verification = connection.verification
        verification.is_faulty |= bool(fault) or not is_good
        verification.is_leaf_good |= depth == 0 and bool(is_good)
    if not is_good:
        # OpenSSL keeps what went wrong in a queue of the thread's, and would take it
        # for the end of whatever connection is read next, be it another client's.
        _OPENSSL.ERR_clear_error()
    return True


def channel_of(connection: SSL.Connection) -> Channel:
    """What the finished handshake lends to mechanisms."""
    is_good = isinstance(connection, ServerConnection) and (
        connection.verification.is_good
    )
    shown = connection.get_peer_certificate(as_cryptography=True) if is_good else None

    def binding(kind: str) -> bytes | None:
        match kind:
            case "tls-exporter":
                return _exporter(connection)
            case "tls-server-end-point":
                own = connection.get_certificate(as_cryptography=True)
                return None if own is None else end_point(own)
            case _:
                return None

    return Channel(binding, None if shown is None else names_in(shown))


def _exporter(connection: SSL.Connection) -> bytes | None:
    """RFC 9266; below TLS 1.3 only with an extension that we cannot see (4.2)."""
    if connection.get_protocol_version_name() != "TLSv1.3":
        return None
    return connection.export_keying_material(_LABEL, 32, b"")


def end_point(certificate: x509.Certificate) -> bytes | None:
    """RFC 5929 section 4.1; None: its signature has no one hash function."""
    try:
        used = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None
    if used is None:
        return None
    return certificate.fingerprint(hashes.SHA256() if isinstance(used, _WEAK) else used)


def names_in(certificate: x509.Certificate) -> CertificateNames:
    """Whom a certificate names. What cannot be read names nobody."""
    emails: tuple[str, ...] = ()
    upns: tuple[str, ...] = ()
    try:
        found = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
        emails = tuple(found.get_values_for_type(x509.RFC822Name))
        others = found.get_values_for_type(x509.OtherName)
        upns = tuple(name for one in others if (name := _principal(one)))
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        pass
    return CertificateNames(
        certificate.subject.rfc4514_string(),
        emails,
        upns,
        certificate.fingerprint(hashes.SHA256()).hex(),
    )


def _principal(other: x509.OtherName) -> str | None:
    """The text of a UTF8String shorter than 128 octets: the library took the DER."""
    value = other.value
    if other.type_id != _PRINCIPAL or value[0] != _UTF8_STRING or value[1] > 127:
        return None
    try:
        return value[2:].decode()
    except UnicodeDecodeError:
        return None
