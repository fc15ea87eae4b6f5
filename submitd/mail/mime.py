"""The parts of a message, in the order of its octets (RFC 2045, RFC 2046).

Nothing is held but a header section, or a line that may be a delimiter; where
one program could see other parts than another one, it is said so.
"""

import re
from enum import Enum, IntEnum
from typing import Final, Protocol

from attrs import define, frozen

from submitd.mail.message import HeaderSection, MalformedHeader

_CRLF: Final = b"\r\n"
_MOST_DEPTH: Final = 30
_MOST_ENTITIES: Final = 10_000
_MOST_HEADER: Final = 256 * 1024
"""Octets of a part's header section. The message's own was measured when it came."""

_MOST_LINES: Final = 100_000
"""In the header sections of all parts: each is a step, and may have four octets."""

_MOST_DELIMITER: Final = 1000
"""Octets of a line with a line end, white space behind the boundary included."""

_COMMENT: Final = re.compile(
    rb'("(?:[^"\\]|\\.)*+"?)|\((?:[^()\\]|\\.)*+(\))?', re.DOTALL
)
"""A quoted string, or a comment up to its end or to another one within it.

Without its end it is found all the same, or time would grow with the square."""

_TYPE: Final = re.compile(rb"\s*+([\w!#$%&'*+.^`{|}~-]++)/([\w!#$%&'*+.^`{|}~-]++)\s*+")
_PARAMETER: Final = re.compile(
    rb";\s*+(?:([\w!#$%&'*+.^`{|}~-]++)\s*+=\s*+"
    rb'("(?:[^"\\]|\\.)*+"|[^\s";]++)\s*+)?',
    re.DOTALL,
)
_BOUNDARY: Final = re.compile(rb"[!-~](?:[ -~]{0,198}[!-~])?")
_ENCODING: Final = re.compile(r"[!-~]+")
_ENCODABLE: Final = frozenset(
    (
        "message/global",
        "message/global-headers",
        "message/global-delivery-status",
        "message/global-disposition-notification",
    )
)
"""Of all that is message/…, what may be encoded as a whole (RFC 6532, RFC 6533)."""


class CannotConvert(ValueError):
    """The content has no other form that is certain to say the same."""


class Kind(Enum):
    """What an entity's body consists of."""

    LEAF = "leaf"
    MULTIPART = "multipart"
    MESSAGE = "message"
    """A header section and what belongs to it: message/rfc822."""


class Encoding(IntEnum):
    """What an entity says of its body (RFC 2045 section 6.2), by what it needs."""

    SEVEN_BIT = 0
    EIGHT_BIT = 1
    BINARY = 2
    ENCODED = -1
    """base64, quoted-printable, or a word that we do not know."""


@frozen(eq=False, kw_only=True)
class Entity:
    """A message, or a part of one."""

    number: int
    """Its place in the order of octets; 0 is the message itself."""

    raw: bytes
    """Its header section as it stands, without the empty line."""

    section: HeaderSection | None
    """None: no two programs need read the same in it. It is not to be changed."""

    kind: Kind
    media_type: str
    """``text/plain``, in lower case."""

    encoding: Encoding
    boundary: bytes = b""
    is_message: bool
    """Its header section is a message's, and no part's."""

    @property
    def may_be_encoded(self) -> bool:
        """True where another transfer encoding is allowed (RFC 2045 section 6.4)."""
        return (
            self.section is not None
            and self.kind is Kind.LEAF
            and self.encoding is not Encoding.ENCODED
            and (
                not self.media_type.startswith("message/")
                or self.media_type in _ENCODABLE
            )
        )


class MimeReader(Protocol):
    """Who hears of each octet once. No piece parts a CR from its LF."""

    def begin(self, entity: Entity) -> None:
        """Its header section has come."""

    def content(self, octets: bytes) -> None:
        """Some of the body of the leaf that was begun last."""

    def between(self, octets: bytes) -> None:
        """Empty lines, delimiters, and what stands outside the parts."""

    def end(self, entity: Entity) -> None:
        """Nothing of it will come any more."""


@define
class _Open:
    """An entity that has begun and not ended."""

    entity: Entity
    delimiter: bytes
    """With the CR LF before it. Empty: there is none, or the last one was seen."""

    next: int = -1
    """Where in the buffer it stands next; its length: nowhere. It is looked for
    anew where this is behind."""


