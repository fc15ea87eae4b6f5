"""The forms of a message for hosts that take less: they say the same, or there is none.

The first octet chooses what the host takes, the second how the message is cut.
"""

import binascii
import quopri
import re
from collections.abc import Iterator
from email import message_from_bytes
from typing import Final

from attrs import define

from submitd.mail.mime import CannotConvert, Encoding, Entity, Kind, MimeWalker
from submitd.mail.rendition import Rewriting, Survey, Target

_SMTPUTF8: Final = 2
_MOST_OF_A_LINE: Final = 998
_BARE: Final = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")
_TOP: Final = b"From: a@example.org\r\nMIME-Version: 1.0\r\n"
_MIXED: Final = b"Content-Type: multipart/%b; boundary=%b\r\n"
_BINARY: Final = b"Content-Transfer-Encoding: binary\r\n"
_TEXT: Final = b"Content-Type: text/plain; charset=utf-8\r\n"


def seeds() -> list[bytes]:
    """Text, octets, parts in parts, and what is signed."""
    octets = b"Content-Type: image/png\r\n" + _BINARY + b"\r\n\0\n\r--b\xff\r\n"
    text = _TEXT + b"\r\n\xc3\xa4 = \r\n" + b"-" * 75 + b"--b--\r\n"
    parts = b"\r\n--b\r\n" + text + b"--b \r\n" + octets + b"\r\n--b--\r\nend\r\n"
    signed = b"--o\r\n" + _MIXED % (b"signed", b"b") + parts + b"\r\n--o--\r\n"
    inner = b"Content-Type: message/rfc822\r\n\r\nSubject: x\r\n" + text
    bodies = [
        text,
        b"\r\n\xe4 without a word",
        _BINARY + b"\r\n" + b"long " * 210,
        octets,
        _MIXED % (b"mixed", b'"b"') + parts,
        _MIXED % (b"signed", b"b") + parts,
        _MIXED % (b"mixed", b"o") + _BINARY + b"\r\n" + signed,
        inner,
        _MIXED % (b"digest", b"b") + b"\r\n--b\r\n\r\n" + text + b"--b--\r\n",
        b"Content-Transfer-Encoding: base64\r\n\r\nYWJj\r\n",
        b"Subject: \xc3\xa4\r\n" + text,
    ]
    return [bytes((number % 4, 6)) + _TOP + body for number, body in enumerate(bodies)]


def one_input(octets: bytes) -> None:
    """Convert it whole and cut; compare what was said with what is said now."""
    if len(octets) < 2:
        return
    target = Target.EIGHT_BIT if octets[0] & 1 else Target.SEVEN_BIT
    smtputf8, cut, message = bool(octets[0] & _SMTPUTF8), octets[1] % 13 + 1, octets[2:]
    header, empty, body = (b"\r\n" + message).partition(b"\r\n\r\n")
    header = (header + (empty or b"\r\n\r\n"))[2:]
    form = _convert(header, body, target, smtputf8, len(body) or 1)
    assert form == _convert(header, body, target, smtputf8, cut)
    if isinstance(form, str):
        return
    came, leaves = _read(header, body), _read(*form)
    _check_octets(leaves, target, smtputf8)
    if came[-1].entity.raw and not came[-1].entity.raw.endswith(b"\r\n"):
        # Only with the line end that it was given is it clear what its last field says.
        return
    _compare(came, leaves)
    assert _convert(*form, target, smtputf8, 1 << 20) == form
    if not (_BARE.search(header + body) or any(b"(" in one.entity.raw for one in came)):
        # Where it has, others see lines, and so delimiters, that there are not; and
        # Python's reader takes comments in a field (RFC 2045 section 5.1) for words.
        _compare_as_others(header + body, b"".join(form))


