"""Certificates of a test's own."""

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def make_certificate(
    folder: Path, certificate: str, key: str, names: list[str]
) -> Path:
    """A self-signed one for these names and 127.0.0.1; gives its path."""
    private = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    # A name of its own: two of these may be trusted side by side.
    subject = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0]),
            x509.NameAttribute(x509.NameOID.SERIAL_NUMBER, str(serial)),
        ]
    )
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(serial)
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(
            x509.SubjectAlternativeName(
                [
                    *map(x509.DNSName, names),
                    x509.IPAddress(IPv4Address("127.0.0.1")),
                ]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / certificate).write_bytes(made.public_bytes(pem))
    (folder / key).write_bytes(
        private.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return folder / certificate
