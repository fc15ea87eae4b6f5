"""When a certificate is due, and what is not taken for one."""

import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from submitd.process.acme import _checked, _in_webroot, is_due
from submitd.process.order import Order, ensure_certificate
from submitd.tls.authority import NotIssued, Proof
from submitd.tls.making import is_temporary, make_key, make_temporary, names_of
from submitd.tls.server import TlsFiles

NOW = datetime(2026, 11, 1, tzinfo=UTC)
NAMES = ("submit.example.org", "smtp.example.org")
ORDER = Order(
    folder="/nowhere",
    names=NAMES,
    authority="https://ca.example.org/dir",
    ca_file="",
    contact="",
    challenge="http-01",
    key="ecdsa",
    profile="",
    account_id="",
    account_key="",
    webroot="",
    dns=None,
    settle=0.0,
)


def issued(
    left: timedelta, names: tuple[str, ...] = NAMES, kind: str = "ecdsa"
) -> x509.Certificate:
    """One of an authority's, for ninety days, of which so much is left."""
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Authority")])
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer)
        .public_key(make_key(kind).public_key())
        .serial_number(1)
        .not_valid_before(NOW + left - timedelta(days=90))
        .not_valid_after(NOW + left)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in names]),
            critical=False,
        )
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )


@pytest.mark.parametrize(
    ("leaf", "due"),
    [
        (issued(timedelta(days=89)), False),
        (issued(timedelta(days=30, seconds=1)), False),
        (issued(timedelta(days=30)), True),
        (issued(timedelta(days=-1)), True),
        (issued(timedelta(days=89), NAMES[::-1]), False),
        (issued(timedelta(days=89), NAMES[:1]), True),
        (issued(timedelta(days=89), (*NAMES, "old.example.org")), True),
        (issued(timedelta(days=89), kind="rsa"), True),
    ],
    ids=["new", "not yet", "a third", "ended", "order", "lacks", "more", "rsa"],
)
def test_it_is_due_when_it_is_old_or_not_what_is_ordered(
    leaf: x509.Certificate, due: bool
) -> None:
    assert is_due(ORDER, leaf, NOW) is due


def test_a_temporary_one_serves_until_there_is_another(tmp_path: Path) -> None:
    order = evolve(ORDER, folder=str(tmp_path / "acme"))

    assert ensure_certificate(order)
    files = TlsFiles(certificate=order.file, key=order.file)
    leaf = files.leaf()

    files.load()
    assert names_of(leaf) == NAMES
    assert is_temporary(leaf)
    assert is_due(order, leaf, datetime.now(UTC))
    assert order.file.stat().st_mode & 0o777 == 0o600
    assert order.file.parent.stat().st_mode & 0o777 == 0o700
    # The one that is there stays.
    assert not ensure_certificate(order)
    assert files.leaf() == leaf


def test_what_the_authority_sends_must_be_for_our_key_and_names() -> None:
    key = make_key("ecdsa")
    chain = make_temporary(NAMES, key)

    assert names_of(_checked(chain, NAMES, key)) == NAMES
    with pytest.raises(NotIssued, match="another key or name"):
        _checked(chain, NAMES, make_key("ecdsa"))
    with pytest.raises(NotIssued, match="another key or name"):
        _checked(chain, (*NAMES, "more.example.org"), key)
    with pytest.raises(NotIssued, match="no certificate"):
        _checked(b"<html>", NAMES, key)


def test_no_secret_is_in_what_is_logged_of_an_order() -> None:
    order = evolve(ORDER, account_key="secret", dns={"key_secret": "secret"})

    assert "secret" not in repr(order)


def test_a_certificate_without_names_has_none() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )

    again = x509.load_pem_x509_certificate(
        made.public_bytes(serialization.Encoding.PEM)
    )
    assert names_of(again) == ()


def test_the_web_server_can_read_what_is_shown_in_its_folder(tmp_path: Path) -> None:
    """Under the unit's umask, and where a killed errand has left its own."""
    proof = Proof("http-01", "submit.example.org", "token", "token.thumb")
    undo: list[Callable[[], object]] = []
    before = os.umask(0o077)
    try:
        _in_webroot(tmp_path, [proof], [])
        _in_webroot(tmp_path, [proof], undo)
    finally:
        os.umask(before)
    file = tmp_path / ".well-known" / "acme-challenge" / "token"
    assert file.read_text() == "token.thumb"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    for folder in (file.parent, file.parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    for each in undo:
        each()
    assert not file.exists()
