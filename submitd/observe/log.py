"""Events written as lines: for people, or as JSON. In a thread: disks stall."""

import json
import os
import re
import socket
import threading
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Final

from twisted.logger import ILogObserver, formatEvent
from twisted.logger import LogEvent as TwistedEvent
from zope.interface import implementer

from submitd.observe.events import (
    BUG,
    LIBRARY,
    LOG_LINES_LOST,
    LOG_STAYS,
    Level,
    LogEvent,
)

_STANDARD_ERROR: Final = 2
"""The descriptor itself: twistd puts a log of its own in the name's place."""

_GATHER: Final = 0.05
"""Seconds that lines wait for company: one write a moment, not one a line."""

_JOURNAL: Final = Path("/run/systemd/journal/socket")
_PRIORITIES: Final = {Level.DEBUG: 7, Level.INFO: 6, Level.WARN: 4, Level.ERROR: 3}
"""As in syslog(3)."""

_MOST_WAITING: Final = 100_000
"""Lines held while the disk stalls. Beyond, lines are lost, and counted."""


_PLAIN: Final = re.compile(r"[!#-<>-~]+")
"""Nearly every word of a line: ASCII without a space, a quote or a =."""

_NEEDS_QUOTES: Final = re.compile(r'[ "=]|\A\Z')


class Form(Enum):
    """How a line looks."""

    HUMAN = "human"
    JSON = "json"
    JOURNAL = "journal"
    """Fields of systemd's journal, one a line."""


def as_human(event: LogEvent, facts: dict[str, object], at: datetime) -> str:
    """``2026-01-31T12:00:00.000Z info  message accepted [message-accepted] k=v …``."""
    words = " ".join([f"{name}={_as_word(value)}" for name, value in facts.items()])
    return (
        f"{_stamp(at)} {event.level.name.lower():5} "
        f"{event.sentence} [{event.name}] {words}"
    ).rstrip()


def as_json(event: LogEvent, facts: dict[str, object], at: datetime) -> str:
    """One object a line: time, level, event, message, then the facts."""
    return json.dumps(
        {
            "time": _stamp(at),
            "level": event.level.name.lower(),
            "event": event.name,
            "message": event.sentence,
            **facts,
        },
        default=str,
        # Not every octet that JSON allows raw is harmless on a terminal.
        ensure_ascii=True,
    )


def as_journal(
    event: LogEvent,
    facts: dict[str, object],
    at: datetime,  # noqa: ARG001 - the journal has a clock of its own
) -> str:
    """An entry of the journal (systemd.journal-fields(7)): each fact is a field."""
    shown = {name: _as_text(value) for name, value in facts.items()}
    words = " ".join([f"{name}={_as_word(value)}" for name, value in facts.items()])
    fields = {
        "MESSAGE": f"{event.sentence} {words}".rstrip(),
        "PRIORITY": _PRIORITIES[event.level],
        "SYSLOG_IDENTIFIER": "submitd",
        "SUBMITD_EVENT": event.name,
        **{f"SUBMITD_{name.upper()}": value for name, value in shown.items()},
    }
    return "\n".join([f"{name}={value}" for name, value in fields.items()])


