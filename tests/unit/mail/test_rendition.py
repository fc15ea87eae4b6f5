"""Other forms of a message, octet for octet."""

import quopri
import sys
from types import FrameType

import pytest

from submitd.mail.mime import CannotConvert
from submitd.mail.rendition import Change, Rewriting, Survey, Target
from tests.support.renditions import convert, split

SEVEN, EIGHT = Target.SEVEN_BIT, Target.EIGHT_BIT

MIXED = (
    b"From: a@example.org\r\n"
    b"MIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="b (1)"\r\n'
    b"Content-Transfer-Encoding: binary\r\n"
    b"X-Last: kept\r\n"
    b"\r\n"
    b"preamble\r\n"
    b"--b (1)\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: 8bit\r\n"
    b"X-Part: kept\r\n"
    b"\r\n"
    b"\xc3\xa4 = a \r\n"
    b"second\r\n"
    b"--b (1)\t\r\n"
    b"Content-Type: image/png\r\n"
    b"Content-Transfer-Encoding: binary\r\n"
    b"\r\n"
    b"\0\r\n--\n\xff\r\n"
    b"--b (1)\r\n"
    b"\r\n"
    b"plain\r\n"
    b"--b (1)--\r\n"
    b"epilogue\r\n"
)


def changes_of(
    message: bytes, target: Target, *, smtputf8: bool = False
) -> dict[int, Change]:
    header, body = split(message)
    survey = Survey(target, header, smtputf8=smtputf8)
    survey.feed(body)
    return dict(survey.finish())


@pytest.mark.rfc("2045", "6.2")
@pytest.mark.rfc("3030", "3")
def test_each_part_that_needs_it_is_encoded_and_all_else_stays() -> None:
    assert convert(MIXED, SEVEN) == (
        MIXED.replace(b"binary\r\nX-Last", b"7bit\r\nX-Last")
        .replace(b"8bit\r\nX-Part", b"quoted-printable\r\nX-Part")
        .replace(b"\xc3\xa4 = a \r\n", b"=C3=A4 =3D a=20\r\n")
        .replace(b"binary", b"base64")
        .replace(b"\0\r\n--\n\xff", b"AA0KLS0K/w==")
    )


@pytest.mark.rfc("3030", "3")
def test_for_a_host_with_8bitmime_only_binary_parts_change() -> None:
    assert convert(MIXED, EIGHT) == (
        MIXED.replace(b"binary\r\nX-Last", b"8bit\r\nX-Last")
        .replace(b"binary", b"base64")
        .replace(b"\0\r\n--\n\xff", b"AA0KLS0K/w==")
    )


@pytest.mark.rfc("1847", "2.1")
@pytest.mark.parametrize(
    ("message", "target"),
    [(MIXED, SEVEN), (MIXED, EIGHT), (MIXED.replace(b"\0", b"x"), EIGHT)],
)
def test_what_a_signature_covers_has_no_other_form(
    message: bytes, target: Target
) -> None:
    signed = message.replace(b"multipart/mixed", b"Multipart/Signed; protocol=x")

    with pytest.raises(CannotConvert, match="multipart/signed"):
        convert(signed, target)


def test_a_signed_part_that_any_host_takes_stays_as_it_is() -> None:
    """What it says of its encoding, and its long lines, too."""
    signed = (
        b"MIME-Version: 1.0\r\n"
        b"Content-Type: multipart/mixed; boundary=out\r\n"
        b"Content-Transfer-Encoding: binary\r\n"
        b"\r\n"
        b"--out\r\n"
        b"Content-Type: multipart/signed; boundary=in\r\n"
        b"Content-Transfer-Encoding: binary\r\n"
        b"\r\n"
        b"--in\r\n"
        b"Content-Transfer-Encoding: binary\r\n"
        b"\r\n" + b"x" * 2000 + b"\r\n--in--\r\n"
        b"--out\r\n"
        b"Content-Type: text/plain\r\n"
        b"\r\n"
        b"\xff\r\n"
        b"--out--\r\n"
    )

    # Who says less of what is around it contradicts it (RFC 2045 section 6.4).
    assert convert(signed, SEVEN) == signed.replace(
        b"\r\n\r\n\xff",
        b"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=FF",
    )
    less = signed.replace(b"binary\r\n\r\nx", b"8bit\r\n\r\nx").replace(b"\xff", b"y")
    assert convert(less, SEVEN) == less.replace(b"binary", b"8bit")


