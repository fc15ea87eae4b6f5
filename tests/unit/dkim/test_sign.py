"""Signatures: what stands in them, and what dkimpy says of them."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from itertools import product

import pytest
from attrs import evolve

from submitd.dkim.canonical import Canon
from submitd.dkim.key import Algorithm, BadSelector, PrivateKey, record_value
from submitd.dkim.sign import OVERSIGNED, SIGNED, Signer, SigningKey
from submitd.mail.address import BadAddress
from tests.support.dkim_verifier import body_hash_of, tags_of, verify

# dkimpy knows the time, and refuses signatures from the future.
NOW = datetime(2024, 2, 29, 12, 0, 0, 500_000, tzinfo=UTC)
RSA = PrivateKey.generate(Algorithm.RSA_SHA256)
ED25519 = PrivateKey.generate(Algorithm.ED25519_SHA256)
RECORDS = {
    f"{selector}._domainkey.{domain}": record_value(key)
    for domain in ("example.org", "xn--bcher-kva.example", "a" * 60 + ".example.org")
    for selector, key in (("rsa", RSA), ("ed", ED25519))
}
KEYS = (SigningKey("rsa", RSA), SigningKey("ed", ED25519))
SIGNER = Signer(domain="example.org", keys=KEYS)
FIELDS = (
    b"Received: from inside\r\n",
    b"From: Alice <alice@example.org>\r\n",
    b"To: bob@example.net,\r\n\tcarol@example.net\r\n",
    b"Subject:  two   spaces \t and a tab \r\n",
    b"Date: Thu, 29 Feb 2024 12:00:00 +0000\r\n",
    b"Message-ID: <1@example.org>\r\n",
    b"MIME-Version: 1.0\r\n",
    b"Content-Type: text/plain; charset=utf-8\r\n",
    b"X-Mailer: none\r\n",
)
BODIES = (
    b"",
    b"\r\n",
    b"\r\n\r\n\r\n",
    b" \r\n",
    b"one line\r\n",
    b"no line end",
    b"trailing \t\r\n\r\n \t \r\n\r\n",
    b" leading\r\n\r\n\r\nand  runs\tof\t white space  \r\nend\r\n\r\n",
    "Žluťoučký kůň\r\n".encode(),
)


def signatures(
    signer: Signer, fields: Sequence[bytes] = FIELDS, body: bytes = b"text\r\n"
) -> bytes:
    hasher = signer.body_hasher()
    hasher.update(body)
    return signer.sign(fields, hasher.digest(), NOW)


def signed(
    signer: Signer, fields: Sequence[bytes] = FIELDS, body: bytes = b"text\r\n"
) -> bytes:
    return signatures(signer, fields, body) + b"".join(fields) + b"\r\n" + body


def both_verify(message: bytes) -> bool:
    return verify(message, RECORDS, 0) and verify(message, RECORDS, 1)


def neither_verifies(message: bytes) -> bool:
    return not (verify(message, RECORDS, 0) or verify(message, RECORDS, 1))


# --- what dkimpy says -------------------------------------------------------------


@pytest.mark.rfc("6376", "3.4")
@pytest.mark.rfc("8463", "3")
@pytest.mark.parametrize(("header", "body"), list(product(Canon, Canon)))
@pytest.mark.parametrize("text", BODIES)
def test_both_signatures_verify_in_every_canonicalisation(
    header: Canon, body: Canon, text: bytes
) -> None:
    signer = evolve(SIGNER, header_canon=header, body_canon=body)
    assert both_verify(signed(signer, body=text))


@pytest.mark.rfc("6376", "3.4.4")
def test_a_last_line_without_line_end_is_signed_as_it_will_arrive() -> None:
    """DATA cannot but end the line, and then its white space goes too."""
    signature = signatures(SIGNER, body=b"text \t")
    arrived = signature + b"".join(FIELDS) + b"\r\ntext \t\r\n"
    assert both_verify(arrived)


@pytest.mark.parametrize("canon", Canon)
@pytest.mark.parametrize("size", [1, 997, 65_537])
def test_a_long_body_verifies_however_it_was_cut(canon: Canon, size: int) -> None:
    body = b"Some text, \t a  gap \r\n\r\n  and \t\r\n" * 4000 + b"\r\n" * 4000
    signer = evolve(SIGNER, body_canon=canon)
    hasher = signer.body_hasher()
    for at in range(0, len(body), size):
        hasher.update(body[at : at + size])
    signature = signer.sign(FIELDS, hasher.digest(), NOW)
    assert both_verify(signature + b"".join(FIELDS) + b"\r\n" + body)


@pytest.mark.rfc("6376", "5.4.2")
@pytest.mark.parametrize("header", Canon)
def test_repeated_fields_are_signed_from_the_bottom_up(header: Canon) -> None:
    repeated = (
        b"Resent-From: third@example.org\r\n",
        b"Resent-To: z@example.org\r\n",
        b"Resent-From: second@example.org\r\n",
        b"Resent-From: first@example.org\r\n",
    )
    message = signed(evolve(SIGNER, header_canon=header), repeated + FIELDS)
    assert both_verify(message)
    for line in repeated:
        assert neither_verifies(message.replace(line, b""))


@pytest.mark.rfc("6376", "8.15")
@pytest.mark.parametrize("name", OVERSIGNED)
def test_a_field_added_later_breaks_the_signature(name: str) -> None:
    """Or the reader is shown an author or a subject that nobody signed."""
    message = signed(SIGNER)
    added = f"{name}: mallory@example.net\r\n".encode()
    assert both_verify(message)
    assert neither_verifies(added + message)


@pytest.mark.parametrize(
    "added",
    [
        b"Received: from elsewhere\r\n",
        b"Return-Path: <list-bounces@example.net>\r\n",
        b"Sender: list-bounces@example.net\r\n",
        b"List-Id: <list.example.net>\r\n",
        b"List-Unsubscribe: <mailto:list-leave@example.net>\r\n",
        b"Resent-From: list@example.net\r\n",
        b"Precedence: list\r\n",
        b"Authentication-Results: mx.example.net; dkim=pass\r\n",
        b"X-Spam-Status: No\r\n",
    ],
)
def test_what_lists_and_relays_add_does_not_break_the_signature(added: bytes) -> None:
    assert both_verify(added + signed(SIGNER))


@pytest.mark.rfc("8058", "4")
@pytest.mark.parametrize("name", ["List-Unsubscribe", "List-Unsubscribe-Post"])
def test_the_unsubscribe_fields_of_a_bulk_mailing_are_signed(name: str) -> None:
    field = f"{name}: <https://example.org/leave>\r\n".encode()
    message = signed(SIGNER, (*FIELDS, field))
    assert both_verify(message)
    assert neither_verifies(message.replace(b"/leave", b"/other"))


@pytest.mark.rfc("6376", "3.7")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\r\ntext", b"\r\nother"),
        (b"Alice", b"Mallory"),
        (b"two   spaces", b"three spaces"),
        (b"1@example.org", b"2@example.org"),
        (b"t=1709208000", b"t=1709208001"),
    ],
)
def test_a_change_breaks_the_signature(old: bytes, new: bytes) -> None:
    message = signed(SIGNER)
    assert old in message
    assert neither_verifies(message.replace(old, new))


@pytest.mark.rfc("8616", "5")
@pytest.mark.parametrize("header", Canon)
def test_header_fields_in_utf8_are_signed_as_they_stand(header: Canon) -> None:
    fields = (
        "From: Žofie  <žofie@bücher.example>\r\n".encode(),
        "Subject: Dobrý den,\r\n\t Bücher\r\n".encode(),
    )
    signer = Signer(domain="bücher.example", keys=KEYS, header_canon=header)
    message = signed(signer, fields)
    assert both_verify(message)
    assert neither_verifies(message.replace("Žofie".encode(), "Žofia".encode()))


@pytest.mark.rfc("6376", "3.4.2")
def test_a_field_with_white_space_before_its_colon_is_signed_as_that_field() -> None:
    """RFC 5322 section 4.5.8 still has this form; it is the same Subject."""
    plain = signatures(SIGNER, (b"From: a@example.org\r\n", b"Subject: x\r\n"))
    spaced = signatures(SIGNER, (b"From: a@example.org\r\n", b"SUBJECT \t: x\r\n"))
    assert plain == spaced


@pytest.mark.rfc("6376", "5.4")
def test_a_header_section_without_from_still_has_from_signed() -> None:
    """So that nobody can add one."""
    message = signed(SIGNER, (b"Subject: x\r\n",))
    assert both_verify(message)
    assert neither_verifies(b"From: mallory@example.net\r\n" + message)


# --- what stands in them ----------------------------------------------------------


@pytest.mark.rfc("6376", "3.5")
def test_a_signature_says_how_it_was_made_and_no_more() -> None:
    rsa, ed25519 = signatures(SIGNER).removesuffix(b"\r\n").split(b"\r\nDKIM-")
    for signature, algorithm, selector in (
        (rsa, "rsa-sha256", "rsa"),
        (ed25519, "ed25519-sha256", "ed"),
    ):
        tags = tags_of(signature)
        assert list(tags) == ["v", "a", "c", "d", "s", "t", "h", "bh", "b"]
        assert tags["v"] == "1"
        assert tags["a"] == algorithm
        assert tags["c"] == "relaxed/relaxed"
        assert tags["d"] == "example.org"
        assert tags["s"] == selector
        assert tags["t"] == "1709208000"
        assert body_hash_of(signature).hex() == (
            # sha256sum of "text" and CRLF
            "7830b26b0ee6f35d118457f44e61961a44d8893ff51b02f8fcf08e188af77b0e"
        )
    assert len(base64.b64decode(tags_of(rsa)["b"])) == 256
    assert len(base64.b64decode(tags_of(ed25519)["b"])) == 64


@pytest.mark.rfc("6376", "5.4")
def test_a_field_is_listed_as_often_as_it_occurs_or_once_more() -> None:
    fields = (
        b"from: a@example.org\r\n",
        b"References: <1@example.org>\r\n",
        b"Comments: unsigned\r\n",
        b"Cc: b@example.net\r\n",
        b"CC: c@example.net\r\n",
    )
    assert tags_of(signatures(SIGNER, fields))["h"].split(":") == [
        *("From", "From"),
        *("Reply-To", "Subject", "Date", "Message-ID", "To"),
        *("Cc", "Cc", "Cc"),
        *("MIME-Version", "Content-Type", "Content-Transfer-Encoding"),
        "References",
    ]


@pytest.mark.rfc("6376", "3.5")
def test_a_lifetime_gives_the_moment_of_expiry() -> None:
    years = timedelta(days=36500)
    signature = SIGNER.sign(FIELDS, b"\0" * 32, NOW, expires=years)
    assert tags_of(signature)["x"] == str(1709208000 + 36500 * 86400)


@pytest.mark.rfc("6376", "3.5")
@pytest.mark.parametrize(
    ("lifetime", "verifies"),
    [(timedelta(days=36500), True), (timedelta(hours=1), False)],
)
def test_a_signature_past_its_expiry_does_not_verify(
    lifetime: timedelta, verifies: bool
) -> None:
    hasher = SIGNER.body_hasher()
    hasher.update(b"text\r\n")
    signature = SIGNER.sign(FIELDS, hasher.digest(), NOW, expires=lifetime)
    message = signature + b"".join(FIELDS) + b"\r\ntext\r\n"
    assert verify(message, RECORDS) is verifies


def test_the_moment_of_signing_may_come_in_any_time_zone() -> None:
    prague = NOW.astimezone(timezone(timedelta(hours=1)))
    assert SIGNER.sign(FIELDS, b"", prague) == SIGNER.sign(FIELDS, b"", NOW)


def test_a_moment_without_a_time_zone_is_refused() -> None:
    """It would be read in the server's own."""
    with pytest.raises(ValueError, match="time zone"):
        SIGNER.sign(FIELDS, b"\0" * 32, NOW.replace(tzinfo=None))


