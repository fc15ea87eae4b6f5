"""A message in another form says the same, whatever it was and however it is cut."""

import base64
import quopri
from collections.abc import Iterator
from email import message_from_bytes
from typing import Final

from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from submitd.mail.encoding import Base64, QuotedPrintable
from submitd.mail.mime import CannotConvert
from submitd.mail.rendition import Target
from tests.support.renditions import convert

TARGETS: Final = st.sampled_from(Target)
TOP: Final = b"From: a@example.org\r\nMIME-Version: 1.0\r\n"


@frozen
class Part:
    """A part to be written, and what a mail program is to show of it."""

    octets: bytes
    """Header fields, empty line and body."""

    leaves: tuple[bytes, ...]


TEXTS: Final = st.lists(
    st.one_of(
        st.sampled_from([b"", b".", b"--", b"-- ", b"From x", b"= \t", b"x" * 1500]),
        st.text("äß= \t.x", max_size=100).map(str.encode),
        st.binary(max_size=20).map(lambda some: some.translate(None, b"\0\r\n")),
    ),
    max_size=6,
).map(b"\r\n".join)
OCTETS: Final = st.one_of(
    st.binary(max_size=300),
    st.lists(
        st.sampled_from([b"\r", b"\n", b"\0", b"-", b"\r\n--", b"x", b"\x80"])
    ).map(b"".join),
)
TEXT_FIELDS: Final = st.sampled_from(
    [
        b"",
        b"Content-Type: text/plain; charset=utf-8\r\n",
        b"content-transfer-encoding: (x) 8BIT\r\nContent-Type: TEXT/HTML\r\n",
        (
            b'Content-Type: text/x;\r\n name=(a) "b"\r\n'
            b"Content-Transfer-Encoding: binary\r\n"
        ),
    ]
)
OCTET_FIELDS: Final = st.sampled_from(
    [
        b"Content-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n",
        b"Content-Type: text/csv\r\n",
        b"Content-Type: message/global\r\nContent-Transfer-Encoding: 8bit\r\n",
    ]
)


def _leaf(fields: bytes, body: bytes) -> Part:
    return Part(fields + b"\r\n" + body, (body,))


def _encoded(body: bytes) -> Part:
    fields = b"Content-Transfer-Encoding: base64\r\n"
    return Part(fields + b"\r\n" + base64.b64encode(body), (body,))


LEAVES: Final = st.one_of(
    st.builds(_leaf, TEXT_FIELDS, TEXTS),
    st.builds(_leaf, OCTET_FIELDS.filter(lambda one: b"global" not in one), OCTETS),
    st.builds(_encoded, st.binary(max_size=40)),
)


def _multipart(level: int, label: bytes, parts: list[Part]) -> Part:
    boundary = b"=_level (%d)" % level
    fields = b'Content-Type: multipart/mixed; boundary="%b"\r\n' % boundary
    body = b"".join(b"\r\n--%b\r\n%b" % (boundary, one.octets) for one in parts)
    end = b"\r\n--%b-- \r\n" % boundary
    leaves = tuple(leaf for one in parts for leaf in one.leaves)
    return Part(fields + label + b"\r\n" + body + end, leaves)


def _message(part: Part) -> Part:
    fields = b"Content-Type: message/rfc822\r\n\r\nSubject: x\r\n"
    return Part(fields + part.octets, part.leaves)


def within(depth: int) -> st.SearchStrategy[Part]:
    """A part, perhaps with parts in it."""
    if not depth:
        return LEAVES
    labels = st.sampled_from([b"", b"Content-Transfer-Encoding: binary\r\n"])
    inner = within(depth - 1)
    parts = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        LEAVES,
        st.builds(_multipart, st.just(depth), labels, parts),
        inner.map(_message),
    )


