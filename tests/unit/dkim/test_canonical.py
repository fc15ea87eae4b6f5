"""Canonical forms, and the body hash of a body in pieces."""

import base64
import hashlib
import tracemalloc

import pytest

from submitd.dkim.canonical import BodyHasher, Canon, canonical_field

RFC_BODY = b" C \r\nD \t E\r\n\r\n\r\n"


def body_hash(canon: Canon, *pieces: bytes) -> bytes:
    hasher = BodyHasher(canon)
    for piece in pieces:
        hasher.update(piece)
    return hasher.digest()


def sha256(octets: bytes) -> bytes:
    return hashlib.sha256(octets).digest()


@pytest.mark.rfc("6376", "3.4.1")
@pytest.mark.parametrize("raw", [b"A: X\r\n", b"B : Y\t\r\n\tZ  \r\n"])
def test_a_simple_field_is_left_as_it_is(raw: bytes) -> None:
    """RFC 6376 section 3.4.5, example 2."""
    assert canonical_field(raw, Canon.SIMPLE) == raw


@pytest.mark.rfc("6376", "3.4.2")
@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        (b"A: X\r\n", b"a:X\r\n"),  # section 3.4.5, example 1
        (b"B : Y\t\r\n\tZ  \r\n", b"b:Y Z\r\n"),  # section 3.4.5, example 1
        (b"SUBJect: AbC\r\n", b"subject:AbC\r\n"),
        (b"Subject:\r\n", b"subject:\r\n"),
        (b"Subject: \t \r\n", b"subject:\r\n"),
        (b"Subject:\r\n folded\r\n", b"subject:folded\r\n"),
        (b"Subject: a\r\n \r\n b\r\n", b"subject:a b\r\n"),
        (b"Subject: a:  b \t c\r\n", b"subject:a: b c\r\n"),
        (b"Subject \t:a\r\n", b"subject:a\r\n"),
        ("Subject:  Žluťoučký \r\n".encode(), "subject:Žluťoučký\r\n".encode()),
    ],
)
def test_a_relaxed_field_is_unfolded_and_its_white_space_reduced(
    raw: bytes, canonical: bytes
) -> None:
    assert canonical_field(raw, Canon.RELAXED) == canonical


@pytest.mark.rfc("6376", "3.4.3")
def test_a_simple_body_loses_only_empty_lines_at_its_end() -> None:
    """RFC 6376 section 3.4.5, example 2."""
    assert body_hash(Canon.SIMPLE, RFC_BODY) == sha256(b" C \r\nD \t E\r\n")


@pytest.mark.rfc("6376", "3.4.4")
def test_a_relaxed_body_has_its_white_space_reduced() -> None:
    """RFC 6376 section 3.4.5, example 1."""
    assert body_hash(Canon.RELAXED, RFC_BODY) == sha256(b" C\r\nD E\r\n")


@pytest.mark.rfc("6376", "3.4.3")
@pytest.mark.parametrize("body", [b"", b"\r\n", b"\r\n\r\n\r\n"])
def test_an_empty_simple_body_is_one_empty_line(body: bytes) -> None:
    """The section gives this hash."""
    digest = base64.b64encode(body_hash(Canon.SIMPLE, body))
    assert digest == b"frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY="


@pytest.mark.rfc("6376", "3.4.4")
@pytest.mark.parametrize("body", [b"", b"\r\n", b"\r\n\r\n", b" \t\r\n\r\n \r\n", b" "])
def test_an_empty_relaxed_body_is_nothing(body: bytes) -> None:
    """The section gives this hash."""
    digest = base64.b64encode(body_hash(Canon.RELAXED, body))
    assert digest == b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


@pytest.mark.rfc("6376", "3.4.4")
@pytest.mark.parametrize(
    ("body", "canonical"),
    [
        (b"a\r\n", b"a\r\n"),
        (b"a", b"a\r\n"),
        (b"a \t", b"a\r\n"),
        (b"a\r\n\r\n\r\nb\r\n", b"a\r\n\r\n\r\nb\r\n"),
        (b"a \r\n\t\r\n \r\n", b"a\r\n"),
        (b" \r\n\t\r\na\r\n", b"\r\n\r\na\r\n"),
        (b"\t a\t\tb   c\r\n", b" a b c\r\n"),
        (b"a\r\n \t", b"a\r\n"),
        # A bare CR or LF is text: it ends no line, and no white space goes.
        (b"a \rb \nc\r\n", b"a \rb \nc\r\n"),
        (b"a\r\n\r", b"a\r\n\r\r\n"),
        (b"a\r\n\n\r\n", b"a\r\n\n\r\n"),
        (b"a\r\n \r\r\n\r\n", b"a\r\n \r\r\n"),
        (b"\r", b"\r\r\n"),
        (b"\n", b"\n\r\n"),
    ],
)
def test_a_relaxed_body_in_any_pieces_has_the_hash_of_its_canonical_form(
    body: bytes, canonical: bytes
) -> None:
    octets = [body[at : at + 1] for at in range(len(body))]
    assert body_hash(Canon.RELAXED, body) == sha256(canonical)
    assert body_hash(Canon.RELAXED, *octets) == sha256(canonical)
    assert body_hash(Canon.RELAXED, b"", *octets, b"") == sha256(canonical)


@pytest.mark.rfc("6376", "3.4.3")
@pytest.mark.parametrize(
    ("body", "canonical"),
    [
        (b"a", b"a\r\n"),
        (b"a \t", b"a \t\r\n"),
        (b"a\r\n\r\n\r\nb\r\n\r\n", b"a\r\n\r\n\r\nb\r\n"),
        (b"a\r\n \r\n\r\n", b"a\r\n \r\n"),
        (b"a\rb\nc\r\n", b"a\rb\nc\r\n"),
        (b"a\n\r\n\r", b"a\n\r\n\r\r\n"),
        (b"\n\r\n", b"\n\r\n"),
    ],
)
def test_a_simple_body_in_any_pieces_has_the_hash_of_its_canonical_form(
    body: bytes, canonical: bytes
) -> None:
    octets = [body[at : at + 1] for at in range(len(body))]
    assert body_hash(Canon.SIMPLE, body) == sha256(canonical)
    assert body_hash(Canon.SIMPLE, *octets) == sha256(canonical)


def test_a_hash_can_be_read_before_the_body_ends() -> None:
    hasher = BodyHasher(Canon.RELAXED)
    hasher.update(b"a\r")
    assert hasher.digest() == hasher.digest() == sha256(b"a\r\r\n")
    hasher.update(b"\nb")
    assert hasher.digest() == sha256(b"a\r\nb\r\n")


@pytest.mark.parametrize("canon", Canon)
def test_ten_thousand_empty_lines_before_text_are_all_hashed(canon: Canon) -> None:
    lines = b"\r\n" * 10_000
    assert body_hash(canon, lines, lines, b"a") == sha256(lines + lines + b"a\r\n")


@pytest.mark.parametrize("canon", Canon)
@pytest.mark.parametrize("piece", [b"\r\n" * 8192, b" \t" * 8192, b"text " * 4096])
def test_memory_does_not_grow_with_the_body(canon: Canon, piece: bytes) -> None:
    """Or 50 MB of empty lines take what a whole server may."""
    hasher = BodyHasher(canon)
    hasher.update(piece)
    tracemalloc.start()
    try:
        for _ in range(200):
            hasher.update(piece)
        hasher.update(b"end")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * len(piece)
