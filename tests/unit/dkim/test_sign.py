"""What dkimpy says of our signatures."""

from datetime import UTC, datetime
from itertools import pairwise, product

import dkim
import pytest
from hypothesis import given
from hypothesis import strategies as st

from submitd.dkim.canonical import BodyHasher, Canon
from submitd.dkim.key import Algorithm, Finding, PrivateKey, compare, record_value
from submitd.dkim.sign import Signer, SigningKey

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
RSA = PrivateKey.generate(Algorithm.RSA_SHA256)
ED25519 = PrivateKey.generate(Algorithm.ED25519_SHA256)
RECORDS = {
    b"rsa._domainkey.example.org.": record_value(RSA).encode(),
    b"ed._domainkey.example.org.": record_value(ED25519).encode(),
}
KEYS = (SigningKey("rsa", RSA), SigningKey("ed", ED25519))
FIELDS = (
    b"From: Alice <alice@example.org>\r\n",
    b"To: bob@example.net,\r\n\tcarol@example.net\r\n",
    b"Subject:  two   spaces \t and a tab \r\n",
    b"Received: one\r\n",
    b"Date: Sat, 31 Jan 2026 12:00:00 +0000\r\n",
)
BODIES = (
    b"",
    b"\r\n",
    b"\r\n\r\n\r\n",
    b"one line\r\n",
    b"no line end",
    b"trailing \t\r\n\r\n \t \r\n\r\n",
    b" leading\r\n\r\n\r\nand  runs\tof\t white space  \r\nend\r\n\r\n",
    b" \r\n",
)


def signed(fields: tuple[bytes, ...], body: bytes, signer: Signer) -> bytes:
    hasher = signer.body_hasher()
    hasher.update(body)
    return signer.sign(fields, hasher.digest(), NOW) + b"".join(fields) + b"\r\n" + body


def verified(message: bytes, index: int = 0) -> bool:
    def lookup(name: bytes, timeout: int = 5) -> bytes | None:  # noqa: ARG001
        return RECORDS.get(name)

    try:
        return bool(dkim.DKIM(message).verify(idx=index, dnsfunc=lookup))
    except dkim.ValidationError:
        return False


@pytest.mark.rfc("6376", "3.4")
@pytest.mark.parametrize(("header", "body"), list(product(Canon, Canon)))
@pytest.mark.parametrize("text", BODIES)
def test_both_signatures_verify_in_every_canonicalisation(
    header: Canon, body: Canon, text: bytes
) -> None:
    signer = Signer(
        domain="example.org", keys=KEYS, header_canon=header, body_canon=body
    )
    message = signed(FIELDS, text, signer)
    assert verified(message, 0)
    assert verified(message, 1)


@pytest.mark.rfc("6376", "5.4.2")
@pytest.mark.parametrize("name", ["From", "To", "Subject", "Reply-To"])
def test_a_field_added_later_breaks_the_signature(name: str) -> None:
    """Or the reader is shown an author whom nobody checked."""
    message = signed(FIELDS, b"text\r\n", Signer(domain="example.org", keys=KEYS))
    assert verified(message)
    assert not verified(f"{name}: mallory@example.net\r\n".encode() + message)


def test_a_changed_body_breaks_the_signature() -> None:
    message = signed(FIELDS, b"text\r\n", Signer(domain="example.org", keys=KEYS))
    assert not verified(message + b"more\r\n")


def test_a_trace_field_added_later_does_not_break_the_signature() -> None:
    message = signed(FIELDS, b"text\r\n", Signer(domain="example.org", keys=KEYS))
    assert verified(b"Received: from elsewhere\r\n" + message)


@pytest.mark.rfc("8616", "5")
def test_header_fields_in_utf8_are_signed_as_they_stand() -> None:
    fields = ("From: Žofie <žofie@example.org>\r\n".encode(), b"Subject: x\r\n")
    assert verified(signed(fields, b"x\r\n", Signer(domain="example.org", keys=KEYS)))


def test_no_line_of_a_signature_is_longer_than_78_octets() -> None:
    """RFC 5322 section 2.1.1: lines should be no longer."""
    signer = Signer(domain="a" * 40 + ".example.org", keys=KEYS)
    field = signer.sign(FIELDS, b"\0" * 32, NOW)
    assert max(len(line) for line in field.split(b"\r\n")) <= 78


@given(
    body=st.lists(
        st.sampled_from([b"a", b" ", b"\t", b"\r\n", b"word", b"  "]), max_size=40
    ).map(lambda words: b"".join((*words, b"\r\n"))),
    cuts=st.sets(st.integers(0, 120)),
    canon=st.sampled_from(Canon),
)
def test_how_the_body_is_cut_does_not_change_its_hash(
    body: bytes, cuts: set[int], canon: Canon
) -> None:
    edges = sorted({0, len(body)} | {cut for cut in cuts if cut <= len(body)})
    pieces, whole = BodyHasher(canon), BodyHasher(canon)
    for start, end in pairwise(edges):
        pieces.update(body[start:end])
    whole.update(body)
    assert pieces.digest() == whole.digest() == whole.digest()
    signer = Signer(domain="example.org", keys=KEYS[1:], body_canon=canon)
    assert verified(signed(FIELDS, body, signer))


@pytest.mark.parametrize(
    ("records", "finding"),
    [
        ((record_value(RSA),), Finding.MATCHES),
        ((), Finding.MISSING),
        ((record_value(RSA), "v=DKIM1; p="), Finding.SEVERAL),
        (("v=DKIM1; k=rsa; p=",), Finding.REVOKED),
        ((record_value(ED25519),), Finding.WRONG_TYPE),
        ((record_value(PrivateKey.generate(Algorithm.RSA_SHA256)),), Finding.DIFFERS),
        (("v=spf1 -all",), Finding.MALFORMED),
        (("v=DKIM2; p=AAAA",), Finding.MALFORMED),
        (("v=DKIM1; p=!!",), Finding.MALFORMED),
        (("p=AAAA; p=BBBB",), Finding.MALFORMED),
        ((record_value(RSA) + "; s=other",), Finding.NOT_FOR_MAIL),
        ((record_value(RSA) + "; h=sha1",), Finding.NOT_FOR_SHA256),
        ((record_value(RSA).replace("p=", "p= ") + ";",), Finding.MATCHES),
    ],
)
def test_a_published_record_is_held_against_the_key(
    records: tuple[str, ...], finding: Finding
) -> None:
    assert compare(RSA, records) is finding
