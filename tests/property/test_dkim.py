"""Any message, cut anywhere: dkimpy finds the signature good and the hash equal."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from dkim.canonicalization import ALGORITHMS
from hypothesis import example, given, settings
from hypothesis import strategies as st

from submitd.dkim.canonical import BodyHasher, Canon, canonical_field
from submitd.dkim.check import Finding, check_published
from submitd.dkim.key import Algorithm, PrivateKey, record_value, zone_lines
from submitd.dkim.sign import Signer, SigningKey
from tests.support.dkim_verifier import body_hash_of, verify

NOW = datetime(2024, 2, 29, 12, 0, tzinfo=UTC)
RSA = PrivateKey.generate(Algorithm.RSA_SHA256)
ED25519 = PrivateKey.generate(Algorithm.ED25519_SHA256)
KEYS = (SigningKey("rsa", RSA), SigningKey("ed", ED25519))
RECORDS = {
    "rsa._domainkey.example.org": record_value(RSA),
    "ed._domainkey.example.org": record_value(ED25519),
}

NAMES = ("Subject", "TO", "Cc", "resent-from", "List-Id", "Received", "X-Other")
WORDS = ("a", "B:c", ";", "b=", "Žluť", "日本", " ", "  ", "\t", " \t ")
FOLDS = ("\r\n ", "\r\n\t", "\r\n \r\n\t")

values = st.lists(st.sampled_from((*WORDS, *FOLDS)), max_size=8).map("".join)
other_fields = st.builds(
    lambda name, value: f"{name}:{value}\r\n".encode(), st.sampled_from(NAMES), values
)
from_fields = values.map(lambda text: f"From: {text} <a@example.org>\r\n".encode())
header_sections = st.builds(
    lambda before, author, after: [*before, author, *after],
    st.lists(other_fields, max_size=6),
    from_fields,
    st.lists(other_fields, max_size=6),
)
pieces_of_text = st.one_of(
    st.sampled_from([b"\r\n", b"\r\n\r\n", b" ", b"\t", b"  ", b".", b"word"]),
    st.text(st.characters(exclude_characters="\r\n"), max_size=20).map(
        lambda text: text.encode("utf-8", "surrogatepass")
    ),
    st.builds(
        lambda piece, count: piece * count,
        st.sampled_from([b"\r\n", b" ", b"x", b"a \r\n", b" \t\r\n"]),
        st.integers(0, 5000),
    ),
)
bodies = st.lists(pieces_of_text, max_size=25).map(
    # As it arrives: DATA ends the last line.
    lambda pieces: b"".join((*pieces, b"\r\n"))
)
cuts = st.lists(st.floats(0, 1), max_size=12)
canons = st.sampled_from(Canon)


def cut(octets: bytes, places: list[float]) -> list[bytes]:
    inner = (round(place * len(octets)) for place in places)
    edges = sorted({0, len(octets), *inner})
    return [octets[start:end] for start, end in pairwise(edges)]


def digest_of(canon: Canon, pieces: list[bytes]) -> bytes:
    hasher = BodyHasher(canon)
    for piece in pieces:
        hasher.update(piece)
    return hasher.digest()


@pytest.mark.rfc("6376", "3.7")
@pytest.mark.rfc("8463", "3")
@settings(deadline=None)
@given(fields=header_sections, body=bodies, places=cuts, header=canons, text=canons)
def test_dkimpy_verifies_any_message_whose_body_came_in_any_pieces(
    fields: list[bytes], body: bytes, places: list[float], header: Canon, text: Canon
) -> None:
    signer = Signer(
        domain="example.org", keys=KEYS, header_canon=header, body_canon=text
    )
    digest = digest_of(text, cut(body, places))
    signatures = signer.sign(fields, digest, NOW)
    message = signatures + b"".join(fields) + b"\r\n" + body

    assert body_hash_of(signatures) == digest
    assert verify(message, RECORDS, 0)
    assert verify(message, RECORDS, 1)


@pytest.mark.rfc("6376", "3.4")
@given(body=bodies, places=cuts, canon=canons)
def test_the_body_hash_is_that_of_dkimpys_canonical_body(
    body: bytes, places: list[float], canon: Canon
) -> None:
    canonical = ALGORITHMS[canon.value.encode()].canonicalize_body(body)
    expected = BodyHasher(Canon.SIMPLE)
    expected.update(canonical)
    digest = digest_of(canon, cut(body, places))
    if canonical:  # an empty body is one empty line to the simple hasher
        assert digest == expected.digest()
    else:
        assert digest == digest_of(canon, [])


@given(
    body=st.lists(
        st.sampled_from([b"\r", b"\n", b" ", b"\t", b"a", b"\r\n"]), max_size=12
    ).map(b"".join),
    places=cuts,
    canon=canons,
)
@example(body=b"a\r\n \r\r\n", places=[0.5], canon=Canon.RELAXED)
def test_how_a_body_is_cut_does_not_change_its_hash_whatever_ends_its_lines(
    body: bytes, places: list[float], canon: Canon
) -> None:
    assert digest_of(canon, cut(body, places)) == digest_of(canon, [body])


@pytest.mark.rfc("6376", "3.4.2")
@given(field=st.one_of(other_fields, from_fields))
def test_a_relaxed_field_is_a_form_of_its_own(field: bytes) -> None:
    """Canonicalising twice changes nothing, and agrees with dkimpy."""
    relaxed = canonical_field(field, Canon.RELAXED)
    name, _, value = field.partition(b":")
    [(their_name, their_value)] = ALGORITHMS[b"relaxed"].canonicalize_headers(
        [(name, value)]
    )
    assert relaxed == their_name + b":" + their_value
    assert canonical_field(relaxed, Canon.RELAXED) == relaxed


@given(record=st.binary(max_size=80))
def test_no_record_makes_the_check_fail(record: bytes) -> None:
    """What DNS holds is not ours."""
    assert check_published(ED25519, [record])[0] is not Finding.MATCHES


@given(
    tags=st.dictionaries(
        st.sampled_from(["v", "k", "p", "s", "h", "t", "n"]),
        st.sampled_from(
            ["", "DKIM1", "rsa", "ed25519", "AAAA", "*", "y", "sha256", "ä"]
        ),
    )
)
def test_no_list_of_tags_makes_the_check_fail(tags: dict[str, str]) -> None:
    record = "; ".join(f"{name}={value}" for name, value in tags.items()).encode()
    findings = check_published(RSA, [record])
    assert findings
    assert Finding.MATCHES not in findings


@given(
    key=st.sampled_from([RSA, ED25519]),
    selector=st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True),
)
def test_what_the_zone_file_says_is_what_the_check_looks_for(
    key: PrivateKey, selector: str
) -> None:
    zone = zone_lines(selector, "example.org", key)
    assert zone.startswith(f"{selector}._domainkey.example.org. IN TXT (")
    strings = zone.split('"')[1::2]
    assert check_published(key, ["".join(strings).encode()]) == (Finding.MATCHES,)
