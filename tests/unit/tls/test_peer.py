"""What TLS lends to log-ins: certificates that are right, and bindings."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.bindings.openssl.binding import Binding
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from OpenSSL import SSL

from submitd.sasl.channel import Channel
from submitd.tls.peer import channel_of, end_point, names_in
from submitd.tls.server import ServerTls, TlsFiles, UnusableCertificate
from tests.support.certificates import (
    ClientAuthority,
    make_certificate,
    principal_name,
)


class Handshakes:
    """A server that asks for certificates, and clients for it, in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_certificate(folder, "cert.pem", "key.pem", ["localhost"])
        self.authority = ClientAuthority(folder)
        self.files = TlsFiles(
            certificate=folder / "cert.pem",
            key=folder / "key.pem",
            client_ca=self.authority.certificate,
        )
        self.tls = ServerTls(self.files.load())

    def client(self, certificate: Path | None) -> SSL.Context:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        if certificate is not None:
            context.use_certificate_file(str(certificate))
            context.use_privatekey_file(str(certificate))
        return context

    def meet(
        self, context: SSL.Context, session: SSL.Session | None = None
    ) -> tuple[SSL.Connection, SSL.Connection]:
        """Client and server after their handshake."""
        client = SSL.Connection(context, None)
        client.set_connect_state()
        if session is not None:
            client.set_session(session)
        server = self.tls.serverConnectionForTLS(None)
        server.set_accept_state()
        for _ in range(10):
            for one, other in ((client, server), (server, client)):
                with suppress(SSL.WantReadError):
                    one.do_handshake()
                with suppress(SSL.WantReadError):
                    other.bio_write(one.bio_read(1 << 16))
        return client, server

    def channel(self, certificate: Path | None) -> Channel:
        return channel_of(self.meet(self.client(certificate))[1])


@pytest.fixture
def handshakes(tmp_path: Path) -> Handshakes:
    """With files of a test's own."""
    return Handshakes(tmp_path)


ALICE = x509.RFC822Name("alice@example.org")


def test_a_right_certificate_names_its_owner(handshakes: Handshakes) -> None:
    shown = handshakes.authority.make(
        "a.pem",
        [ALICE, principal_name("alice@corp"), x509.DNSName("a.example")],
        "CN=Alice,O=Example",
    )
    names = handshakes.channel(shown).certificate
    assert names is not None
    assert names.subject == "CN=Alice,O=Example"
    assert names.emails == ("alice@example.org",)
    assert names.upns == ("alice@corp",)
    assert len(names.fingerprint) == 64


def test_who_shows_none_or_a_wrong_one_is_served_and_has_none(
    handshakes: Handshakes,
) -> None:
    """Mail programs show what they have; they may log in by password."""
    other = handshakes.folder / "other"
    other.mkdir()
    authority = handshakes.authority
    for shown in (
        None,
        ClientAuthority(other).make("forged.pem", [ALICE]),
        authority.make("ended.pem", [ALICE], lifetime=timedelta(minutes=1)),
        authority.make("later.pem", [ALICE], is_for_servers=True),
        make_certificate(other, "self.pem", "self-key.pem", ["alice"]),
    ):
        if shown is not None and shown.name == "self.pem":
            key = (other / "self-key.pem").read_bytes()
            shown.write_bytes(shown.read_bytes() + key)
        assert handshakes.channel(shown).certificate is None


def test_a_forged_certificate_breaks_no_other_connection(
    handshakes: Handshakes,
) -> None:
    """OpenSSL's errors wait in one place for whoever reads next."""
    other = handshakes.folder / "other"
    other.mkdir()
    forged = ClientAuthority(other).make("forged.pem", [ALICE])
    _, innocent = handshakes.meet(handshakes.client(None))
    _, server = handshakes.meet(handshakes.client(forged))
    assert Binding().lib.ERR_peek_error() == 0
    for one in (innocent, server):
        with pytest.raises(SSL.WantReadError):
            one.recv(1)


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_a_session_is_never_resumed_without_a_look_at_the_certificate(
    handshakes: Handshakes, version: int
) -> None:
    context = handshakes.client(handshakes.authority.make("a.pem", [ALICE]))
    context.set_max_proto_version(version)
    client, server = handshakes.meet(context)
    assert channel_of(server).certificate is not None
    session = client.get_session()
    assert session is not None
    _, again = handshakes.meet(context, session)
    assert channel_of(again).certificate is not None