@pytest.mark.rfc("2046", "5.2.1")
def test_a_message_in_a_message_is_converted_inside() -> None:
    forwarded = (
        b"Content-Type: message/rfc822\r\n"
        b"Content-Transfer-Encoding: 8bit\r\n"
        b"\r\n"
        b"Subject: inner\r\n"
        b"MIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=latin-1\r\n"
        b"Content-Transfer-Encoding: 8bit\r\n"
        b"\r\n"
        b"\xe4\r\n"
    )

    assert convert(forwarded, SEVEN) == (
        b"Content-Type: message/rfc822\r\n"
        b"Content-Transfer-Encoding: 7bit\r\n"
        b"\r\n"
        b"Subject: inner\r\n"
        b"MIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=latin-1\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n"
        b"\r\n"
        b"=E4\r\n"
    )


@pytest.mark.rfc("2046", "5.1.5")
def test_parts_of_a_digest_are_messages() -> None:
    digest = (
        b"Content-Type: multipart/digest; boundary=d\r\n"
        b"\r\n"
        b"--d\r\n"
        b"\r\n"
        b"Subject: inner\r\n"
        b"Content-Type: image/gif\r\n"
        b"\r\n"
        b"\xff\r\n"
        b"--d--\r\n"
    )

    assert convert(digest, SEVEN) == digest.replace(
        b"gif\r\n\r\n\xff",
        b"gif\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n\r\n/w==",
    )


@pytest.mark.rfc("1428", "3")
def test_8_bit_text_without_a_word_of_mime_is_of_an_unknown_charset() -> None:
    assert convert(b"Subject: x\r\n\r\n\xe4\r\n", SEVEN) == (
        b"Subject: x\r\n"
        b"MIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=unknown-8bit\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n"
        b"\r\n"
        b"=E4\r\n"
    )


@pytest.mark.rfc("2045", "4")
def test_a_message_around_a_part_that_is_encoded_says_that_it_is_of_mime() -> None:
    """The nearest one; a part without any Content-Type is text like a message."""
    inner = (
        b"Content-Type: multipart/mixed; boundary=b\r\n"
        b"\r\n"
        b"--b\r\n"
        b"\r\n"
        b"\xe4\r\n"
        b"--b\r\n"
        b"Content-Type: text/plain\r\n"
        b"\r\n"
        b"\xe4\r\n"
        b"--b--\r\n"
    )
    converted = inner.replace(b"b\r\n\r\n--b", b"b\r\nMIME-Version: 1.0\r\n\r\n--b", 1)
    label = b"Content-Transfer-Encoding: quoted-printable\r\n\r\n=E4"
    unknown = b"Content-Type: text/plain; charset=unknown-8bit\r\n"
    converted = converted.replace(b"\r\n\r\n\xe4", b"\r\n%b%b" % (unknown, label), 1)
    # What somebody has said of their text stays, even where it is too little.
    converted = converted.replace(b"\r\n\r\n\xe4", b"\r\n" + label)
    outer = b"Content-Type: message/rfc822\r\n\r\n"

    assert convert(inner, SEVEN) == converted
    assert convert(outer + inner, SEVEN) == outer + converted


def test_ascii_is_encoded_for_its_long_lines_and_needs_no_charset() -> None:
    converted = convert(b"Subject: x\r\n\r\n" + b"x" * 999 + b"\r\n", EIGHT)

    assert converted.startswith(
        b"Subject: x\r\nMIME-Version: 1.0\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\nxxx"
    )
    whole = b"Subject: x\r\n\r\n" + b"x" * 998 + b"\r\n"
    assert convert(whole, SEVEN) == whole