@pytest.mark.parametrize("lifetime", [timedelta(0), timedelta(hours=-1)])
def test_a_lifetime_that_is_over_at_once_is_refused(lifetime: timedelta) -> None:
    with pytest.raises(ValueError, match="must not expire"):
        SIGNER.sign(FIELDS, b"\0" * 32, NOW, expires=lifetime)


@pytest.mark.rfc("5322", "2.1.1")
@pytest.mark.parametrize("domain", ["example.org", "a" * 60 + ".example.org"])
@pytest.mark.parametrize("expires", [None, timedelta(days=30)])
def test_a_signature_has_lines_of_at_most_76_octets(
    domain: str, expires: timedelta | None
) -> None:
    everything = tuple(f"{name}: x\r\n".encode() for name in (*OVERSIGNED, *SIGNED))
    signer = Signer(domain=domain, keys=KEYS)
    signature = signer.sign(everything * 3, b"\0" * 32, NOW, expires)
    lines = signature.removesuffix(b"\r\n").split(b"\r\n")
    assert max(map(len, lines)) <= 76
    for line in lines:
        assert line.startswith((b"DKIM-Signature: v=1; ", b"\t"))
        assert line.strip()
        assert line == line.rstrip()
        assert line.isascii()
        assert b"\r" not in line
        assert b"\n" not in line


