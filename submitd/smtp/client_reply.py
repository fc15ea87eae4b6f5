"""A remote server's replies, read with bounds (RFC 5321 section 4.2)."""

import re
from functools import lru_cache
from typing import Final

from attrs import frozen

from submitd.mail.status import EnhancedCode
from submitd.smtp.reply import MAX_TEXT, Reply

_LINE: Final = re.compile(rb"([2-5]\d\d)(?:([ -])(.*))?", re.DOTALL)
_ENHANCED: Final = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?: |$)")
_MOST_LINES: Final = 100
_MOST_OCTETS: Final = 64 * 1024


class BadReply(Exception):
    """The remote host does not speak SMTP, or says far too much."""


class ReplyReader:
    """Octets in, whole replies out."""

    def __init__(self) -> None:
        self._buffer = b""
        self._lines: list[_Line] = []

    def feed(self, octets: bytes) -> None:
        """Take octets from the remote host."""
        self._buffer += octets

    @property
    def is_empty(self) -> bool:
        """True where nothing is waiting: neither octets nor part of a reply."""
        return not self._buffer and not self._lines

    def next(self) -> Reply | None:
        """The next whole reply.

        Raises:
            BadReply: what came is none.
        """
        while self._buffer:
            line, newline, rest = self._buffer.partition(b"\n")
            if len(line) > _MOST_OCTETS:
                raise BadReply("a line without end")
            if not newline:
                return None
            self._buffer = rest
            read = (_read_again if len(line) <= MAX_TEXT else _read)(line)
            if read.is_last and not self._lines:
                return read.whole
            if self._lines and self._lines[0].code != read.code:
                raise BadReply("the lines of one reply have different codes")
            self._lines.append(read)
            if len(self._lines) > _MOST_LINES:
                raise BadReply("a reply without end")
            if read.is_last:
                lines, self._lines = self._lines, []
                return _reply(lines)
        return None


@frozen
class _Line:
    """A line of a reply, and the reply that it would be alone."""

    code: int
    is_last: bool
    whole: Reply


def _read(line: bytes) -> _Line:
    if (found := _LINE.fullmatch(line.removesuffix(b"\r"))) is None:
        raise BadReply(f"not a reply: {printable(line)[:100]!r}")
    code, text = int(found[1]), printable(found[3] or b"")
    enhanced: EnhancedCode | None = None
    if (stated := _ENHANCED.match(text)) is not None:
        enhanced = EnhancedCode.parse(stated[1])
        if enhanced is not None and enhanced.severity == code // 100:
            text = text[stated.end() :]
        else:
            enhanced = None
    return _Line(code, found[2] != b"-", Reply(code, enhanced, _fit(text)))


_read_again: Final = lru_cache(maxsize=256)(_read)
"""Most hosts say the same few sentences all day."""


def _reply(lines: list[_Line]) -> Reply:
    stated = [one.whole.enhanced for one in lines if one.whole.enhanced is not None]
    return Reply(
        lines[0].code,
        stated[-1] if stated else None,
        [one.whole.text for one in lines],
    )


def _fit(text: str) -> str:
    while len(text.encode()) > MAX_TEXT:
        text = text[: len(text) * 3 // 4]
    return text


def printable(octets: bytes) -> str:
    """What a remote host said, fit for a log and a report."""
    text = octets.decode("utf-8", "replace")
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else " " for one in text).strip()
