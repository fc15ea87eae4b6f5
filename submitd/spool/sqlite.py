"""One SQLite database: connections, write transactions, and what operators do."""

import errno
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from submitd.mail.usage import Span, Usage, login_key
from submitd.spool import schema
from submitd.spool.files import FileLock
from submitd.spool.quota import read_usage
from submitd.spool.rows import (
    RECIPIENT_COLUMNS,
    number_of,
    read_envelope,
    read_moment,
    read_recipient,
)
from submitd.spool.statements import delete, tell
from submitd.spool.store import (
    Happening,
    QueueEntry,
    SpoolFull,
    SpoolUnavailable,
    Standing,
    Wanted,
)

DATABASE: Final = "spool.sqlite"
WRITE_LOCK: Final = "spool.write-lock"
_BUSY: Final = 10.0
"""Seconds to wait for SQLite's own locks; writers meet at our lock before."""

_PAGE: Final = 500


def connect(path: Path, *, create: bool = False) -> sqlite3.Connection:
    """A connection with our settings. Blocks.

    Raises:
        SpoolUnavailable: there is no such database, or it cannot be opened.
    """
    with translated():
        if create:
            # SQLite gives its other files the mode of this one: nobody else
            # reads mail.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        elif not path.exists():
            raise SpoolUnavailable(
                f"{path}: there is no spool here (it is made when submitd first starts)"
            )
        connection = sqlite3.connect(
            path, timeout=_BUSY, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA temp_store = MEMORY")
        # Debian's default overwrites what is deleted, 100 times slower.
        connection.execute("PRAGMA secure_delete = FAST")
        # KiB, negative: rows are read once, so a large cache only takes room.
        connection.execute("PRAGMA cache_size = -1024")
    return connection


@contextmanager
def translated() -> Iterator[None]:
    """SQLite's and the disk's errors, as what they mean to the spool's users."""
    try:
        yield
    except sqlite3.Error as problem:
        code = getattr(problem, "sqlite_errorcode", None)
        kind = SpoolFull if code == sqlite3.SQLITE_FULL else SpoolUnavailable
        raise kind(f"the spool's database: {problem}") from problem
    except schema.WrongVersion as problem:
        raise SpoolUnavailable(f"the spool's database: {problem}") from problem
    except OSError as problem:
        is_full = problem.errno in (errno.ENOSPC, errno.EDQUOT)
        kind = SpoolFull if is_full else SpoolUnavailable
        raise kind(f"the spool: {problem}") from problem


@contextmanager
def writing(connection: sqlite3.Connection, lock: FileLock) -> Iterator[None]:
    """A write transaction: committed at the end, rolled back on any error."""
    # The lock is fair among processes; SQLite's own busy handler starves some.
    with lock.held():
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            _roll_back(connection)
            raise
        try:
            connection.execute("COMMIT")
        except sqlite3.Error:
            _roll_back(connection)
            _bury(connection)
            raise


def _roll_back(connection: sqlite3.Connection) -> None:
    # SQLite may have done so by itself, on a full disk for one.
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _bury(connection: sqlite3.Connection) -> None:
    """Write over what a commit has left in the log that failed.

    It may be whole, and not synced: whoever opens the database after a crash
    would take it for committed, and a message that was refused would be sent.
    """
    # Where this fails too, the next commit is what writes over it.
    with suppress(sqlite3.Error):
        connection.execute(f"PRAGMA user_version = {schema.VERSION}")


class SqliteStore:
    """The `Store` of one database: for operators, beside a server or alone."""

    def __init__(self, folder: Path) -> None:
        """``folder``: the state directory.

        Raises:
            SpoolUnavailable: no spool is there, or not one of this version.
        """
        self._connection = connect(folder / DATABASE)
        self._connection.create_function("login_key", 1, login_key, deterministic=True)
        with translated():
            schema.check(self._connection)
            self._lock = FileLock(folder / WRITE_LOCK, create=False)

    def close(self) -> None:
        """Close the database."""
        self._connection.close()
        self._lock.close()

    def search(self, wanted: Wanted) -> Iterator[QueueEntry]:
        """As `Store.search`: in pages, so that no reader holds the log's end."""
        where, values = _condition(wanted)
        after = -1
        while True:
            with translated():
                rows = self._connection.execute(
                    "SELECT id, queue_id, reverse_path, submitter, session, "  # noqa: S608
                    "accepted_at, length(header) + body_size, held, release_at, "
                    "envelope "
                    "FROM message "
                    f"WHERE id > ? AND removed = 0 AND {where} ORDER BY id LIMIT ?",
                    (after, *values, _PAGE),
                ).fetchall()
            for row in rows:
                with translated():
                    entry = self._entry(row)
                if entry is not None:
                    yield entry
            if len(rows) < _PAGE:
                return
            after = rows[-1][0]

    def _entry(self, row: tuple[Any, ...]) -> QueueEntry | None:
        (
            identity,
            queue_id,
            reverse_path,
            submitter,
            session,
            at,
            size,
            held,
            release_at,
            wishes,
        ) = row
        found = self._connection.execute(
            f"SELECT {RECIPIENT_COLUMNS}, lease FROM recipient WHERE message = ? "  # noqa: S608
            "ORDER BY number",
            (identity,),
        ).fetchall()
        if not found:
            return None  # delivered since the page was read
        recipients = tuple(read_recipient(one[:-1]) for one in found)
        envelope = read_envelope(
            wishes,
            reverse_path=reverse_path,
            forward_paths=tuple(one.forward_path for one in recipients),
            accepted_at=at,
            release_at=release_at,
        )
        return QueueEntry(
            queue_id=queue_id,
            reverse_path=envelope.reverse_path,
            submitter=submitter,
            session=session,
            accepted_at=envelope.accepted_at,
            size=size,
            held=bool(held),
            leased_to=next((one[-1] for one in found if one[-1]), None),
            recipients=recipients,
            release_at=envelope.release_at,
            deliver_by=envelope.deliver_by,
            priority=envelope.priority,
            tls_demand=envelope.tls_demand,
        )

    def story(self, queue_id: str) -> Sequence[Happening]:
        """As `Store.story`."""
        with translated():
            return [
                Happening(at=read_moment(at), what=what)
                for at, what in self._connection.execute(
                    "SELECT at, what FROM event WHERE message = ? ORDER BY rowid",
                    (number_of(queue_id),),
                )
            ]

    def read_header(self, queue_id: str) -> bytes:
        """As `Store.read_header`."""
        with translated():
            return read_header(self._connection, queue_id)

    def read_body(self, queue_id: str) -> Iterator[bytes]:
        """As `Store.read_body`."""
        number = 0
        while True:
            with translated():
                chunk = read_chunk(self._connection, queue_id, number)
            if chunk is None:
                return
            yield chunk
            number += 1

    def retry(self, queue_ids: Iterable[str], now: datetime) -> int:
        """As `Store.retry`."""
        return self._each(
            queue_ids,
            "retried by the operator",
            "UPDATE recipient SET due_at = max(?1, coalesce((SELECT release_at "
            "FROM message WHERE id = ?2), 0)) "
            "WHERE message = ?2 AND state = 'queued' AND held = 0",
            now.timestamp(),
        )

    def hold(self, queue_ids: Iterable[str]) -> int:
        """As `Store.hold`."""
        return self._each(
            queue_ids,
            "held by the operator",
            "UPDATE recipient SET held = ? WHERE message = ?",
            True,
            also="UPDATE message SET held = ? WHERE id = ?",
        )

    def release_held(self, queue_ids: Iterable[str], now: datetime) -> int:
        """As `Store.release_held`."""
        return self._each(
            queue_ids,
            "released by the operator",
            # While it was held nobody could try: its age counts from here.
            "UPDATE message SET held = 0, "
            "release_at = max(coalesce(release_at, 0), ?1) "
            "WHERE id = ?2 AND held = 1 AND removed = 0",
            now.timestamp(),
            also="UPDATE recipient SET held = 0, "
            "due_at = (SELECT release_at FROM message WHERE id = ?2) "
            "WHERE message = ?2 AND state = 'queued'",
        )

    def release_early(self, queue_ids: Iterable[str], now: datetime) -> int:
        """As `Store.release_early`."""
        return self._each(
            queue_ids,
            "sent before its time by the operator",
            "UPDATE message SET release_at = ?1 "
            "WHERE id = ?2 AND held = 0 AND release_at > ?1",
            now.timestamp(),
            also="UPDATE recipient SET due_at = ? WHERE message = ? "
            "AND state = 'queued'",
        )

    def _each(
        self,
        queue_ids: Iterable[str],
        what: str,
        statement: str,
        value: object,
        also: str = "",
    ) -> int:
        changed = 0
        now = datetime.now(UTC).timestamp()
        for page in _pages(queue_ids):
            with translated(), writing(self._connection, self._lock):
                for identity in page:
                    if self._connection.execute(statement, (value, identity)).rowcount:
                        changed += 1
                        tell(self._connection, identity, now, what)
                        if also:
                            self._connection.execute(also, (value, identity))
        return changed

    def remove(self, queue_ids: Iterable[str]) -> int:
        """As `Store.remove`."""
        changed = 0
        for page in _pages(queue_ids):
            with translated(), writing(self._connection, self._lock):
                changed += sum(map(self._remove, page))
        return changed

    def _remove(self, identity: int) -> int:
        leased = self._connection.execute(
            "SELECT 1 FROM recipient WHERE message = ? AND lease IS NOT NULL",
            (identity,),
        ).fetchone()
        known = self._connection.execute(
            "UPDATE message SET removed = 1 WHERE id = ?", (identity,)
        ).rowcount
        self._connection.execute(
            "UPDATE recipient SET held = 1 WHERE message = ?", (identity,)
        )
        if leased is None:
            delete(self._connection, identity)
        return known

    def standing(self) -> Standing:
        """As `Store.standing`."""
        with translated():
            return read_standing(self._connection)

    def usage(self, login: str, now: datetime) -> Usage:
        """As `Store.usage`."""
        with translated():
            return read_usage(
                self._connection,
                login,
                Span,
                (),
                now.timestamp(),
                held=True,
                later=True,
            )


def read_header(connection: sqlite3.Connection, queue_id: str) -> bytes:
    """A message's header section, or a rendition's.

    Raises:
        LookupError: there is no such message (any more).
    """
    row = _content_row(connection, "header", number_of(queue_id))
    if row is None:
        raise LookupError(queue_id)
    return bytes(row[0])


def _content_row(
    connection: sqlite3.Connection, column: str, identity: int
) -> tuple[Any, ...] | None:
    # One number is never both: they are given out once.
    found: tuple[Any, ...] | None = connection.execute(
        f"SELECT {column} FROM message WHERE id = ? "  # noqa: S608
        f"UNION ALL SELECT {column} FROM rendition WHERE content = ?",
        (identity, identity),
    ).fetchone()
    return found


def read_chunk(
    connection: sqlite3.Connection, queue_id: str, number: int
) -> bytes | None:
    """A chunk of a body, the tail after the others; None past it.

    Raises:
        LookupError: there is no such message (any more).
    """
    identity = number_of(queue_id)
    row = _content_row(connection, "chunks", identity)
    if row is None:
        raise LookupError(queue_id)
    if number > row[0]:
        return None
    if number == row[0]:
        row = _content_row(connection, "tail", identity)
    else:
        row = connection.execute(
            "SELECT octets FROM chunk WHERE message = ? AND number = ?",
            (identity, number),
        ).fetchone()
    if row is None:
        raise LookupError(queue_id)
    return bytes(row[0])


def read_standing(connection: sqlite3.Connection) -> Standing:
    """The queue in figures."""
    messages, held, octets, oldest = connection.execute(
        "SELECT count(*), total(held), total(body_size), "
        "min(max(accepted_at, coalesce(release_at, 0))) "
        "FROM message WHERE removed = 0"
    ).fetchone()
    (recipients,) = connection.execute(
        "SELECT count(*) FROM recipient WHERE state = 'queued'"
    ).fetchone()
    return Standing(
        messages=messages,
        recipients=recipients,
        held=int(held),
        octets=int(octets),
        oldest_accepted_at=None if oldest is None else read_moment(oldest),
    )


def _numbers(queue_ids: Iterable[str]) -> list[int]:
    """Row ids; what is no queue id names no message."""
    numbers: list[int] = []
    for queue_id in queue_ids:
        with suppress(LookupError):
            numbers.append(number_of(queue_id))
    return numbers


def _pages(queue_ids: Iterable[str]) -> Iterator[list[int]]:
    """Row ids, as many as one transaction takes: a server beside us waits."""
    numbers = _numbers(queue_ids)
    for start in range(0, len(numbers), _PAGE):
        yield numbers[start : start + _PAGE]


_LOGIN: Final = "login_key(coalesce(submitter, ''))"
"""Not the column: it stands behind the content, which would be read for it."""


def _condition(wanted: Wanted) -> tuple[str, list[object]]:
    parts: list[str] = []
    values: list[object] = []

    def also(part: str, *more: object) -> None:
        parts.append(part)
        values.extend(more)

    if wanted.queue_ids:
        numbers = _numbers(wanted.queue_ids)
        also(f"id IN ({', '.join('?' * len(numbers))})", *numbers)
    if wanted.sender:
        also(
            f"(lower(reverse_path) = lower(?) OR {_LOGIN} = ?)",
            wanted.sender,
            login_key(wanted.sender),
        )
    if wanted.login:
        also(f"{_LOGIN} = ?", login_key(wanted.login))
    below = "EXISTS (SELECT 1 FROM recipient WHERE message = message.id AND {})"
    if wanted.recipient:
        also(below.format("lower(address) = lower(?)"), wanted.recipient)
    if wanted.domain:
        also(below.format("domain = lower(?)"), wanted.domain)
    if wanted.older_than is not None:
        then = datetime.now(UTC) - wanted.older_than
        also("accepted_at <= ?", then.timestamp())
    if wanted.held is not None:
        also("held = ?", wanted.held)
    return " AND ".join(parts) or "1", values