def test_a_domain_longer_than_a_line_stands_in_a_line_of_its_own() -> None:
    """It cannot be folded (RFC 6376 section 3.5, sdid-tag)."""
    domain = ".".join(["a" * 60] * 3)
    signer = Signer(domain=domain, keys=KEYS[:1])
    signature = signer.sign(FIELDS, b"\0" * 32, NOW)
    assert f"\r\n\td={domain};\r\n\ts=rsa; ".encode() in signature


# --- what makes a signer ----------------------------------------------------------


@pytest.mark.rfc("6376", "3.5")
@pytest.mark.parametrize("domain", ["bücher.example", "BÜCHER.Example"])
def test_a_domain_is_kept_in_a_labels(domain: str) -> None:
    assert Signer(domain=domain, keys=KEYS).domain == "xn--bcher-kva.example"


@pytest.mark.parametrize("domain", ["", "a b.example", "*.example.org", "192.0.2.1"])
def test_what_is_no_domain_cannot_sign(domain: str) -> None:
    with pytest.raises(BadAddress):
        Signer(domain=domain, keys=KEYS)


def test_an_address_literal_cannot_sign() -> None:
    with pytest.raises(ValueError, match="no DNS records"):
        Signer(domain="[192.0.2.1]", keys=KEYS)


def test_a_signer_needs_a_key() -> None:
    with pytest.raises(ValueError, match="keys"):
        Signer(domain="example.org", keys=())