def _stamp(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")[:23] + "Z"


def _as_word(value: object) -> str:
    text = str(value)
    if _PLAIN.fullmatch(text):
        return text
    # Whatever a client or a remote host said stays on its line, in its field.
    if text.isprintable() and not _NEEDS_QUOTES.search(text):
        return text
    # Spaces are common in names; control characters of any kind are escaped.
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _as_text(value: object) -> str:
    text = str(value)
    return text if text.isprintable() else json.dumps(text)


_Line = Callable[[LogEvent, dict[str, object], datetime], str]

_LINES: Final[dict[Form, _Line]] = {
    Form.HUMAN: as_human,
    Form.JSON: as_json,
    Form.JOURNAL: as_journal,
}


def writes_to_journal(environ: Mapping[str, str]) -> bool:
    """True where standard error is a stream of systemd's journal (systemd.exec(5))."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    here = os.fstat(_STANDARD_ERROR)
    return (device, inode) == (str(here.st_dev), str(here.st_ino))


class LineWriter:
    """Appends lines to a file or to standard error, in a thread of its own."""

    def __init__(self, path: Path | None, form: Form) -> None:
        """``path``: None is standard error. ``form``: of the lines about loss.

        Raises:
            OSError: the file cannot be opened for appending.
        """
        self._path = path
        self._target = self._open()
        self._moved = False
        self._line = _LINES[form]
        self._waiting: list[str] = []
        self._lost = 0
        self._something = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Take a line, without its newline. Never waits, never raises."""
        if len(self._waiting) >= _MOST_WAITING:
            self._lost += 1
            return
        self._waiting.append(line)
        if not self._something.is_set():
            self._something.set()

    def _open(self) -> int:
        if self._path is None:
            return os.dup(_STANDARD_ERROR)
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)

    def reopen(self) -> None:
        """Open the file by its name again: the old one may have been moved."""
        self._moved = True
        self._something.set()

    def close(self) -> None:
        """Write what waits, then end the thread (waits for it at most 5 s)."""
        self._closing.set()
        self._something.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not (self._closing.is_set() and not self._waiting):
            self._something.wait()
            self._closing.wait(_GATHER)
            self._something.clear()
            if self._moved:
                self._moved = False
                self._begin_anew()
            # One list for ever, so that no line goes into one that was taken.
            lines = self._waiting[:]
            del self._waiting[: len(lines)]
            if lost := self._lost:
                self._lost = 0
                now = datetime.now(UTC)
                lines.append(self._line(LOG_LINES_LOST, {"lines": lost}, now))
            if lines:
                self._put(lines)
        os.close(self._target)

    def _begin_anew(self) -> None:
        try:
            fresh = self._open()
        except OSError as problem:
            facts: dict[str, object] = {
                "file": self._path,
                "reason": problem.strerror,
            }
            self.write(self._line(LOG_STAYS, facts, datetime.now(UTC)))
        else:
            os.close(self._target)
            self._target = fresh

    def _put(self, lines: list[str]) -> None:
        octets = ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")
        try:
            while octets:
                octets = octets[os.write(self._target, octets) :]
        except OSError:
            # The one thing that cannot be logged is that the log is full.
            self._lost += octets.count(b"\n")


class JournalWriter(LineWriter):
    """Sends entries to systemd's journal, a datagram each."""

    def __init__(self, address: Path = _JOURNAL) -> None:
        """Raises OSError: there is no journal."""
        self._address = address
        super().__init__(None, Form.JOURNAL)

    def _open(self) -> int:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
            journal.connect(str(self._address))
            return journal.detach()

    def _put(self, lines: list[str]) -> None:
        for entry in lines:
            try:
                os.write(self._target, entry.encode("utf-8", "backslashreplace"))
            except OSError:
                self._lost += 1


class EventLog:
    """The `Events` of a running server."""

    def __init__(
        self, write: Callable[[str], None], form: Form, level: Level, **always: object
    ) -> None:
        """``always``: facts that every line carries, such as the worker's name."""
        self._write = write
        self._line = _LINES[form]
        self._level = level
        self._always = always

    def emit(self, event: LogEvent, **facts: object) -> None:
        """Log ``event`` with its facts; those that are None are left out."""
        if event.level >= self._level:
            known = {name: fact for name, fact in facts.items() if fact is not None}
            self._write(self._line(event, known | self._always, datetime.now(UTC)))

    def failure(
        self, event: LogEvent, fault: BaseException | None, **facts: object
    ) -> None:
        """Log ``event`` with the traceback of ``fault``."""
        self.emit(event, **facts, traceback="".join(traceback.format_exception(fault)))


@implementer(ILogObserver)
class LibraryObserver:
    """Twisted's own log events become lines of ours."""

    def __init__(self, events: EventLog) -> None:
        self._events = events

    def __call__(self, event: TwistedEvent) -> None:
        origin = event.get("log_namespace", "twisted")
        failure = event.get("log_failure")
        if failure is not None and failure.value is not None:
            self._events.failure(
                BUG, failure.value, origin=origin, text=formatEvent(event)
            )
            return
        level = Level[event["log_level"].name.upper().replace("CRITICAL", "ERROR")]
        # What a library says for information is about itself.
        level = Level.DEBUG if level is Level.INFO else level
        kind = LogEvent(LIBRARY.name, level, LIBRARY.sentence)
        self._events.emit(kind, origin=origin, text=formatEvent(event))
