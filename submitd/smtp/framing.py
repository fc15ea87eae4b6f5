"""Octets as TCP brings them → lines, and content free of its transport's marks.

Only CR LF ends a line, in commands as in content. Where servers disagreed on
that, one message became two on its way (docs/decisions/0002-line-ends.md).
Nothing here looks at content line by line.
"""

from enum import Enum, auto
from typing import Final

_CRLF: Final = b"\r\n"
_CR: Final = ord("\r")
_FINAL_DOT: Final = b"\r\n.\r\n"


class LineFault(Enum):
    """Why what came is no line."""

    TOO_LONG = auto()
    BARE_LINE_END = auto()
    """A CR without LF, or an LF without CR."""


class InputBuffer:
    """What came and was not yet looked at."""

    __slots__ = ("_octets", "_skipping", "_start")

    def __init__(self) -> None:
        self._octets = b""
        self._start = 0
        self._skipping = False

    def __len__(self) -> int:
        return len(self._octets) - self._start

    def receive(self, octets: bytes) -> None:
        """Put ``octets`` behind what is there."""
        if self:
            self._octets = self._octets[self._start :] + octets
        else:
            self._octets = octets
        self._start = 0

    def next_line(self, limit: int) -> bytes | LineFault | None:
        """The next line without its CR LF; None: it is not complete yet.

        ``limit`` counts the CR LF. A fault is told once, as soon as it is
        certain; `is_at_line` then drops the rest of the line as it comes, so
        that the next command begins where the client began it.
        """
        octets, start = self._octets, self._start
        end = octets.find(b"\n", start, start + limit)
        if end > start and octets[end - 1] == _CR:
            self._start = end + 1
            line = octets[start : end - 1]
            return LineFault.BARE_LINE_END if b"\r" in line else line
        if end >= 0:
            self._start = end + 1
            fault = LineFault.BARE_LINE_END
        elif len(octets) - start >= limit:
            fault = LineFault.TOO_LONG
        else:
            return None
        self._skipping = True
        return fault

    def is_at_line(self) -> bool:
        """True where a line begins; drops what is left of a faulty one."""
        if not self._skipping:
            return True
        end = self._octets.find(_CRLF, self._start)
        if end >= 0:
            self._start = end + 2
            self._skipping = False
            return True
        # A CR at the end may be the first half.
        self._octets = b"\r" if self and self._octets.endswith(b"\r") else b""
        self._start = 0
        return False

    def starts_with(self, word: bytes) -> bool:
        """True where ``word``, in capitals, comes next in any case of letters."""
        return self._octets[self._start : self._start + len(word)].upper() == word

    def take(self, most: int | None = None) -> bytes:
        """What is there, at most ``most`` octets of it; may be nothing."""
        start = self._start
        end = len(self._octets) if most is None else start + most
        taken = self._octets[start:end]
        self._start = start + len(taken)
        return taken

    def put_back(self, octets: bytes) -> None:
        """Return the end of what `take` gave without a bound."""
        self._octets, self._start = octets, 0

    def clear(self) -> None:
        """Forget what came, and any line that it began."""
        self._octets, self._start, self._skipping = b"", 0, False


class DotReader:
    """Content as DATA brings it (RFC 5321 section 4.5.2), cut anywhere."""

    __slots__ = ("_held", "_is_first")

    def __init__(self) -> None:
        # A final dot may come first of all: begin as if behind a CR LF, which
        # is not given out.
        self._held = _CRLF
        self._is_first = True

    def feed(self, octets: bytes) -> tuple[bytes, bytes | None]:
        """Content without its dot-stuffing, and what follows the final dot.

        The second is None until the final dot has come. Content never ends
        between the CR and the LF of one line end.
        """
        octets = self._held + octets
        end = octets.find(_FINAL_DOT)
        if end >= 0:
            content, rest = octets[: end + 2], octets[end + 5 :]
        else:
            end = len(octets) - _begun(octets)
            content, rest = octets[:end], None
            self._held = octets[end:]
        content = content.replace(b"\r\n.", _CRLF)
        if self._is_first and content:
            self._is_first = False
            content = content[2:]
        return content, rest


def _begun(octets: bytes) -> int:
    """How many octets at the end may be the beginning of a final dot."""
    for length in (4, 3, 2, 1):
        if octets.endswith(_FINAL_DOT[:length]):
            return length
    return 0


class LineEnds(Enum):
    """What to do about a CR without LF, or an LF without CR, in content."""

    STRICT = auto()
    """Refuse the message."""

    NORMALISE = auto()
    """Make it a CR LF. It still ends no message."""


class TextRule:
    """What content must be to be passed on, over pieces cut anywhere.

    Lines end with CR LF, the last one too, and there is no NUL (RFC 5322
    section 2.3, RFC 2045 section 2.7).
    """

    __slots__ = ("_ends_line", "_held", "_line_ends")

    def __init__(self, line_ends: LineEnds) -> None:
        self._line_ends = line_ends
        self._held = b""
        self._ends_line = True

    def feed(self, octets: bytes) -> bytes | None:
        """What to pass on of ``octets``; None: they break the rule."""
        if self._held:
            octets = self._held + octets
        if octets.endswith(b"\r"):
            octets, self._held = octets[:-1], b"\r"
        else:
            self._held = b""
        if octets:
            self._ends_line = octets.endswith(b"\n")
        return self._checked(octets)

    def finish(self) -> bytes | None:
        """What to pass on behind the last piece; None: it breaks the rule.

        BDAT can end a message within a line; the next hop that wants DATA
        could not be given it so (RFC 5321 section 4.1.1.4).
        """
        if self._held:
            return self._checked(self._held)
        return b"" if self._ends_line else _CRLF

    def _checked(self, octets: bytes) -> bytes | None:
        if b"\0" in octets:
            return None
        # Thrice as fast as counting.
        within = octets.replace(_CRLF, b"")
        if b"\n" not in within and b"\r" not in within:
            return octets
        if self._line_ends is LineEnds.STRICT:
            return None
        plain = octets.replace(_CRLF, b"\n").replace(b"\r", b"\n")
        return plain.replace(b"\n", _CRLF)


class BinaryRule:
    """What content of BODY=BINARYMIME must be, over pieces cut anywhere.

    Its header section is lines as everywhere, or programs would read different
    fields in it; what follows the empty line is octets (RFC 3030 section 3).
    """

    __slots__ = ("_last", "_lines")

    def __init__(self) -> None:
        self._lines: TextRule | None = TextRule(LineEnds.STRICT)
        """None: the empty line has come."""

        # An empty line may come first of all.
        self._last = _CRLF

    def feed(self, octets: bytes) -> bytes | None:
        """What to pass on of ``octets``; None: they break the rule."""
        if self._lines is None:
            return octets
        seen = self._last + octets
        end = seen.find(_CRLF + _CRLF)
        if end < 0:
            self._last = seen[-3:]
            return self._lines.feed(octets)
        head = end + 4 - len(self._last)
        lines = self._lines.feed(octets[:head])
        self._lines = None
        return None if lines is None else lines + octets[head:]

    def finish(self) -> bytes | None:
        """What to pass on behind the last piece; None: it breaks the rule."""
        return b"" if self._lines is None else self._lines.finish()
