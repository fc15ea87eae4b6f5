"""A remote server's replies, read with bounds (RFC 5321 section 4.2)."""

import re
from typing import Final

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
        self._lines: list[tuple[int, str]] = []

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
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if not newline:
                if len(self._buffer) > _MOST_OCTETS:
                    raise BadReply("a line without end")
                return None
            self._buffer = rest
            if (found := _LINE.fullmatch(line.removesuffix(b"\r"))) is None:
                raise BadReply(f"not a reply: {printable(line)[:100]!r}")
            code, more = int(found[1]), found[2] == b"-"
            if self._lines and self._lines[0][0] != code:
                raise BadReply("the lines of one reply have different codes")
            self._lines.append((code, printable(found[3] or b"")))
            if len(self._lines) > _MOST_LINES:
                raise BadReply("a reply without end")
            if not more:
                lines, self._lines = self._lines, []
                return _reply(code, [text for _, text in lines])


def _reply(code: int, lines: list[str]) -> Reply:
    enhanced: EnhancedCode | None = None
    texts: list[str] = []
    for line in lines:
        text = line
        if (found := _ENHANCED.match(line)) is not None:
            stated = EnhancedCode.parse(found[1])
            if stated is not None and stated.severity == code // 100:
                enhanced, text = stated, line[found.end() :]
        texts.append(_fit(text))
    return Reply(code, enhanced, tuple(texts))


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
