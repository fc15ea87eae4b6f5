import pytest

from submitd.mail.message import Field, HeaderSection, MalformedHeader, make_field

OCTETS = (
    b"Received: from a\r\n\tby b\r\n"
    b"From: Alice\r\n <alice@example.org>\r\n"
    b"Subject :  s \t\r\n"
    b"X-Odd:\xff\x00\r\n"
    b"from: again\r\n"
    b"Empty:\r\n"
)


@pytest.mark.rfc("5322", "2.2")
def test_fields_are_found_in_order_and_every_octet_is_kept() -> None:
    section = HeaderSection.parse(OCTETS)

    assert [one.key for one in section.fields] == [
        "received",
        "from",
        "subject",
        "x-odd",
        "from",
        "empty",
    ]
    assert section.octets == OCTETS


@pytest.mark.parametrize("ending", [b"", b"\r\n"])
def test_the_empty_line_may_come_along(ending: bytes) -> None:
    assert HeaderSection.parse(OCTETS + ending).octets == OCTETS


@pytest.mark.parametrize("octets", [b"", b"\r\n"])
def test_a_message_may_have_no_header_at_all(octets: bytes) -> None:
    assert HeaderSection.parse(octets).fields == ()


def test_a_last_line_without_its_end_gets_one() -> None:
    assert HeaderSection.parse(b"A: b").octets == b"A: b\r\n"


@pytest.mark.rfc("5322", "2.2.3")
def test_a_body_is_as_it_stands_and_a_value_is_unfolded() -> None:
    field = make_field(b"Subject:  one\r\n\ttwo\r\n three  \r\n")

    assert field.body == b"  one\r\n\ttwo\r\n three  "
    assert field.value == b"one\ttwo three"


@pytest.mark.rfc("5322", "4.5.8")
def test_white_space_before_the_colon_hides_no_field() -> None:
    (field,) = HeaderSection.parse(b"From \t: bob@example.org\r\n").get_all("from")

    assert field.value == b"bob@example.org"


def test_all_fields_of_a_name_are_found_whatever_their_case() -> None:
    found = HeaderSection.parse(OCTETS).get_all("from")

    assert [one.value for one in found] == [b"Alice <alice@example.org>", b"again"]


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b" folded: a\r\n", "continues nothing"),
        (b"\tfolded: a\r\n", "continues nothing"),
        (b"no colon\r\n", "no header field: b'no colon'"),
        (b"A: b\r\nno colon\r\nC: d\r\n", "no header field: b'no colon'"),
        (b": nameless\r\n", "no header field"),
        (b"two words: a\r\n", "no header field"),
        (b"From\x00: a\r\n", "no header field"),
        (b"Fr\xc3\xb6m: a\r\n", "no header field"),
        (b"From alice@example.org Sat Jan 31 12:00:00 2026\r\n", "no header field"),
        (b"A: b\r\n\r\n\r\n", "no header field: b''"),
        (b"A: b\r\n\r\nFrom: c\r\n", "no header field: b''"),
    ],
)
def test_a_line_that_is_no_field_is_refused(octets: bytes, reason: str) -> None:
    with pytest.raises(MalformedHeader, match=reason):
        HeaderSection.parse(octets)


def test_a_reason_quotes_no_more_than_a_line_of_a_reply_holds() -> None:
    with pytest.raises(MalformedHeader) as refusal:
        HeaderSection.parse(b"\x00" * 5000)

    assert len(str(refusal.value)) < 400


def test_fields_are_put_on_top_and_at_the_end_in_the_order_given() -> None:
    section = HeaderSection.parse(b"B: 2\r\n")

    changed = section.prepend(b"A: 1\r\n", b"A: 1\r\n 1\r\n").append(b"C: 3\r\n")

    assert changed.octets == b"A: 1\r\nA: 1\r\n 1\r\nB: 2\r\nC: 3\r\n"
    assert section.octets == b"B: 2\r\n"


def test_fields_are_left_out_by_name() -> None:
    section = HeaderSection.parse(OCTETS).without("from", "received")

    assert section.octets == b"Subject :  s \t\r\nX-Odd:\xff\x00\r\nEmpty:\r\n"


@pytest.mark.parametrize(
    "raw", [b"", b"A: b", b"A: b\r\nC: d\r\n", b"A: b\r\n\r\nx\r\n", b" a: b\r\n"]
)
def test_what_is_not_one_whole_field_cannot_be_put_in(raw: bytes) -> None:
    """A value with a line end in it must not become a field of its own."""
    with pytest.raises(MalformedHeader):
        HeaderSection(()).prepend(raw)


def test_a_field_knows_its_name_and_octets() -> None:
    assert make_field(b"X-A: b\r\n") == Field(b"X-A: b\r\n", "x-a")