@pytest.mark.rfc("2045", "6.8")
@pytest.mark.parametrize("text", [b"a\nb", b"a\rb", b"a\0b", b"a\r"])
def test_text_with_bare_line_ends_is_octets(text: bytes) -> None:
    converted = convert(
        b"Content-Type: text/x\r\nMIME-Version: 1.0\r\n\r\n" + text, EIGHT
    )

    assert b"Content-Transfer-Encoding: base64\r\n" in converted
    assert converted.endswith(b"\r\n")


def test_text_that_ends_within_a_line_does_so_when_decoded() -> None:
    """RFC 2045 section 6.7, rule 5; DATA wants a line end all the same."""
    mime = b"MIME-Version: 1.0\r\n"

    assert convert(mime + b"\r\n\xe4", SEVEN).endswith(b"\r\n\r\n=E4=\r\n")
    # Where nothing is encoded there is no way to say so.
    assert convert(mime + b"\r\nx", SEVEN).endswith(b"\r\n\r\nx\r\n")


@pytest.mark.parametrize("message", [b"\r\n", b"A: b\r\n\r\n", b"A: b\r\n\r\nx\r\n"])
def test_what_any_host_takes_has_no_other_form(message: bytes) -> None:
    header = message if message == b"\r\n" else split(message)[0]
    body = message[len(header) :]
    survey = Survey(SEVEN, header, smtputf8=False)
    survey.feed(body)
    assert survey.finish() == {}
    rewriting = Rewriting({}, header)
    given_out = rewriting.feed(body) + rewriting.finish()
    assert rewriting.header + b"\r\n" + given_out == message


@pytest.mark.rfc("6532", "3.7")
def test_an_international_message_is_encoded_as_a_whole() -> None:
    message = (
        b"MIME-Version: 1.0\r\nContent-Type: message/global\r\n\r\nFrom: \xc3\xa4\r\n"
    )

    assert convert(message, SEVEN) == (
        b"MIME-Version: 1.0\r\nContent-Type: message/global\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\nRnJvbTogw6QNCg==\r\n"
    )


def test_octets_above_127_in_header_fields_need_smtputf8() -> None:
    """RFC 6532. There is no other form of them that is certain."""
    message = b"Subject: \xc3\xa4\r\nMIME-Version: 1.0\r\n\r\n\xc3\xa4\r\n"

    with pytest.raises(CannotConvert, match="header fields"):
        convert(message, SEVEN)
    assert convert(message, EIGHT) == message
    converted = convert(message, SEVEN, smtputf8=True)
    assert converted.startswith(b"Subject: \xc3\xa4\r\n")
    assert converted.endswith(b"=C3=A4\r\n")


def test_what_is_called_more_than_it_is_gets_its_own_name() -> None:
    """Its octets stay; and a wrapper is called after the worst in it."""
    message = (
        b"Content-Type: multipart/mixed; boundary=b\r\n"
        b"Content-Transfer-Encoding: binary\r\n"
        b"\r\n"
        b"--b\r\n"
        b"Content-Transfer-Encoding: binary\r\n"
        b"\r\n"
        b"x\r\n"
        b"--b\r\n"
        b"Content-Type: message/rfc822\r\n"
        b"Content-Transfer-Encoding: binary\r\n"
        b"\r\n"
        b"Subject: \xe4\r\n"
        b"--b--\r\n"
    )

    found = changes_of(message, EIGHT)
    assert {number: change.label for number, change in found.items()} == {
        0: b"8bit",
        1: b"7bit",
        2: b"8bit",
    }
    outside = message.replace(b"Subject: \xe4", b"Subject: x") + b"\xe4\r\n"
    assert changes_of(outside, EIGHT)[0].label == b"8bit"
    with pytest.raises(CannotConvert, match="outside its parts"):
        convert(outside, SEVEN)