class MimeWalker:
    """Reads a message, header section first, over pieces cut anywhere.

    Raises:
        CannotConvert: (`feed`, `finish`) its structure is not certain, or has
            no measure.
    """

    def __init__(self, reader: MimeReader) -> None:
        self._reader = reader
        self._buffer = b""
        self._at = 0
        self._head: list[bytes] | None = []
        """Lines of a header section; None: within a body."""

        self._head_size = 0
        self._lines = 0
        self._gap = False
        """The empty line behind a header section is still in the buffer."""

        self._open: list[_Open] = []
        self._count = 0

    def feed(self, octets: bytes) -> None:
        """Take the next octets."""
        self._buffer = self._buffer[self._at :] + octets
        self._at = 0
        for one in self._open:
            one.next = -1
        while self._step(is_final=False):
            pass

    def finish(self) -> None:
        """There are no more."""
        while self._step(is_final=True):
            pass
        if self._head is not None:
            self._begin(self._head, self._buffer[self._at :])
        self._end_down_to(0)

    def _step(self, *, is_final: bool) -> bool:
        """Read on; False: not before more comes."""
        if self._head is not None:
            return self._read_header(self._head, is_final=is_final)
        return self._read_body(is_final=is_final)

    # Header sections

    def _read_header(self, head: list[bytes], *, is_final: bool) -> bool:
        buffer, at = self._buffer, self._at
        end = buffer.find(_CRLF, at)
        line = buffer[at:] if end < 0 else buffer[at:end]
        if self._count and self._head_size + len(line) > _MOST_HEADER:
            raise CannotConvert("a part's header section has no end")
        if end < 0 and not is_final:
            return False
        if line.startswith(b"--") and (found := self._delimiter(_CRLF + line)):
            self._begin(head)
            self._cross(*found, at, at + len(line))
            return True
        if end < 0:
            return False
        if line:
            head.append(line + _CRLF)
            self._head_size += len(line) + 2
            self._count_line()
            self._at = end + 2
            return True
        entity = self._begin(head)
        if entity.kind is Kind.MESSAGE:
            self._reader.between(_CRLF)
            self._at = end + 2
            self._head = []
        else:
            # Its CR LF may be the first half of a delimiter.
            self._gap = True
        return True

    def _count_line(self) -> None:
        if self._count:
            self._lines += 1
        if self._lines > _MOST_LINES:
            raise CannotConvert("its parts have too many header fields")

    def _begin(self, head: list[bytes], rest: bytes = b"") -> Entity:
        """An entity's header section is complete; ``rest`` has no line end."""
        above = self._open[-1].entity if self._open else None
        entity = _read_entity(b"".join(head) + rest, self._count, above)
        self._count += 1
        delimiter = b"\r\n--" + entity.boundary if entity.boundary else b""
        if self._count > _MOST_ENTITIES or len(self._open) >= _MOST_DEPTH:
            raise CannotConvert("it has too many parts, or parts within parts")
        if delimiter and any(one.delimiter == delimiter for one in self._open):
            raise CannotConvert("a part has the boundary of one around it")
        self._open.append(_Open(entity, delimiter))
        self._head = None
        self._head_size = 0
        self._reader.begin(entity)
        return entity

    def _end_down_to(self, count: int) -> None:
        while len(self._open) > count:
            self._reader.end(self._open.pop().entity)

    # Bodies

    def _read_body(self, *, is_final: bool) -> bool:
        buffer = self._buffer
        found = self._next_delimiter()
        if found == len(buffer):
            self._pass(found if is_final else found - self._held())
            return False
        end = buffer.find(_CRLF, found + 2)
        line = buffer[found:] if end < 0 else buffer[found:end]
        self._pass(found)
        if end < 0 and not is_final and len(line) <= _MOST_DELIMITER:
            return False
        delimiter = self._delimiter(line)
        assert delimiter is not None, "one of them was found"  # noqa: S101
        self._cross(*delimiter, found, found + len(line))
        return True

    def _next_delimiter(self) -> int:
        """Where the first of them begins; the buffer's length: nowhere.

        Each is looked for by itself, and once over an octet: a step for every
        line that begins like one would be a second's work for a megabyte.
        """
        buffer, at = self._buffer, self._at
        first = len(buffer)
        for one in self._open:
            if not one.delimiter:
                continue
            if one.next < at:
                found = buffer.find(one.delimiter, at)
                one.next = len(buffer) if found < 0 else found
            first = min(first, one.next)
        return first

    def _held(self) -> int:
        """How many octets at the end may begin a delimiter, or be half a line end."""
        buffer, at = self._buffer, self._at
        last = buffer.rfind(_CRLF, at)
        line = buffer[last:] if last >= 0 else b""
        if line and any(one.delimiter.startswith(line) for one in self._open):
            return len(line)
        return int(buffer.endswith(b"\r", at))

    def _delimiter(self, line: bytes) -> tuple[int, bool] | None:
        """How many are open with the one that it parts; whether it is its last.

        ``line`` has the CR LF before it, and not the one behind.
        """
        doubtful = False
        for count in range(len(self._open), 0, -1):
            delimiter = self._open[count - 1].delimiter
            if delimiter and line.startswith(delimiter):
                rest = line[len(delimiter) :].rstrip(b" \t")
                if rest in (b"", b"--") and len(line) <= _MOST_DELIMITER:
                    return count, bool(rest)
                doubtful = True
        if doubtful:
            # RFC 2046 section 5.1.1 lets programs take it for one.
            raise CannotConvert("a line begins with a boundary and goes on")
        return None

    def _cross(self, count: int, is_last: bool, start: int, end: int) -> None:
        """A delimiter, in the buffer from ``start`` to ``end``."""
        self._gap = False
        self._end_down_to(count)
        if is_last:
            # The CR LF behind it may belong to the next one.
            self._open[-1].delimiter = b""
        else:
            self._head = []
            end = min(end + 2, len(self._buffer))
        self._reader.between(self._buffer[start:end])
        self._at = end

    def _pass(self, end: int) -> None:
        """Hand on what stands before ``end``."""
        octets = self._buffer[self._at : end]
        self._at = end
        if octets and self._gap:
            self._gap = False
            self._reader.between(octets[:2])
            octets = octets[2:]
        if octets:
            if self._open[-1].entity.kind is Kind.LEAF:
                self._reader.content(octets)
            else:
                self._reader.between(octets)


