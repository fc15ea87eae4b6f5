"""Tables in files that others write: parsed whole or not at all, then swapped."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThread

from submitd.auth.errors import DirectoryUnavailable
from submitd.observe.events import TABLE_LOADED, TABLE_REFUSED, Events

T = TypeVar("T")

_LOOK_AGAIN: Final = 2.0
"""Seconds for which a file is taken to be as it was."""

_AUTH_PASSWORD: Final = re.compile(r" *SCRAM-[^$:]+\$[^$:]+:[^$:]+\$[^:]+:[^:]+")

_MOST_OCTETS: Final = 256 * 1024 * 1024


class HalfWritten(ValueError):
    """The file cannot be what its writer meant. The message says where."""


@frozen
class _State:
    mtime: int
    inode: int
    size: int


class TableFile(Generic[T]):
    """A file's table, looked at again when it changed.

    A faulty file, or one that somebody is just writing, changes nothing: the
    table that was read before stays in use, and the log says so once.
    """

    def __init__(
        self,
        clock: IReactorTime,
        path: Path,
        parse: Callable[[str], T],
        events: Events,
    ) -> None:
        """``parse`` makes the table of the text, or raises HalfWritten."""
        self._clock = clock
        self._path = path
        self._parse = parse
        self._events = events
        self._table: T | None = None
        self._seen: object = None
        self._looked_at = -_LOOK_AGAIN

    @property
    def latest(self) -> T | None:
        """What was read last, without a look at the file; None: nothing yet."""
        return self._table

    async def table(self) -> T:
        """The table of the day.

        Raises:
            DirectoryUnavailable: it could never be read.
        """
        now = self._clock.seconds()
        if now - self._looked_at >= _LOOK_AGAIN or self._table is None:
            self._looked_at = now
            await self._look()
        if self._table is None:
            raise DirectoryUnavailable(f"{self._path} cannot be read")
        return self._table

    async def _look(self) -> None:
        seen, found = await deferToThread(self._read)
        if seen == self._seen:
            return
        self._seen = seen
        if isinstance(found, str):
            self._events.emit(TABLE_REFUSED, file=str(self._path), reason=found)
            return
        (self._table,) = found
        self._events.emit(TABLE_LOADED, file=str(self._path))

    def _read(self) -> tuple[object, str | tuple[T]]:
        """In a thread: the file's state, and its table or what is wrong."""
        seen: object = None
        try:
            stat = self._path.stat()
            seen = _State(stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if seen == self._seen:
                return seen, ""
            if stat.st_size > _MOST_OCTETS:
                return seen, "the file is too large"
            return seen, (self._parse(self._path.read_text("utf-8")),)
        except UnicodeDecodeError:
            return seen, "it is not UTF-8"
        except HalfWritten as problem:
            return seen, str(problem)
        except OSError as problem:
            return problem.strerror, problem.strerror or "unreadable"


def lines_of(text: str) -> list[tuple[int, str]]:
    """Numbered lines without comments and empty ones.

    Raises:
        HalfWritten: the last line does not end.
    """
    if text and not text.endswith("\n"):
        raise HalfWritten("its last line does not end: it is being written")
    return [
        (number, line)
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]


def parse_passwords(text: str) -> dict[str, str]:
    """``user:{SCHEME}hash[:…]`` a line: name to stored password.

    Raises:
        HalfWritten: a line is not of that form.
    """
    table: dict[str, str] = {}
    for number, line in lines_of(text):
        name, colon, rest = line.partition(":")
        # RFC 5803's form, alone of all, has a colon in it.
        whole = _AUTH_PASSWORD.match(rest)
        stored = (whole[0] if whole else rest.partition(":")[0]).strip()
        if not colon or not name.strip() or not stored:
            raise HalfWritten(f"line {number} is not user:hash")
        table[name.strip()] = stored
    return table


def parse_senders(text: str) -> dict[str, list[tuple[int, str]]]:
    """``login: address, address, @domain`` a line: login to (line, address).

    Raises:
        HalfWritten: a line is not of that form.
    """
    table: dict[str, list[tuple[int, str]]] = {}
    for number, line in lines_of(text):
        login, colon, rest = line.partition(":")
        words = rest.replace(",", " ").split()
        if not colon or not login.strip() or not words:
            raise HalfWritten(f"line {number} is not login: address, …")
        table.setdefault(login.strip().lower(), []).extend(
            (number, word) for word in words
        )
    return table