@pytest.mark.rfc("2045", "6.4")
@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Transfer-Encoding: base64\r\n",
        b"Content-Transfer-Encoding: x-own\r\n",
        b"Content-Transfer-Encoding: 8bit\r\nContent-Transfer-Encoding: 7bit\r\n",
        b"Content-Transfer-Encoding: two words\r\n",
        b"Content-Type: text\r\n",
        b"Content-Type: text/plain\r\nContent-Type: text/plain\r\n",
        b"Content-Type: message/delivery-status\r\n",
        b"Content-Type: multipart/mixed\r\n",
        b"Content-Type: multipart/mixed; boundary=a; boundary=b\r\n",
        b"Content-Type: multipart/mixed; boundary*=a\r\n",
        b'Content-Type: multipart/mixed; boundary="a\r\n',
        b'Content-Type: multipart/mixed; boundary="\xe4"\r\n',
        b'Content-Type: multipart/mixed; boundary=""\r\n',
        (
            b"Content-Type: multipart/mixed; ; boundary = a \r\n"
            b"Content-Transfer-Encoding: base64\r\n"
        ),
        b"Content-Type: (a (b) text/plain) multipart/mixed; boundary=x\r\n",
        b"Content-Type: (a (b) text/plain) multipart/signed; boundary=x\r\n",
        b"Content-Type: text/plain (a\r\n",
        b"Content-Type: text/plain multipart/mixed; boundary=x\r\n",
        b"Content-Type: text/plain, multipart/mixed; boundary=x\r\n",
        b"Content-Transfer-Encoding: 7bit (a (b) base64)\r\n",
        b"Subject : a\r\n",
        b"no field\r\n",
    ],
)
def test_where_programs_may_differ_nothing_is_changed(fields: bytes) -> None:
    message = b"Content-Type: message/rfc822\r\n\r\n" + fields + b"\r\n"

    assert convert(message + b"x\r\n", EIGHT) == message + b"x\r\n"
    with pytest.raises(CannotConvert, match=r"not certain|header fields"):
        convert(message + b"\0\xe4\r\n", SEVEN)


def test_a_boundary_is_read_as_mail_programs_read_it() -> None:
    """Comments, escapes and other parameters around it, or bare with odd signs."""
    for written, boundary in (
        (b'(a "c") charset="x;boundary=y"; (b) boundary="q\\"z" (c);', b'q"z'),
        (b"BOUNDARY=----=_x/1?", b"----=_x/1?"),
    ):
        message = (
            b"Content-Type: multipart/mixed; %b\r\n"
            b"\r\n"
            b"--%b\r\n"
            b"Content-Type: a/b\r\n"
            b"\r\n"
            b"\xff\r\n"
            b"--%b--\r\n" % (written, boundary, boundary)
        )
        assert b"\r\n\r\n/w==\r\n--" in convert(message, SEVEN)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"--bc\r\n", "goes on"),
        (b"x\r\n--b-\r\n", "goes on"),
        (b"--b" + b" " * 1000 + b"\r\n", "goes on"),
        (b"x\r\n--b" + b" " * 1000, "goes on"),
        (b"--b\r\nA: b\nC: d\r\n", "bare CR"),
        (b"--b\r\nA: " + b"x" * (256 * 1024), "no end"),
        (b"--b\r\n" * 10_000, "too many parts"),
        (b"--b\r\n" + b"a:\r\n" * 50_000 + b"--b\r\n" + b"a:\r\n" * 50_001, "fields"),
        (b"--b\r\nContent-Type: multipart/x; boundary=b\r\n\r\n", "boundary of one"),
        (b"\xff\r\n", "outside"),
        (b"\0", "outside"),
        (b"--b--\r\n\r", "outside"),
    ],
)
def test_what_is_not_certain_has_no_other_form(body: bytes, why: str) -> None:
    message = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + body
    with pytest.raises(CannotConvert, match=why):
        convert(message, SEVEN)


def test_messages_in_messages_have_a_measure() -> None:
    nested = b"Content-Type: message/rfc822\r\n\r\n"

    assert convert(nested * 29, SEVEN) == nested * 29
    with pytest.raises(CannotConvert, match="parts within parts"):
        convert(nested * 31, SEVEN)