MESSAGES: Final = within(2).map(lambda one: Part(TOP + one.octets, one.leaves))
NONSENSE: Final = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"\r\n",
                b"\r\n\r\n",
                b"--a",
                b"--",
                b" ",
                b"\n",
                b"\r",
                b"\0",
                b"Content-Type: multipart/mixed; boundary=a\r\n",
                b"Content-Type: multipart/signed; boundary=ab\r\n",
                b"Content-Type: message/rfc822\r\n",
                b"Content-Type: text/plain\r\n",
                b"Content-Transfer-Encoding: binary\r\n",
                b"Content-Transfer-Encoding: base64\r\n",
                b'Content-Type: multipart/mixed; boundary="a\r\n',
                b"no field\r\n",
                b"\xe4",
            ]
        ),
        st.binary(max_size=5),
    ),
    max_size=25,
).map(b"".join)


def form_of(message: bytes, target: Target, cut: int = 1 << 20) -> bytes | str:
    """The other form, or why there is none."""
    try:
        return convert(message, target, cut)
    except CannotConvert as problem:
        return str(problem)


def leaves_of(message: bytes) -> Iterator[bytes]:
    """What a mail program decodes."""
    for part in message_from_bytes(message).walk():
        if not part.is_multipart():
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            yield payload


def is_passable(body: bytes, target: Target) -> bool:
    """A host that takes no more than the target takes this by DATA."""
    lines = body.split(b"\r\n")
    assert lines.pop() == b""
    return all(
        (one.isascii() or target is Target.EIGHT_BIT)
        and len(one) <= 998
        and not set(one) & set(b"\0\r\n")
        for one in lines
    )


@given(MESSAGES, TARGETS)
def test_its_parts_decode_to_the_same_and_every_host_takes_it(
    message: Part, target: Target
) -> None:
    converted = convert(message.octets, target)

    *before, last = leaves_of(converted)
    assert tuple(before) == message.leaves[:-1]
    # What ends within a line, and was not to be encoded, is given a line end.
    assert last in (message.leaves[-1], message.leaves[-1] + b"\r\n")
    assert is_passable(converted, target)


@given(MESSAGES, TARGETS)
def test_what_was_converted_needs_no_further_change(
    message: Part, target: Target
) -> None:
    converted = convert(message.octets, target)

    assert convert(converted, target) == converted


@given(MESSAGES.map(lambda one: one.octets) | NONSENSE, TARGETS, st.integers(1, 9))
def test_any_cut_gives_the_same(message: bytes, target: Target, cut: int) -> None:
    assert form_of(message, target, cut) == form_of(message, target)


@given(NONSENSE, TARGETS)
def test_whatever_comes_is_passable_or_has_no_other_form(
    octets: bytes, target: Target
) -> None:
    converted = form_of(b"A: b\r\n" + octets, target)

    assert isinstance(converted, str) or is_passable(converted, target)


@given(st.lists(st.binary(max_size=200)))
def test_base64_is_what_it_encodes_however_it_is_cut(pieces: list[bytes]) -> None:
    encoder = Base64()
    encoded = b"".join([*map(encoder.feed, pieces), encoder.finish()])

    assert base64.b64decode(encoded) == b"".join(pieces)
    assert all(len(line) <= 76 for line in encoded.split(b"\r\n"))
    assert not encoded.endswith(b"\r\n")


@given(
    st.lists(
        st.one_of(
            st.sampled_from([b"\r\n", b" \r\n", b"\t", b".", b"=", b"\xff" * 5000]),
            st.sampled_from([b"x" * 4095, b"x" * 4096, b"x" * 4097, b"x" * 76]),
            st.binary(max_size=90).map(lambda one: one.translate(None, b"\r\n\0")),
        )
    ),
    st.integers(1, 5000),
)
def test_quoted_printable_is_what_it_encodes_however_it_is_cut(
    parts: list[bytes], cut: int
) -> None:
    text = b"".join(parts)
    encoder = QuotedPrintable()
    pieces = [text[at : at + cut] for at in range(0, len(text), cut)]
    encoded = b"".join([*map(encoder.feed, pieces), encoder.finish()])

    assert quopri.decodestring(encoded) == text
    lines = encoded.split(b"\r\n")
    assert all(len(line) <= 76 and line.isascii() for line in lines)
    assert not any(line.endswith((b" ", b"\t")) for line in lines)