@pytest.mark.rfc("6376", "3.6.2.2")
def test_two_keys_under_one_selector_are_refused() -> None:
    """One name can publish one key."""
    keys = (SigningKey("mail", RSA), SigningKey("MAIL", ED25519))
    with pytest.raises(ValueError, match="selector of its own"):
        Signer(domain="example.org", keys=keys)


def test_a_record_whose_name_would_not_fit_dns_is_refused() -> None:
    keys = (SigningKey(".".join(["s" * 60] * 3), RSA),)
    with pytest.raises(ValueError, match="too long for a DNS name"):
        Signer(domain="a" * 60 + ".example.org", keys=keys)


def test_a_key_needs_a_selector_that_is_one() -> None:
    with pytest.raises(BadSelector):
        SigningKey("a_b", RSA)


@pytest.mark.rfc("6376", "5.4")
@pytest.mark.parametrize(
    ("oversigned", "signed_names", "why"),
    [
        ((), ("From",), "From must be oversigned"),
        (("Subject",), (), "From must be oversigned"),
        (("From", "from"), (), "signed twice"),
        (("From",), ("To", "FROM"), "signed twice"),
        (("From", "X:y"), (), "no header field"),
        (("From",), ("a b",), "no header field"),
        (("From",), ("",), "no header field"),
        (("From",), ("Předmět",), "no header field"),
    ],
)
def test_field_names_that_make_no_good_list_are_refused(
    oversigned: tuple[str, ...], signed_names: tuple[str, ...], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        Signer(
            domain="example.org", keys=KEYS, oversigned=oversigned, signed=signed_names
        )


def test_a_signer_shows_no_key() -> None:
    assert "PrivateKey" not in repr(SIGNER)