def test_the_messages_own_header_section_was_measured_before() -> None:
    """With what we have put on top it may be longer than what comes."""
    fields = b"MIME-Version: 1.0\r\n" + b"A: b\r\n" * 100_001

    assert convert(fields + b"\r\n\xe4\r\n", SEVEN).startswith(fields)


def test_lines_that_begin_like_delimiters_take_no_step_each() -> None:
    """A hundred seconds went into the largest message, for who wrote it so."""
    top = b"Content-Type: multipart/mixed; boundary=b0\r\n\r\n"
    for number in range(1, 29):
        top += b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (
            number - 1,
            number,
        )
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:  # noqa: ARG001
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        changes = changes_of(top + b"--b28\r\n\r\n\xff" + b"\r\n--" * 50_000, SEVEN)
    finally:
        sys.setprofile(None)
    assert set(changes) == {0, 29}
    assert calls < 10_000


@pytest.mark.rfc("2046", "5.1.1")
def test_a_delimiter_is_found_wherever_the_pieces_are_cut() -> None:
    header, body = split(MIXED)
    for size in range(1, 12):
        survey = Survey(SEVEN, header, smtputf8=False)
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        for piece in pieces:
            survey.feed(piece)
        rewriting = Rewriting(survey.finish(), header)
        given_out = b"".join(map(rewriting.feed, pieces)) + rewriting.finish()
        assert rewriting.header + b"\r\n" + given_out == convert(MIXED, SEVEN)


@pytest.mark.rfc("2046", "5.1.1")
def test_parts_may_be_empty_and_may_have_no_end() -> None:
    """An outer delimiter ends what has none; a header section, too."""
    message = (
        b"Content-Type: multipart/mixed; boundary=out\r\n"
        b"\r\n"
        b"--out\r\n"
        b"--out\r\n"
        b"Content-Type: multipart/mixed; boundary=in\r\n"
        b"\r\n"
        b"--in\r\n"
        b"Content-Type: image/png\r\n"
        b"\r\n"
        b"\xff\r\n"
        b"--out\r\n"
        b"Content-Type: image/png\r\n"
        b"\r\n"
        b"--out\r\n"
        b"X-Only: a field\r\n"
        b"--out\r\n"
        b"\r\n"
        b"\xff"
    )
    message = b"MIME-Version: 1.0\r\n" + message

    assert convert(message, SEVEN) == (
        b"MIME-Version: 1.0\r\n"
        b"Content-Type: multipart/mixed; boundary=out\r\n"
        b"\r\n"
        b"--out\r\n"
        b"--out\r\n"
        b"Content-Type: multipart/mixed; boundary=in\r\n"
        b"\r\n"
        b"--in\r\n"
        b"Content-Type: image/png\r\n"
        b"Content-Transfer-Encoding: base64\r\n"
        b"\r\n"
        b"/w==\r\n"
        b"--out\r\n"
        b"Content-Type: image/png\r\n"
        b"\r\n"
        b"--out\r\n"
        b"X-Only: a field\r\n"
        b"--out\r\n"
        b"Content-Type: text/plain; charset=unknown-8bit\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n"
        b"\r\n"
        b"=FF=\r\n"
    )


def test_a_message_may_end_within_a_delimiter_or_a_header_section() -> None:
    top = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"

    for body in (b"--b--", b"--b", b"--b\r\nA: b", b"--b\r\n\r\nx\r\n--b--"):
        assert convert(top + body, SEVEN) == top + body + b"\r\n"


@pytest.mark.rfc("2046", "5.1.1")
@pytest.mark.parametrize("before", [*range(60, 80), *range(4080, 4100)])
def test_no_break_makes_a_delimiter_of_what_stands_within_a_line(before: int) -> None:
    text = b"x" * before + b"--b--\xff"
    message = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n%b\r\n--b--"

    encoded = convert(message % text, SEVEN).split(b"\r\n--b")[1].split(b"\r\n\r\n")[1]

    assert quopri.decodestring(encoded) == text
    lines = encoded.split(b"\r\n")
    assert max(map(len, lines)) <= 76
    assert not any(line.startswith(b"--") for line in lines)
