"""The same message for hosts that take less: other transfer encodings (RFC 2045).

`Survey` reads the message and decides, `Rewriting` reads it once more and gives
out its other form. Each part that the next host could not take has its encoding
changed, and what is said of it; every other octet stays. What a signature
covers is never changed (RFC 1847 section 2.1).
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final

from attrs import define, evolve, field, frozen

from submitd.mail.encoding import Base64, QuotedPrintable
from submitd.mail.message import Field, HeaderSection, make_field
from submitd.mail.mime import CannotConvert, Encoding, Entity, Kind, MimeWalker

_CRLF: Final = b"\r\n"
_MOST_LINE: Final = 998
"""Octets of a line without its end (RFC 2045 section 2.7)."""


class Target(Enum):
    """What the next host takes."""

    SEVEN_BIT = "7bit"
    EIGHT_BIT = "8bit"
    """8BITMIME (RFC 6152), but no BINARYMIME."""

    @property
    def most(self) -> Encoding:
        """What a part may say of itself."""
        return Encoding.SEVEN_BIT if self is Target.SEVEN_BIT else Encoding.EIGHT_BIT


_NAMES: Final = {Encoding.SEVEN_BIT: b"7bit", Encoding.EIGHT_BIT: b"8bit"}


@define
class _Facts:
    """What octets need, over pieces that part no CR from its LF."""

    eight_bit: bool = False
    binary: bool = False
    """NUL, or a CR or LF that ends no line."""

    long: bool = False
    _line: int = 0

    def update(self, octets: bytes) -> None:
        self.eight_bit = self.eight_bit or not octets.isascii()
        if not self.binary:
            within = octets.replace(_CRLF, b"")
            self.binary = b"\0" in octets or b"\n" in within or b"\r" in within
        if not self.long:
            first, *more = map(len, octets.split(_CRLF))
            lengths = [self._line + first, *more]
            self.long = max(lengths) > _MOST_LINE
            self._line = lengths[-1]


@frozen
class Change:
    """What becomes of one entity."""

    label: bytes = b""
    """Its Content-Transfer-Encoding; empty: what it was."""

    encode: bool = False
    without_charset: bool = False
    """It is 8-bit text of which nobody said what it is."""

    holds_encoded: bool = False
    """It is a message, and something in it is encoded now."""


@define
class _Surveyed:
    """An entity that has begun and not ended."""

    entity: Entity
    is_signed: bool
    """A signature covers it."""

    facts: _Facts = field(factory=_Facts)
    """Of a leaf's body."""

    level: Encoding = Encoding.SEVEN_BIT
    """What its body needs in its other form, or what stays in it says of itself."""

    change: Change = Change()


class Survey:
    """Finds out what is to be changed.

    Raises:
        CannotConvert: (the constructor, `feed`, `finish`) there is no such form.
    """

    def __init__(self, target: Target, header: bytes, *, smtputf8: bool) -> None:
        """``header``: the header section with its empty line.

        ``smtputf8``: the next host takes UTF-8 in header fields.
        """
        self._target = target
        self._smtputf8 = smtputf8
        self._open: list[_Surveyed] = []
        self._changes: dict[int, Change] = {}
        self._walker = MimeWalker(self)
        self._walker.feed(header)

    def feed(self, octets: bytes) -> None:
        """Take the next octets of the body, cut anywhere."""
        self._walker.feed(octets)

    def finish(self) -> Mapping[int, Change]:
        """What becomes of which entity, by its number."""
        self._walker.finish()
        return self._changes

    # What the walker says

    def begin(self, entity: Entity) -> None:
        """As `MimeReader.begin`."""
        facts = _Facts()
        facts.update(entity.raw)
        if facts.binary:
            raise CannotConvert("a header section holds a bare CR, a bare LF or a NUL")
        if facts.eight_bit:
            if self._target is Target.SEVEN_BIT and not self._smtputf8:
                raise CannotConvert("header fields hold octets above 127")
            self._raise(Encoding.EIGHT_BIT)
        above = self._open[-1] if self._open else None
        is_signed = above is not None and (
            above.is_signed or above.entity.media_type == "multipart/signed"
        )
        self._open.append(_Surveyed(entity, is_signed))

    def content(self, octets: bytes) -> None:
        """As `MimeReader.content`."""
        self._open[-1].facts.update(octets)

    def between(self, octets: bytes) -> None:
        """As `MimeReader.between`."""
        facts = _Facts()
        facts.update(octets)
        if self._is_too_much(facts):
            raise CannotConvert("what stands outside its parts cannot be encoded")
        if facts.eight_bit:
            self._raise(Encoding.EIGHT_BIT)

    def end(self, entity: Entity) -> None:
        """As `MimeReader.end`."""
        one = self._open[-1]
        if not (entity.kind is Kind.LEAF and self._end_leaf(one)):
            self._name(one)
        self._open.pop()
        if one.change != Change():
            self._changes[entity.number] = one.change

    def _name(self, one: _Surveyed) -> None:
        """It keeps its octets: what is it to be called?"""
        self._raise(one.level)
        entity = one.entity
        is_named_more = entity.encoding > max(self._target.most, one.level)
        if is_named_more and one.is_signed:
            # It stays so, and what is around it cannot be called less (RFC 2045
            # section 6.4).
            self._raise(entity.encoding)
        elif is_named_more and entity.section is not None:
            one.change = evolve(one.change, label=_NAMES[one.level])

    def _end_leaf(self, one: _Surveyed) -> bool:
        """True where it is to be encoded."""
        entity, facts = one.entity, one.facts
        if facts.eight_bit:
            one.level = Encoding.EIGHT_BIT
        must = self._is_too_much(facts)
        if must and one.is_signed:
            raise CannotConvert(
                "a signed part (multipart/signed) would have to be changed"
            )
        if must and not entity.may_be_encoded:
            raise CannotConvert("the form of a part is not certain")
        if not must and (one.is_signed or not entity.may_be_encoded or not facts.long):
            return False
        is_text = entity.media_type.startswith("text/") and not facts.binary
        one.change = Change(
            QuotedPrintable.name if is_text else Base64.name,
            encode=True,
            without_charset=facts.eight_bit,
        )
        message = next(each for each in reversed(self._open) if each.entity.is_message)
        message.change = evolve(message.change, holds_encoded=True)
        return True

    def _is_too_much(self, facts: _Facts) -> bool:
        return facts.binary or (facts.eight_bit and self._target is Target.SEVEN_BIT)

    def _raise(self, level: Encoding) -> None:
        """What stands in all that is open needs this."""
        for one in self._open:
            one.level = max(one.level, level)


