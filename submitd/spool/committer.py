"""Group commit: what many sessions and couriers want written, in one transaction."""

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads

from submitd.spool import schema
from submitd.spool.files import FileLock
from submitd.spool.reserve import Reserve
from submitd.spool.sqlite import DATABASE, WRITE_LOCK, connect, translated, writing
from submitd.spool.store import SpoolFull, SpoolUnavailable

_MOST: Final = 500
"""Items in one transaction."""

_LOG_SMALL: Final = 4 * 1024 * 1024
_LOG_LARGE: Final = 64 * 1024 * 1024
_CHECKPOINT_PERIOD: Final = 0.5
_FREE_PAGES: Final = 2000

_ITEMS_FAULT: Final = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)

Work = Callable[[sqlite3.Connection], Any]


@frozen(eq=False)
class _Item:
    work: Work
    done: Deferred[Any]
    octets: int
    """New octets that it brings: none while only the reserve of the disk is left.

    0 is for what makes room or records outcomes, which may use the reserve.
    """


class Committer:
    """One writer thread, and one that keeps the write-ahead log short."""

    def __init__(
        self,
        reactor: IReactorFromThreads,
        folder: Path,
        reserve: Reserve,
        on_commit: Callable[[float, int], None],
    ) -> None:
        """``on_commit`` hears, in the reactor's thread, how many seconds a commit
        took and how many items it held.
        """
        self._reactor = reactor
        self._reserve = reserve
        self._on_commit = on_commit
        self._waiting: SimpleQueue[_Item | None] = SimpleQueue()
        """Behind None nothing comes any more."""

        self._stopping = False
        self._closing = threading.Lock()
        self._to_disk = _Writer(folder, reserve)
        self._log = _LogKeeper(folder, reserve)
        self._writer = threading.Thread(target=self._run, name="spool", daemon=True)
        self._keeper = threading.Thread(
            target=self._keep, name="spool-log", daemon=True
        )
        self._ended = threading.Event()

    def start(self) -> None:
        """Start the threads."""
        self._writer.start()
        self._keeper.start()

    def stop(self) -> None:
        """Commit what waits, then end the threads. Blocks."""
        with self._closing:
            self._stopping = True
            self._waiting.put(None)
        self._writer.join()
        self._ended.set()
        self._keeper.join()

    def submit(self, work: Work, *, octets: int = 0) -> Deferred[Any]:
        """Do ``work`` in the next transaction; fires when that is committed.

        ``octets``: how much it brings; 0 may use the reserve. Fails with
        SpoolUnavailable where nothing was written, or with what ``work``
        raised, which undoes it alone.
        """
        item = _Item(work, Deferred(), octets)
        with self._closing:
            if not self._stopping:
                self._waiting.put(item)
                return item.done
        item.done.errback(SpoolUnavailable("the spool is closing"))
        return item.done

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            started = time.perf_counter()
            results = self._to_disk.write(batch)
            took = time.perf_counter() - started
            self._reactor.callFromThread(self._settle, batch, results, took)
        self._to_disk.close()

    def _next_batch(self) -> list[_Item] | None:
        """Wait for an item, and take those behind it; None: there are no more."""
        item = self._waiting.get()
        if item is None:
            return None
        batch = [item]
        while len(batch) < _MOST and not self._waiting.empty():
            item = self._waiting.get()
            if item is None:
                self._waiting.put(None)  # for the next turn
                break
            batch.append(item)
        return batch

    def _settle(self, batch: list[_Item], results: list[Any], took: float) -> None:
        for item, result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                item.done.errback(result)
            else:
                item.done.callback(result)
        self._on_commit(took, len(batch))

    def _keep(self) -> None:
        while not self._ended.wait(_CHECKPOINT_PERIOD):
            self._log.shorten()
            self._reserve.fill()
        self._log.close()


