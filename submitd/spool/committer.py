"""Group commit: what many sessions and couriers want written, in one transaction."""

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads

from submitd.spool import schema
from submitd.spool.files import FileLock
from submitd.spool.sqlite import DATABASE, WRITE_LOCK, connect, translated, writing
from submitd.spool.store import SpoolFull, SpoolUnavailable

_MOST: Final = 500
"""Items in one transaction."""

_LOG_SMALL: Final = 4 * 1024 * 1024
_LOG_LARGE: Final = 64 * 1024 * 1024
_CHECKPOINT_PERIOD: Final = 0.5
_FREE_PAGES: Final = 2000

Work = Callable[[sqlite3.Connection], Any]


@frozen(eq=False)
class _Item:
    work: Work
    done: Deferred[Any]
    accepting: bool
    """It brings new octets: not while only the reserve of the disk is left."""


class Committer:
    """One writer thread, and one that keeps the write-ahead log short."""

    def __init__(
        self,
        reactor: IReactorFromThreads,
        folder: Path,
        *,
        is_full: Callable[[], bool],
        on_commit: Callable[[float, int], None],
    ) -> None:
        """``is_full`` is asked in the writer's thread; ``on_commit`` hears, in the
        reactor's, how many seconds a commit took and how many items it held.
        """
        self._reactor = reactor
        self._folder = folder
        self._is_full = is_full
        self._on_commit = on_commit
        self._waiting: list[_Item] = []
        self._wake = threading.Condition()
        self._stopping = False
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
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._writer.join()
        self._ended.set()
        self._keeper.join()

    def submit(self, work: Work, *, accepting: bool = False) -> Deferred[Any]:
        """Do ``work`` in the next transaction; fires when that is committed.

        Fails with SpoolUnavailable where nothing was written, or with what
        ``work`` raised, which undoes it alone.
        """
        item = _Item(work, Deferred(), accepting)
        with self._wake:
            if self._stopping:
                item.done.errback(SpoolUnavailable("the spool is closing"))
                return item.done
            self._waiting.append(item)
            if len(self._waiting) == 1:
                self._wake.notify()
        return item.done

    def _run(self) -> None:
        lock: FileLock | None = None
        connection: sqlite3.Connection | None = None
        while (batch := self._next_batch()) is not None:
            started = time.perf_counter()
            try:
                with translated():
                    lock = lock or FileLock(self._folder / WRITE_LOCK)
                    if connection is None:
                        connection = connect(self._folder / DATABASE)
                        schema.check(connection)
                    results = self._commit(connection, lock, batch)
            except SpoolUnavailable as problem:
                # After an error of the disk nothing that this connection
                # remembers is to be trusted: the next batch has a new one.
                if connection is not None:
                    connection.close()
                    connection = None
                results = [problem] * len(batch)
            took = time.perf_counter() - started
            self._reactor.callFromThread(self._settle, batch, results, took)
        if connection is not None:
            connection.close()
        if lock is not None:
            lock.close()

    def _next_batch(self) -> list[_Item] | None:
        with self._wake:
            while not self._waiting:
                if self._stopping:
                    return None
                self._wake.wait()
            batch, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
            return batch

    def _commit(
        self, connection: sqlite3.Connection, lock: FileLock, batch: list[_Item]
    ) -> list[Any]:
        full = self._is_full() if any(item.accepting for item in batch) else False
        results: list[Any] = []
        with writing(connection, lock):
            for item in batch:
                if full and item.accepting:
                    results.append(SpoolFull("only the reserve of the disk is left"))
                else:
                    results.append(self._attempt(connection, item))
        return results

    def _attempt(self, connection: sqlite3.Connection, item: _Item) -> Any:  # noqa: ANN401
        connection.execute("SAVEPOINT item")
        try:
            result = item.work(connection)
        except sqlite3.Error as problem:
            if not isinstance(problem, sqlite3.IntegrityError):
                raise  # the disk's fault, not the item's: nobody's is written
            result = SpoolUnavailable(f"the spool's database: {problem}")
        except Exception as problem:  # noqa: BLE001
            # One bad item must not undo the others; its owner hears of it.
            result = problem
        else:
            connection.execute("RELEASE item")
            return result
        connection.execute("ROLLBACK TO item")
        connection.execute("RELEASE item")
        return result

    def _settle(self, batch: list[_Item], results: list[Any], took: float) -> None:
        self._on_commit(took, len(batch))
        for item, result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                item.done.errback(result)
            else:
                item.done.callback(result)

    def _keep(self) -> None:
        """Move the log into the database, off the writer's way."""
        log = self._folder / f"{DATABASE}-wal"
        connection: sqlite3.Connection | None = None
        lock: FileLock | None = None
        while not self._ended.wait(_CHECKPOINT_PERIOD):
            try:
                with translated():
                    size = log.stat().st_size if log.exists() else 0
                    if size <= _LOG_SMALL:
                        continue
                    lock = lock or FileLock(self._folder / WRITE_LOCK)
                    connection = connection or connect(self._folder / DATABASE)
                    self._checkpoint(connection, lock, size)
            except SpoolUnavailable:
                # The writer meets the same fault and tells those it concerns.
                if connection is not None:
                    connection.close()
                    connection = None
        if connection is not None:
            connection.close()
        if lock is not None:
            lock.close()

    def _checkpoint(
        self, connection: sqlite3.Connection, lock: FileLock, size: int
    ) -> None:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        if size <= _LOG_LARGE:
            return
        with lock.held():
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
            if free > _FREE_PAGES:
                connection.execute(f"PRAGMA incremental_vacuum({_FREE_PAGES})")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