class Rewriting:
    """Gives out the other form of a message that was surveyed."""

    def __init__(self, changes: Mapping[int, Change], header: bytes) -> None:
        """``header``: as for `Survey`."""
        self._changes = changes
        self.header = b""
        """The header section in its other form, without the empty line."""

        self._output: list[bytes] = []
        self._encoder: Base64 | QuotedPrintable | None = None
        self._line_end = b""
        """What would end the last line, where nothing has."""

        # The empty line behind the header section, which is not given out.
        self._skip = 2
        self._walker = MimeWalker(self)
        self._walker.feed(header)

    def feed(self, octets: bytes) -> bytes:
        """The other form of the next octets of the body, cut anywhere."""
        self._walker.feed(octets)
        return self._taken()

    def finish(self) -> bytes:
        """What is left. The last line has an end, as DATA wants it."""
        self._walker.finish()
        return self._taken() + self._line_end

    # What the walker says

    def begin(self, entity: Entity) -> None:
        """As `MimeReader.begin`."""
        raw = entity.raw
        change = self._changes.get(entity.number)
        if change is not None:
            assert entity.section is not None, "it is clear"  # noqa: S101
            raw = _renamed(entity.section, change).octets
            if change.encode:
                is_base64 = change.label == Base64.name
                self._encoder = Base64() if is_base64 else QuotedPrintable()
        if entity.number:
            self._put(raw)
        else:
            self.header = raw

    def content(self, octets: bytes) -> None:
        """As `MimeReader.content`."""
        self._put(octets if self._encoder is None else self._encoder.feed(octets))

    def between(self, octets: bytes) -> None:
        """As `MimeReader.between`."""
        self._put(octets[self._skip :])
        self._skip = 0

    def end(self, entity: Entity) -> None:  # noqa: ARG002 - the last that was begun
        """As `MimeReader.end`."""
        if self._encoder is not None:
            encoder, self._encoder = self._encoder, None
            self._put(encoder.finish())
            if self._line_end and isinstance(encoder, QuotedPrintable):
                # Decoded, it is no line end (RFC 2045 section 6.7, rule 5).
                self._line_end = b"=\r\n"

    def _put(self, octets: bytes) -> None:
        if octets:
            self._output.append(octets)
            self._line_end = b"" if octets.endswith(_CRLF) else _CRLF

    def _taken(self) -> bytes:
        octets = b"".join(self._output)
        self._output.clear()
        return octets


def _renamed(section: HeaderSection, change: Change) -> HeaderSection:
    more: list[Field] = []
    if change.holds_encoded and not section.get_all("mime-version"):
        more.append(make_field(b"MIME-Version: 1.0\r\n"))
    if change.without_charset and not section.get_all("content-type"):
        # RFC 1428 section 3.
        more.append(make_field(b"Content-Type: text/plain; charset=unknown-8bit\r\n"))
    kept = section.fields
    if change.label:
        label = make_field(b"Content-Transfer-Encoding: %b\r\n" % change.label)
        if not section.get_all(label.key):
            more.append(label)
        kept = tuple(label if one.key == label.key else one for one in kept)
    return HeaderSection((*kept, *more))