class _Writer:
    """The writer thread's connection, made anew after a fault."""

    def __init__(self, folder: Path, reserve: Reserve) -> None:
        self._folder = folder
        self._path = folder / DATABASE
        self._reserve = reserve
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._lock: FileLock | None = None

    def write(self, batch: list[_Item]) -> list[Any]:
        """One transaction: a result or an exception for each item."""
        try:
            return self._tried(batch)
        except SpoolFull as problem:
            # What brings nothing must still be written: outcomes first, and
            # into the reserve.
            keeping = [item for item in batch if not item.octets]
            if len(keeping) == len(batch) and self._reserve.release():
                return self.write(batch)
            if len(keeping) in (0, len(batch)):
                return [problem] * len(batch)
            kept = iter(self.write(keeping))
            return [problem if item.octets else next(kept) for item in batch]
        except Exception as problem:  # noqa: BLE001
            # Whatever it was, those who wait must hear it, and the next batch
            # gets its chance.
            return [problem] * len(batch)

    def close(self) -> None:
        """Close the database."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _tried(self, batch: list[_Item]) -> list[Any]:
        try:
            with translated():
                connection, lock = self._opened()
                return self._commit(connection, lock, batch)
        except BaseException:
            # After a fault nothing that this connection remembers is to be
            # trusted: the next batch has a new one.
            self.close()
            raise

    def _opened(self) -> tuple[sqlite3.Connection, FileLock]:
        if self._connection is None:
            self._connection = connect(self._path)
            schema.check(self._connection)
            stat = self._path.stat()
            self._file = stat.st_dev, stat.st_ino
        stat = self._path.stat()
        if (stat.st_dev, stat.st_ino) != self._file:
            # What is committed into a file without a name is lost.
            raise SpoolUnavailable(f"{self._path} was replaced while in use")
        if self._lock is None:
            self._lock = FileLock(self._folder / WRITE_LOCK)
        return self._connection, self._lock

    def _commit(
        self, connection: sqlite3.Connection, lock: FileLock, batch: list[_Item]
    ) -> list[Any]:
        room = self._reserve.room() if any(item.octets for item in batch) else 0
        admitted: list[_Item] = []
        for item in batch:
            if item.octets <= max(room, 0):
                room -= item.octets
                admitted.append(item)
        with writing(connection, lock):
            done = dict(zip(admitted, _together(connection, admitted), strict=True))
        full = SpoolFull("only the reserve of the disk is left")
        return [done.get(item, full) for item in batch]


def _together(connection: sqlite3.Connection, items: list[_Item]) -> list[Any]:
    """What came of each item: all of them at one go, or each by itself.

    The second way costs three statements more an item, and each of them has to
    get the interpreter back from a busy loop: it is for where one goes wrong.
    """
    connection.execute("SAVEPOINT batch")
    try:
        return [item.work(connection) for item in items]
    except Exception as problem:  # noqa: BLE001
        _blamed(problem)
    connection.execute("ROLLBACK TO batch")
    return [_alone(connection, item) for item in items]


def _alone(connection: sqlite3.Connection, item: _Item) -> Any:  # noqa: ANN401
    connection.execute("SAVEPOINT item")
    try:
        result = item.work(connection)
    except Exception as problem:  # noqa: BLE001
        # One bad item must not undo the others; its owner hears of it.
        result = _blamed(problem)
    else:
        connection.execute("RELEASE item")
        return result
    connection.execute("ROLLBACK TO item")
    connection.execute("RELEASE item")
    return result


def _blamed(problem: Exception) -> Exception:
    """What an item's owner hears of it. Raises what is the disk's fault, and so
    everybody's: nothing of the batch is written.
    """
    if isinstance(problem, _ITEMS_FAULT):
        return SpoolUnavailable(f"the spool's database: {problem}")
    if isinstance(problem, sqlite3.Error):
        raise problem
    return problem


class _LogKeeper:
    """Moves the log into the database, off the writer's way."""

    def __init__(self, folder: Path, reserve: Reserve) -> None:
        self._folder = folder
        self._reserve = reserve
        self._path = folder / f"{DATABASE}-wal"
        self._connection: sqlite3.Connection | None = None
        self._lock: FileLock | None = None

    def shorten(self) -> None:
        """Do what is to be done now. Never raises."""
        try:
            with translated():
                size = self._path.stat().st_size if self._path.exists() else 0
                if size > _LOG_SMALL:
                    self._checkpoint(*self._opened(), size)
        except SpoolUnavailable as problem:
            # The writer meets the same fault and tells those it concerns.
            self.close()
            if isinstance(problem, SpoolFull):
                self._reserve.release()

    def close(self) -> None:
        """Close the database."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _opened(self) -> tuple[sqlite3.Connection, FileLock]:
        if self._connection is None:
            self._connection = connect(self._folder / DATABASE)
            # Writers wait meanwhile: where a reader is in the way, try later.
            self._connection.execute("PRAGMA busy_timeout = 50")
        if self._lock is None:
            self._lock = FileLock(self._folder / WRITE_LOCK)
        return self._connection, self._lock

    def _checkpoint(
        self, connection: sqlite3.Connection, lock: FileLock, size: int
    ) -> None:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        if free > 2 * _FREE_PAGES:
            with lock.held():
                # A script, because one step of it frees one page.
                connection.executescript(f"PRAGMA incremental_vacuum({_FREE_PAGES})")
        if size > _LOG_LARGE or self._reserve.room() <= 0:
            # Given back to the disk, and not only begun anew.
            with lock.held():
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
