"""What a start does with what a crash left; and one server a spool."""

import fcntl
import os
import threading
import time
from pathlib import Path
from typing import Final

from submitd.spool import schema
from submitd.spool.files import FileLock, make_folder, sync_folder
from submitd.spool.reserve import Reserve
from submitd.spool.sent import forget_sent, read_sent
from submitd.spool.sqlite import (
    DATABASE,
    WRITE_LOCK,
    connect,
    read_standing,
    translated,
    writing,
)
from submitd.spool.statements import release_owner
from submitd.spool.store import SpoolFull, SpoolUnavailable, Standing

SERVER_LOCK: Final = "spool.server-lock"

_PATIENCE: Final = 20.0
"""Seconds to wait for workers of an earlier start: they end by themselves."""


class OpenSpool:
    """The spool as a supervisor holds it. Methods block; any thread may call."""

    def __init__(self, folder: Path, lock_descriptor: int) -> None:
        self.lock_descriptor = lock_descriptor
        """To be inherited by workers: while one of them lives, the lock is held."""

        self._folder = folder
        path = folder / DATABASE
        self._connection = connect(path, create=True)
        self._guard = threading.Lock()
        self._reserve = Reserve(folder, 0)
        with translated():
            # Before the first table, or it has no effect.
            self._connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            (mode,) = self._connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise SpoolUnavailable(f"{path}: this disk cannot hold a spool (WAL)")
            schema.prepare(self._connection)
            # At each start: the one that made them may have been killed before.
            sync_folder(folder)
            self._lock = FileLock(folder / WRITE_LOCK)
        self._release(None)

    def release_owner(self, owner: str) -> int:
        """What a dead worker had claimed is due again; gives the recipients.

        Raises:
            SpoolUnavailable: it is not written; try again.
        """
        return self._release(owner)

    def standing(self) -> Standing:
        """The queue in figures. Raises SpoolUnavailable."""
        with self._guard, translated():
            return read_standing(self._connection)

    def close(self) -> None:
        """Give the spool up."""
        with self._guard:
            self._connection.close()
            self._lock.close()
            os.close(self.lock_descriptor)

    def _release(self, owner: str | None) -> int:
        while True:
            try:
                with self._guard, translated():
                    sent = read_sent(self._folder, owner)
                    with writing(self._connection, self._lock):
                        freed = release_owner(self._connection, owner, sent)
                    # A mark that stays is of a lease that is void: it counts once.
                    forget_sent(self._folder, sent)
                    return freed
            except SpoolFull:
                if not self._reserve.release():
                    raise


def open_spool(folder: Path) -> OpenSpool:
    """Open, make or migrate the spool for a server's start. Blocks.

    Nobody of an earlier start can be running when this returns, so all its
    leases are void and its unfinished uploads nobody's.

    Raises:
        SpoolUnavailable: it is in use by another server, or unusable.
    """
    with translated():
        make_folder(folder, 0o700)
        descriptor = os.open(
            folder / SERVER_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise SpoolUnavailable(
                    f"{folder}: another submitd is using this spool"
                ) from None
            time.sleep(0.1)  # noqa: TID251 - a start has no event loop yet
    try:
        return OpenSpool(folder, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