def _read_entity(raw: bytes, number: int, above: Entity | None) -> Entity:
    is_message = above is None or above.kind is Kind.MESSAGE
    unclear = Entity(
        number=number,
        raw=raw,
        section=None,
        kind=Kind.LEAF,
        media_type="",
        encoding=Encoding.SEVEN_BIT,
        is_message=is_message,
    )
    try:
        section = HeaderSection.parse(raw)
    except MalformedHeader:
        return unclear
    encoding = _encoding(section)
    # RFC 2046 section 5.1.5.
    in_digest = above is not None and above.media_type == "multipart/digest"
    found = _content_type(section, "message/rfc822" if in_digest else "text/plain")
    if encoding is None or found is None or not _is_plain(section, raw):
        return unclear
    media_type, boundary = found
    kind = Kind.LEAF
    if media_type.startswith("multipart/"):
        kind = Kind.MULTIPART
    elif media_type == "message/rfc822":
        kind = Kind.MESSAGE
    if kind is not Kind.LEAF and encoding is Encoding.ENCODED:
        return unclear  # RFC 2045 section 6.4 forbids it
    return Entity(
        number=number,
        raw=raw,
        section=section,
        kind=kind,
        media_type=media_type,
        encoding=encoding,
        boundary=boundary,
        is_message=is_message,
    )


def _is_plain(section: HeaderSection, raw: bytes) -> bool:
    """True where every program reads the same fields.

    White space before a colon (RFC 5322 section 4.5.8) ends the header section
    for some.
    """
    return section.octets == raw and not any(
        one.raw.partition(b":")[0].endswith((b" ", b"\t")) for one in section.fields
    )


def _encoding(section: HeaderSection) -> Encoding | None:
    fields = section.get_all("content-transfer-encoding")
    if not fields:
        return Encoding.SEVEN_BIT
    value = _plain(fields[0].value)
    if len(fields) > 1 or value is None:
        return None
    word = value.strip().decode("ascii", "replace").lower()
    if _ENCODING.fullmatch(word) is None:
        return None
    return {
        "7bit": Encoding.SEVEN_BIT,
        "8bit": Encoding.EIGHT_BIT,
        "binary": Encoding.BINARY,
    }.get(word, Encoding.ENCODED)


def _content_type(section: HeaderSection, default: str) -> tuple[str, bytes] | None:
    """The media type, and the boundary; None: it is not clear."""
    fields = section.get_all("content-type")
    if not fields:
        return default, b""
    value = _plain(fields[0].value)
    found = None if value is None else _TYPE.match(value)
    if len(fields) > 1 or value is None or found is None:
        return None
    if value[found.end() : found.end() + 1] not in (b"", b";"):
        return None
    media_type = b"/".join(found.groups()).decode("ascii", "replace").lower()
    if not media_type.startswith("multipart/"):
        # What else is said of a leaf changes nothing here.
        return media_type, b""
    boundaries: list[bytes] = []
    at = found.end()
    while at < len(value):
        parameter = _PARAMETER.match(value, at)
        if parameter is None:
            return None
        at = parameter.end()
        name = (parameter[1] or b"").lower()
        if name.startswith(b"boundary"):
            # RFC 2231 has other ways to write one, which not all programs read.
            boundaries += [parameter[2]] if name == b"boundary" else [b"", b""]
    if len(boundaries) != 1:
        return None
    boundary = _unquoted(boundaries[0])
    return None if _BOUNDARY.fullmatch(boundary) is None else (media_type, boundary)


def _plain(value: bytes) -> bytes | None:
    """A field's value without comments; None: programs differ in where one ends."""
    is_certain = True

    def kept(found: re.Match[bytes]) -> bytes:
        nonlocal is_certain
        is_certain = is_certain and found[1 if found[1] else 2] is not None
        return found[1] or b" "

    plain = _COMMENT.sub(kept, value)
    return plain if is_certain else None


def _unquoted(word: bytes) -> bytes:
    if not word.startswith(b'"'):
        return word
    return re.sub(rb"\\(.)", rb"\1", word[1:-1], flags=re.DOTALL)
