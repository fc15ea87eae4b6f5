"""The spool on SQLite, as sessions and couriers use it in the event loop."""

import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from submitd.mail.envelope import ForwardPath
from submitd.mail.usage import Span, Usage
from submitd.spool import quota, statements
from submitd.spool.committer import Committer, Work
from submitd.spool.reserve import Reserve
from submitd.spool.rows import QueueIds, fresh_spooled, number_of
from submitd.spool.sent import SentMarks
from submitd.spool.sqlite import (
    DATABASE,
    connect,
    read_chunk,
    read_header,
    translated,
)
from submitd.spool.store import (
    Charge,
    NewMessage,
    NoRendition,
    Over,
    Reminder,
    Rendition,
    Report,
    Result,
    Spooled,
    SpoolUnavailable,
)

T = TypeVar("T")

_READERS: Final = 4


def _octets_of(reports: Iterable[Report]) -> int:
    return sum(len(one.message.header) + len(one.body) for one in reports)


class _Upload:
    """Chunks on their way to disk, and what they will belong to."""

    def __init__(self, committer: Committer, queue_id: str, owner: str) -> None:
        self.queue_id = queue_id
        self._committer = committer
        self._number = number_of(queue_id)
        self._owner = owner
        self._chunks = 0
        self._octets = 0
        self._has_ended = False
        """Accepted or abandoned: its chunks are the message's, or nobody's."""

    async def write(self, chunk: bytes) -> None:
        """As `Intake.write`."""
        number = self._chunks
        self._chunks += 1
        self._octets += len(chunk)
        await self._committer.submit(
            lambda connection: statements.insert_chunk(
                connection, self._number, number, chunk, self._owner
            ),
            octets=len(chunk),
        )

    async def _end(self, work: Work, octets: int) -> Any:  # noqa: ANN401
        """Commit what they belong to, or abandon them."""
        if self._has_ended:
            raise SpoolUnavailable("the upload has ended")
        try:
            kept = await self._committer.submit(work, octets=octets)
        except statements.Incomplete as problem:
            await self.abandon()
            raise SpoolUnavailable(str(problem)) from problem
        except (SpoolUnavailable, LookupError):
            await self.abandon()
            raise
        self._has_ended = not isinstance(kept, Over)
        return kept

    async def abandon(self) -> None:
        """As `Intake.abandon`."""
        done, self._has_ended = self._has_ended, True
        if done or not self._chunks:
            return
        try:
            await self._committer.submit(
                lambda connection: statements.drop_intake(connection, self._number)
            )
        except SpoolUnavailable:
            # Said so in the interface: it stays until a start sweeps it, and
            # the fault itself is met by whoever writes next.
            return


class SqliteIntake(_Upload):
    """One upload (`Intake`)."""

    async def accept(self, message: NewMessage, tail: bytes) -> Spooled:
        """As `Intake.accept`."""
        await self._end(
            lambda connection: self._insert(connection, message, tail),
            len(message.header) + len(tail),
        )
        return self._fresh(message, tail)

    async def accept_within(
        self, message: NewMessage, tail: bytes, charge: Charge
    ) -> Spooled | Over:
        """As `Intake.accept_within`."""

        def enter(connection: sqlite3.Connection) -> Over | None:
            over = quota.charge(connection, message, charge)
            if over is None:
                self._insert(connection, message, tail)
            return over

        octets = len(message.header) + len(tail) + _octets_of(charge.notices.reports)
        over: Over | None = await self._end(enter, octets)
        return self._fresh(message, tail) if over is None else over

    def _insert(
        self, connection: sqlite3.Connection, message: NewMessage, tail: bytes
    ) -> None:
        statements.insert_message(
            connection, message, tail, self._chunks, self._octets, self._owner
        )

    def _fresh(self, message: NewMessage, tail: bytes) -> Spooled:
        whole = None if self._chunks else (tail,)
        return fresh_spooled(message, self._octets + len(tail), whole)


class SqliteRendition(_Upload):
    """A rendition on its way (`RenditionIntake`)."""

    def __init__(
        self, committer: Committer, content_id: str, owner: str, of: tuple[str, str]
    ) -> None:
        """``of``: the message's queue id, and the form."""
        super().__init__(committer, content_id, owner)
        self._of = of

    async def finish(self, header: bytes, tail: bytes) -> Rendition:
        """As `RenditionIntake.finish`."""
        made: Rendition = await self._end(
            lambda connection: statements.insert_rendition(
                connection,
                *self._of,
                self.queue_id,
                (header, tail),
                self._chunks,
                self._octets,
            ),
            len(header) + len(tail),
        )
        return made


