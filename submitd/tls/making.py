"""Private keys, requests and certificates that are made here. No IO."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

_TEMPORARY: Final = timedelta(days=7)
_ONE_HOUR: Final = timedelta(hours=1)
_RSA_BITS: Final = 2048
_ACME_IDENTIFIER: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
"""id-pe-acmeIdentifier (RFC 8737 section 3)."""

_OCTET_STRING_OF_32: Final = b"\x04\x20"

ServerKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def make_key(kind: str) -> ServerKey:
    """A new private key: ``kind`` is "ecdsa" (P-256) or "rsa". Takes up to a second."""
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    return ec.generate_private_key(ec.SECP256R1())


def key_as_pem(key: ServerKey) -> bytes:
    """PKCS#8, without a passphrase."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def make_request(names: Sequence[str], key: ServerKey) -> bytes:
    """A certificate signing request for these domains, as PEM (RFC 2986)."""
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(_alternative(names), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def make_temporary(names: Sequence[str], key: ServerKey) -> bytes:
    """A self-signed certificate, as PEM: for the time until there is a real one."""
    return _self_signed(names, key, None)


def make_proof(name: str, authorization_digest: bytes, key: ServerKey) -> bytes:
    """What an authority is shown in a tls-alpn-01 challenge (RFC 8737 section 3).

    ``authorization_digest``: SHA-256 of the key authorization.
    """
    extension = x509.UnrecognizedExtension(
        _ACME_IDENTIFIER, _OCTET_STRING_OF_32 + authorization_digest
    )
    return _self_signed([name], key, extension)


def is_temporary(certificate: x509.Certificate) -> bool:
    """Whether nobody but ourselves has signed it."""
    return certificate.issuer == certificate.subject


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The domains that it is for; none where it has no such extension."""
    try:
        extension = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
    except x509.ExtensionNotFound:
        return ()
    return tuple(extension.value.get_values_for_type(x509.DNSName))


def _alternative(names: Sequence[str]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.DNSName(name) for name in names])


def _self_signed(
    names: Sequence[str], key: ServerKey, proof: x509.UnrecognizedExtension | None
) -> bytes:
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "submitd, temporary")]
    )
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Clocks differ.
        .not_valid_before(now - _ONE_HOUR)
        .not_valid_after(now + _TEMPORARY)
        .add_extension(_alternative(names), critical=False)
    )
    if proof is not None:
        builder = builder.add_extension(proof, critical=True)
    made = builder.sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM)
