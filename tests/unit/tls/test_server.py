"""TLS as a server: what is negotiated, and certificates that are of no use."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
from OpenSSL import SSL
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from submitd.tls.server import (
    CertificateWatch,
    ServerTls,
    TlsFiles,
    UnusableCertificate,
)
from tests.support.certificates import make_certificate
from tests.support.recorded_events import RecordedEvents

ANY_LEVEL: Final = ":@SECLEVEL=0"


def files(folder: Path) -> TlsFiles:
    make_certificate(folder, "cert.pem", "key.pem", ["submit.example.org"])
    return TlsFiles(certificate=folder / "cert.pem", key=folder / "key.pem")


def negotiate(server: SSL.Context, client: SSL.Context) -> tuple[str, str]:
    """Version and cipher that the two agree on. Raises SSL.Error."""
    ends = [SSL.Connection(server, None), SSL.Connection(client, None)]
    ends[0].set_accept_state()
    ends[1].set_connect_state()
    for _ in range(6):
        for here, there in (ends, reversed(ends)):
            with suppress(SSL.WantReadError):
                here.do_handshake()
            with suppress(SSL.WantReadError):
                there.bio_write(here.bio_read(1 << 16))
    ends[1].do_handshake()
    return ends[1].get_protocol_version_name(), ends[1].get_cipher_name() or ""


def client(ciphers: str = "", most: int = 0) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_VERSION)
    if most:
        context.set_max_proto_version(most)
    if ciphers:
        context.set_cipher_list(ciphers.encode())
    return context


def test_a_modern_client_gets_tls_1_3(tmp_path: Path) -> None:
    version, _ = negotiate(files(tmp_path).load(), client())
    assert version == "TLSv1.3"


@pytest.mark.rfc("9325", "4.2")
@pytest.mark.parametrize(
    "cipher",
    [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    ],
)
def test_tls_1_2_has_the_suites_that_are_still_sound(
    tmp_path: Path, cipher: str
) -> None:
    negotiated = negotiate(files(tmp_path).load(), client(cipher, SSL.TLS1_2_VERSION))
    assert negotiated == ("TLSv1.2", cipher)


@pytest.mark.rfc("9325", "4.1")
@pytest.mark.parametrize(
    "ciphers",
    [
        "ECDHE-ECDSA-AES128-SHA",
        "ECDHE-ECDSA-AES256-SHA",
        "ECDHE-ECDSA-AES128-SHA256",
        "AES128-SHA",
        "AES128-GCM-SHA256",
        "ADH-AES128-SHA",
        "AECDH-AES128-SHA",
        "ADH-AES128-GCM-SHA256",
        "ECDHE-ECDSA-NULL-SHA",
        "PSK-AES128-GCM-SHA256",
    ],
)
def test_what_is_weak_is_not_negotiated(tmp_path: Path, ciphers: str) -> None:
    """CBC with SHA-1, no forward secrecy, nobody authenticated, nothing encrypted."""
    weak = client(ciphers + ANY_LEVEL, SSL.TLS1_2_VERSION)
    with pytest.raises(SSL.Error):
        negotiate(files(tmp_path).load(), weak)


@pytest.mark.rfc("8996", "5")
@pytest.mark.parametrize("most", [SSL.TLS1_VERSION, SSL.TLS1_1_VERSION])
def test_tls_below_1_2_is_over(tmp_path: Path, most: int) -> None:
    with pytest.raises(SSL.Error):
        negotiate(files(tmp_path).load(), client("ALL" + ANY_LEVEL, most))


def test_an_operator_may_insist_on_more(tmp_path: Path) -> None:
    made = files(tmp_path)
    only = TlsFiles(certificate=made.certificate, key=made.key, minimum="1.3")
    assert negotiate(only.load(), client())[0] == "TLSv1.3"
    with pytest.raises(SSL.Error):
        negotiate(only.load(), client(most=SSL.TLS1_2_VERSION))


def test_ciphers_that_nobody_knows_are_told(tmp_path: Path) -> None:
    made = files(tmp_path)
    for ciphers in ("NO-SUCH", "ö"):
        odd = TlsFiles(certificate=made.certificate, key=made.key, ciphers=ciphers)
        with pytest.raises(UnusableCertificate, match="no usable cipher"):
            odd.load()


@pytest.mark.parametrize("name", ["cert.pem", "key.pem"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), ("", "holds no usable"), ("nonsense", "holds no usable")],
)
def test_a_file_that_is_of_no_use_is_named(
    tmp_path: Path, name: str, content: str | None, reason: str
) -> None:
    made = files(tmp_path)
    spoilt = tmp_path / name
    spoilt.unlink()
    if content is not None:
        spoilt.write_text(content)
    with pytest.raises(UnusableCertificate) as told:
        made.load()
    assert str(spoilt) in str(told.value)
    assert reason in str(told.value)


def test_a_key_of_another_certificate_is_told(tmp_path: Path) -> None:
    made = files(tmp_path)
    (tmp_path / "other").mkdir()
    made.key.write_bytes(files(tmp_path / "other").key.read_bytes())
    with pytest.raises(UnusableCertificate) as told:
        made.load()
    assert str(made.key) in str(told.value)


def test_the_leaf_is_read_for_its_dates_and_names(tmp_path: Path) -> None:
    made = files(tmp_path)
    assert "submit.example.org" in made.leaf().subject.rfc4514_string()
    made.certificate.write_text("nonsense")
    with pytest.raises(UnusableCertificate, match="no PEM"):
        made.leaf()
    made.certificate.unlink()
    with pytest.raises(UnusableCertificate, match="No such file"):
        made.leaf()


def test_a_renewed_certificate_is_taken_up_and_a_broken_one_is_not(
    tmp_path: Path,
) -> None:
    made = files(tmp_path)
    tls, clock, events = ServerTls(made.load()), Clock(), RecordedEvents()

    def at_once(work: Callable[[], object]) -> Deferred[object]:
        return maybeDeferred(work)

    watch = CertificateWatch(clock, made, tls, events, made.state(), in_thread=at_once)
    watch.startService()
    first = tls.context
    clock.advance(60)
    assert tls.context is first
    files(tmp_path)
    clock.advance(60)
    second = tls.context
    assert second is not first
    made.certificate.write_text("nonsense")
    for _ in range(3):
        clock.advance(60)
    assert tls.context is second
    files(tmp_path)
    clock.advance(60)
    assert tls.context is not second
    watch.stopService()
    told = [name for name in events.names if "refused" in name or "certificate" in name]
    assert len(told) == 3