class SqliteSpool:
    """The `Spool` of one process."""

    def __init__(
        self,
        reactor: IReactorFromThreads,
        folder: Path,
        owner: str,
        *,
        number: int,
        reserve: int,
        on_commit: Callable[[float, int], None] = lambda took, items: None,  # noqa: ARG005
    ) -> None:
        """``owner`` is this process' incarnation; ``reserve`` is in octets.

        ``number`` tells the workers of one server apart, in queue ids.
        """
        self._reactor = reactor
        self._path = folder / DATABASE
        self._owner = owner
        self._ids = QueueIds(number)
        self._sent = SentMarks(folder, owner)
        self._committer = Committer(
            reactor, folder, Reserve(folder, reserve), on_commit
        )
        self._readers = ThreadPool(0, _READERS, name="spool-read")
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []

    def start(self) -> None:
        """Start the threads."""
        self._sent.open()
        self._committer.start()
        self._readers.start()

    def stop(self) -> None:
        """Commit what waits and end the threads. Blocks: call it in a thread."""
        self._committer.stop()
        self._readers.stop()
        for connection in self._connections:
            connection.close()
        self._sent.close()

    def open_intake(self) -> SqliteIntake:
        """As `Spool.open_intake`."""
        return SqliteIntake(self._committer, self._ids.next(), self._owner)

    async def find_rendition(
        self, queue_id: str, form: str
    ) -> Rendition | NoRendition | None:
        """As `Spool.find_rendition`."""
        return await self._read(
            lambda connection: statements.find_rendition(connection, queue_id, form)
        )

    def open_rendition(self, queue_id: str, form: str) -> SqliteRendition:
        """As `Spool.open_rendition`."""
        return SqliteRendition(
            self._committer, self._ids.next(), self._owner, (queue_id, form)
        )

    async def refuse_rendition(self, queue_id: str, form: str, reason: str) -> None:
        """As `Spool.refuse_rendition`."""
        content_id = self._ids.next()
        await self._committer.submit(
            lambda connection: statements.insert_refusal(
                connection, queue_id, form, content_id, reason
            )
        )

    async def usage(
        self,
        login: str,
        spans: Iterable[Span],
        paths: Sequence[ForwardPath],
        now: datetime,
        *,
        held: bool = False,
        later: bool = False,
    ) -> Usage:
        """As `Spool.usage`."""
        return await self._read(
            lambda connection: quota.read_usage(
                connection,
                login,
                spans,
                paths,
                now.timestamp(),
                held=held,
                later=later,
            )
        )

    async def reminders(self, now: datetime) -> Sequence[Reminder]:
        """As `Spool.reminders`."""
        return await self._read(
            lambda connection: quota.reminders(connection, now.timestamp())
        )

    async def remind(
        self, due: Reminder, reports: Sequence[Report], now: datetime
    ) -> None:
        """As `Spool.remind`."""
        await self._committer.submit(
            lambda connection: quota.remind(connection, due, reports, now.timestamp()),
            octets=_octets_of(reports),
        )

    async def claim_due(self, now: datetime, limit: int) -> Sequence[Spooled]:
        """As `Spool.claim_due`."""
        claimed: list[Spooled] = await self._committer.submit(
            lambda connection: statements.claim(connection, now, limit, self._owner)
        )
        return claimed

    def mark_sent(self, queue_id: str, numbers: Iterable[int]) -> None:
        """As `Spool.mark_sent`."""
        self._sent.set(number_of(queue_id), numbers)

    async def record(
        self, queue_id: str, results: Sequence[Result], reports: Sequence[Report] = ()
    ) -> Sequence[Spooled]:
        """As `Spool.record`."""
        entered: list[Spooled] = await self._committer.submit(
            lambda connection: statements.record(
                connection, queue_id, results, reports, self._owner
            )
        )
        self._sent.clear(number_of(queue_id), (one.number for one in results))
        return entered

    async def release(
        self, queue_id: str, numbers: Sequence[int], due_at: datetime | None = None
    ) -> None:
        """As `Spool.release`."""
        await self._committer.submit(
            lambda connection: statements.release(
                connection, queue_id, numbers, self._owner, due_at
            )
        )
        self._sent.clear(number_of(queue_id), numbers)

    def new_queue_id(self) -> str:
        """A queue id for a report."""
        return self._ids.next()

    async def read_header(self, queue_id: str) -> bytes:
        """As `Spool.read_header`."""
        return await self._read(lambda connection: read_header(connection, queue_id))

    async def read_chunk(self, queue_id: str, number: int) -> bytes | None:
        """As `Spool.read_chunk`."""
        return await self._read(
            lambda connection: read_chunk(connection, queue_id, number)
        )

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> Deferred[T]:
        return deferToThreadPool(self._reactor, self._readers, self._read_now, work)

    def _read_now(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection: Any = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = connect(self._path)
            self._connections.append(connection)
        try:
            with translated():
                return work(connection)
        except SpoolUnavailable:
            # Not to be trusted any more.
            self._local.connection = None
            raise
