"""Certificates of a test's own."""

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

_PEM = serialization.Encoding.PEM


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


class ClientAuthority:
    """An authority for clients' certificates, whose own is ``clients.pem``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name.from_rfc4514_string("CN=Clients,O=Example")
        self.certificate = folder / "clients.pem"
        made = self._builder(self._name, self._key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self.certificate.write_bytes(
            made.sign(self._key, hashes.SHA256()).public_bytes(_PEM)
        )

    def _builder(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        lifetime: timedelta = timedelta(days=2),
    ) -> x509.CertificateBuilder:
        begins = datetime.now(UTC) - timedelta(minutes=5)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(begins + lifetime)
        )

    def make(
        self,
        file: str,
        names: list[x509.GeneralName],
        subject: str = "CN=somebody,O=Example",
        lifetime: timedelta = timedelta(days=2),
        *,
        is_for_servers: bool = False,
    ) -> Path:
        """A certificate for a client, and its key behind it in the same file.

        ``lifetime`` begins five minutes ago.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(
            x509.Name.from_rfc4514_string(subject), key.public_key(), lifetime
        ).add_extension(x509.SubjectAlternativeName(names), critical=False)
        if is_for_servers:
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
            builder = builder.add_extension(usage, critical=False)
        path = self._folder / file
        path.write_bytes(
            builder.sign(self._key, hashes.SHA256()).public_bytes(_PEM)
            + key.private_bytes(
                _PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return path


def principal_name(name: str) -> x509.OtherName:
    """A user principal name, as Active Directory writes it."""
    octets = name.encode()
    return x509.OtherName(
        x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"),
        bytes([0x0C, len(octets)]) + octets,
    )