def test_a_server_that_asks_for_no_certificate_gets_none(tmp_path: Path) -> None:
    handshakes = Handshakes(tmp_path)
    files = TlsFiles(certificate=tmp_path / "cert.pem", key=tmp_path / "key.pem")
    handshakes.tls.context = files.load()
    shown = handshakes.authority.make("a.pem", [ALICE])
    assert handshakes.channel(shown).certificate is None


@pytest.mark.rfc("9266", "2")
def test_both_ends_export_the_same_of_a_channel(handshakes: Handshakes) -> None:
    client, server = handshakes.meet(handshakes.client(None))
    bound = channel_of(server).binding("tls-exporter")
    label = b"EXPORTER-Channel-Binding"
    assert bound == client.export_keying_material(label, 32, b"")
    _, other = handshakes.meet(handshakes.client(None))
    assert channel_of(other).binding("tls-exporter") != bound


@pytest.mark.rfc("9266", "4.2")
def test_nothing_is_exported_below_tls_1_3(handshakes: Handshakes) -> None:
    context = handshakes.client(None)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    channel = channel_of(handshakes.meet(context)[1])
    assert channel.binding("tls-exporter") is None
    assert channel.binding("tls-unique") is None
    assert channel.binding("tls-server-end-point") is not None


@pytest.mark.rfc("5929", "4.1")
def test_the_end_point_is_a_hash_of_the_servers_certificate(
    handshakes: Handshakes,
) -> None:
    own = x509.load_pem_x509_certificate((handshakes.folder / "cert.pem").read_bytes())
    bound = handshakes.channel(None).binding("tls-server-end-point")
    assert bound == own.fingerprint(hashes.SHA256())


PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def _signed_by(key: PrivateKey, digest: hashes.SHA384 | None) -> x509.Certificate:
    name = x509.Name.from_rfc4514_string("CN=x")
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, digest)
    )


@pytest.mark.rfc("5929", "4.1")
def test_the_hash_is_that_of_the_signature() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    strong = _signed_by(key, hashes.SHA384())
    assert end_point(strong) == strong.fingerprint(hashes.SHA384())
    # Ed25519 has no hash of its own, and so no such binding.
    assert end_point(_signed_by(ed25519.Ed25519PrivateKey.generate(), None)) is None


def test_a_weak_or_unknown_hash() -> None:
    class Odd:
        """A certificate as old ones are signed, which none is any more."""

        def __init__(self, digest: hashes.HashAlgorithm | None) -> None:
            self._digest = digest

        @property
        def signature_hash_algorithm(self) -> hashes.HashAlgorithm:
            if self._digest is None:
                raise UnsupportedAlgorithm("odd")
            return self._digest

        def fingerprint(self, digest: hashes.HashAlgorithm) -> bytes:
            return digest.name.encode()

    assert end_point(Odd(hashes.SHA1())) == b"sha256"  # type: ignore[arg-type]
    assert end_point(Odd(None)) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    [b"\x16\x05alice", b"\x0c\x01\xff", b"\x0c\x00", b"\x0c\x81\x80" + b"a" * 128],
)
def test_a_principal_that_cannot_be_read_names_nobody(
    tmp_path: Path, value: bytes
) -> None:
    odd = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), value)
    other = x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x0c\x05alice")
    file = ClientAuthority(tmp_path).make("a.pem", [odd, other])
    names = names_in(x509.load_pem_x509_certificate(file.read_bytes()))
    assert names.upns == names.emails == ()


def test_a_certificate_without_alternative_names_has_its_subject(
    tmp_path: Path,
) -> None:
    authority = ClientAuthority(tmp_path)
    own = x509.load_pem_x509_certificate(authority.certificate.read_bytes())
    assert names_in(own).subject == "CN=Clients,O=Example"
    assert names_in(own).emails == ()


def test_authorities_that_are_none_are_named(handshakes: Handshakes) -> None:
    file = handshakes.authority.certificate
    file.write_text("nothing")
    with pytest.raises(UnusableCertificate, match="holds no certificate"):
        handshakes.files.load()
    file.unlink()
    with pytest.raises(UnusableCertificate, match="No such file"):
        handshakes.files.load()
