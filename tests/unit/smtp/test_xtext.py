import pytest

from submitd.smtp.xtext import (
    decode_utf8_address,
    decode_xtext,
    encode_utf8_address,
    encode_xtext,
)


@pytest.mark.rfc("3461", "4")
@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"", ""),
        (b"bob@example.net", "bob@example.net"),
        (b"a+2Bb+3Dc+20d", "a+b=c d"),
        (b"a+2bb", "a+b"),
    ],
)
def test_xtext_is_decoded(octets: bytes, text: str) -> None:
    assert decode_xtext(octets) == text


@pytest.mark.rfc("3461", "4")
@pytest.mark.parametrize(
    "octets",
    [b"a+", b"a+2", b"a+2G", b"a=b", b"a b", b"a\tb", "å".encode(), b"a\x7f"],
)
def test_what_is_no_xtext_is_none(octets: bytes) -> None:
    assert decode_xtext(octets) is None


@pytest.mark.rfc("3461", "4.2")
@pytest.mark.parametrize("octets", [b"a+0D+0Ab", b"a+00", b"a+7F", b"a+C3+A5"])
def test_what_is_not_printable_ascii_within_xtext_is_none(octets: bytes) -> None:
    """It would be written into the fields of a report."""
    assert decode_xtext(octets) is None


@pytest.mark.rfc("6533", "3")
@pytest.mark.parametrize(
    ("octets", "raw", "text"),
    [
        (b"bob@example.net", False, "bob@example.net"),
        (rb"b\x{F8}b@example.net", False, "bøb@example.net"),
        (rb"\x{20AC}\x{1F600}\x{2B}", True, "€😀+"),
        ("bøb@example.net".encode(), True, "bøb@example.net"),
    ],
)
def test_an_internationalized_address_is_decoded(
    octets: bytes, raw: bool, text: str
) -> None:
    assert decode_utf8_address(octets, raw=raw) == text


@pytest.mark.rfc("6533", "3")
@pytest.mark.parametrize(
    ("octets", "raw"),
    [
        (b"", True),
        ("bøb".encode(), False),
        (b"\xff", True),
        (rb"a\x{0A}b", True),
        (rb"a\x{D800}b", True),
        (rb"a\x{2028}b", True),
        (rb"a\x{110000}b", True),
    ],
)
def test_what_is_no_internationalized_address_is_none(octets: bytes, raw: bool) -> None:
    assert decode_utf8_address(octets, raw=raw) is None


def test_both_encodings_stay_within_ascii_without_plus_equals_and_space() -> None:
    assert encode_xtext("a+b=c d") == b"a+2Bb+3Dc+20d"
    assert encode_utf8_address("bøb+x=\\ y") == rb"b\x{F8}b\x{2B}x\x{3D}\x{5C}\x{20}y"