def _convert(
    header: bytes, body: bytes, target: Target, smtputf8: bool, cut: int
) -> tuple[bytes, bytes] | str:
    """Its header section, with the empty line, and body; or why there is no form."""
    pieces = [body[at : at + cut] for at in range(0, len(body), cut)]
    try:
        survey = Survey(target, header, smtputf8=smtputf8)
        for piece in pieces:
            survey.feed(piece)
        changes = survey.finish()
    except CannotConvert as problem:
        return str(problem)
    rewriting = Rewriting(changes, header)
    given_out = [rewriting.feed(piece) for piece in pieces]
    given_out.append(rewriting.finish())
    return rewriting.header + b"\r\n", b"".join(given_out)


@define
class _Found:
    """An entity, and what it holds that is no part of it."""

    entity: Entity
    is_signed: bool
    octets: bytes = b""

    @property
    def stays(self) -> bool:
        """Nobody may give it another encoding."""
        return self.is_signed or not self.entity.may_be_encoded

    @property
    def decoded(self) -> bytes:
        """What it says; as it stands where we change nothing."""
        encodings = self.entity.section and self.entity.section.get_all(
            "content-transfer-encoding"
        )
        match encodings[0].value if encodings else b"":
            case b"base64":
                return binascii.a2b_base64(self.octets)
            case b"quoted-printable":
                return quopri.decodestring(self.octets)
        return self.octets


class _Finder:
    """Takes the parts of a message as they come."""

    def __init__(self) -> None:
        self.found: list[_Found] = []
        self._open: list[_Found] = []

    def begin(self, entity: Entity) -> None:
        above = self._open[-1] if self._open else None
        is_signed = above is not None and (
            above.is_signed or above.entity.media_type == "multipart/signed"
        )
        self._open.append(_Found(entity, is_signed))
        self.found.append(self._open[-1])

    def content(self, octets: bytes) -> None:
        assert self._open[-1].entity.kind is Kind.LEAF
        self._open[-1].octets += octets

    def between(self, octets: bytes) -> None:
        # The empty line of a leaf comes before its octets, and says nothing.
        if self._open[-1].entity.kind is not Kind.LEAF:
            self._open[-1].octets += octets

    def end(self, entity: Entity) -> None:
        assert self._open.pop().entity is entity


def _read(header: bytes, body: bytes) -> list[_Found]:
    finder = _Finder()
    walker = MimeWalker(finder)
    walker.feed(header)
    walker.feed(body)
    walker.finish()
    return finder.found


def _check_octets(parts: list[_Found], target: Target, smtputf8: bool) -> None:
    """A host that takes no more than the target takes all of it."""
    has_signed = any(one.is_signed for one in parts)
    for one in parts:
        assert not _BARE.search(one.entity.raw + one.octets)
        if target is Target.SEVEN_BIT:
            assert one.octets.isascii()
            assert smtputf8 or one.entity.raw.isascii()
        if not one.stays:
            assert max(map(len, one.octets.split(b"\r\n"))) <= _MOST_OF_A_LINE
        if one.entity.encoding is Encoding.BINARY:
            assert has_signed


def _compare(before: list[_Found], after: list[_Found]) -> None:
    """Each part says the same; what is signed is the same."""
    longer = 0
    for was, one in zip(before, after, strict=True):
        assert was.entity.kind is one.entity.kind
        assert was.entity.media_type == one.entity.media_type
        if was.is_signed:
            assert was.entity.raw == one.entity.raw
        said = (one.octets, was.octets) if was.stays else (one.decoded, was.decoded)
        longer += _is_longer(*said)
    assert longer <= 1


def _is_longer(now: bytes, before: bytes) -> bool:
    """True where the last line was given an end; it must be the same otherwise."""
    assert now in (before, before + b"\r\n")
    return now != before


def _compare_as_others(before: bytes, after: bytes) -> None:
    was, now = list(_leaves(before)), list(_leaves(after))
    assert sum(map(_is_longer, now, was)) <= 1
    assert len(was) == len(now)


def _leaves(message: bytes) -> Iterator[bytes]:
    """What a mail program shows, as Python's own reads it."""
    for part in message_from_bytes(message).walk():
        if not part.is_multipart():
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            yield payload
