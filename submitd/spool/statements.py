"""What is done inside a transaction: plain functions of a connection."""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from heapq import merge
from sqlite3 import Connection
from typing import Final

from submitd.mail.envelope import HEAD_START, ForwardPath
from submitd.mail.usage import login_key
from submitd.spool.rows import (
    MESSAGE_COLUMNS,
    RECIPIENT_COLUMNS,
    envelope_text,
    fresh_spooled,
    number_of,
    queue_id_of,
    read_recipient,
    read_spooled,
    wishes_text,
)
from submitd.spool.sent import Marks
from submitd.spool.store import (
    NewMessage,
    NoRendition,
    Recipient,
    Rendition,
    Report,
    Result,
    Spooled,
    State,
)

_STORY: Final = 100
"""Happenings kept of one message: the newest."""

_ROWS_A_MESSAGE: Final = 50
"""Due rows looked at for each message wanted: lists have many recipients."""

_CLAIMABLE: Final = "state = 'queued' AND lease IS NULL AND held = 0"

HIGHEST_BELOW: Final = (
    f"SELECT max(priority) FROM recipient WHERE {_CLAIMABLE} AND priority < ?"  # noqa: S608
)
DUE_OF_PRIORITY: Final = (
    f"SELECT due_at, message FROM recipient WHERE {_CLAIMABLE} AND priority = ? "  # noqa: S608
    "AND due_at <= ? ORDER BY due_at LIMIT ?"
)
_ABOVE_ALL: Final = 10
"""No priority is so high: the highest is 9 (RFC 6710)."""


class Incomplete(Exception):
    """Chunks of the upload are missing: the message must not be acknowledged."""


def insert_chunk(
    connection: Connection, message: int, number: int, octets: bytes, owner: str
) -> None:
    """One chunk of an upload; the first one enters the upload itself."""
    if number == 0:
        connection.execute("INSERT INTO intake VALUES (?, ?)", (message, owner))
    connection.execute("INSERT INTO chunk VALUES (?, ?, ?)", (message, number, octets))


def drop_intake(connection: Connection, message: int) -> None:
    """An upload that will not be finished."""
    connection.execute("DELETE FROM chunk WHERE message = ?", (message,))
    connection.execute("DELETE FROM intake WHERE message = ?", (message,))


def insert_message(
    connection: Connection,
    message: NewMessage,
    tail: bytes,
    chunks: int,
    chunk_octets: int,
    owner: str | None,
) -> None:
    """The accepting statement. ``owner``: who leases it; None: nobody as yet.

    Raises:
        Incomplete: not all chunks are there, in full.
    """
    identity = number_of(message.queue_id)
    if chunks:
        _end_upload(connection, identity, chunks, chunk_octets)
    envelope = message.envelope
    at = envelope.accepted_at.timestamp()
    connection.execute(
        "INSERT INTO message (id, queue_id, accepted_at, reverse_path, envelope, "
        "submitter, login, session, eight_bit, smtputf8, binary, held, chunks, "
        "body_size, header, tail, release_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            identity,
            message.queue_id,
            at,
            None if envelope.reverse_path is None else str(envelope.reverse_path),
            envelope_text(envelope),
            message.submitter,
            None if message.submitter is None else login_key(message.submitter),
            message.session,
            message.needs.eight_bit,
            message.needs.smtputf8,
            message.needs.binary,
            message.held,
            chunks,
            chunk_octets + len(tail),
            message.header,
            tail,
            None if envelope.release_at is None else envelope.release_at.timestamp(),
        ),
    )
    lease = None if message.waits else owner
    due_at = envelope.sent_from.timestamp()
    connection.executemany(
        "INSERT INTO recipient (message, number, address, domain, wishes, state, "
        "held, due_at, lease, priority) "
        "VALUES (?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?)",
        [
            (
                identity,
                number,
                str(path.mailbox),
                path.mailbox.domain,
                wishes_text(path),
                message.held,
                due_at,
                lease,
                envelope.priority,
            )
            for number, path in enumerate(envelope.forward_paths)
        ],
    )


def _end_upload(
    connection: Connection, identity: int, chunks: int, octets: int
) -> None:
    """Its chunks belong to something from here on. Raises Incomplete."""
    found = connection.execute(
        "SELECT count(*), sum(length(octets)) FROM chunk WHERE message = ?",
        (identity,),
    ).fetchone()
    if found != (chunks, octets):
        raise Incomplete(f"{found[0]} of {chunks} chunks are there")
    connection.execute("DELETE FROM intake WHERE message = ?", (identity,))


def find_rendition(
    connection: Connection, queue_id: str, form: str
) -> Rendition | NoRendition | None:
    """The message's rendition of this form, or that it has none."""
    row = connection.execute(
        "SELECT content, length(header) + body_size, refusal FROM rendition "
        "WHERE message = ? AND form = ?",
        (number_of(queue_id), form),
    ).fetchone()
    if row is None:
        return None
    content, size, refusal = row
    if refusal is not None:
        return NoRendition(refusal)
    return Rendition(queue_id_of(content), size)


def insert_rendition(
    connection: Connection,
    queue_id: str,
    form: str,
    content_id: str,
    parts: tuple[bytes, bytes],
    chunks: int,
    chunk_octets: int,
) -> Rendition:
    """Its row; ``parts`` are header section and tail. The first one made stays.

    Raises:
        Incomplete: not all chunks are there, in full.
        LookupError: there is no such message (any more).
    """
    message, content = number_of(queue_id), number_of(content_id)
    if isinstance(made := find_rendition(connection, queue_id, form), Rendition):
        drop_intake(connection, content)
        return made
    _check_message(connection, queue_id)
    if chunks:
        _end_upload(connection, content, chunks, chunk_octets)
    header, tail = parts
    body_size = chunk_octets + len(tail)
    connection.execute(
        # Where there was said to be none, that was another program's word.
        "INSERT OR REPLACE INTO rendition "
        "(content, message, form, chunks, body_size, header, tail) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (content, message, form, chunks, body_size, header, tail),
    )
    tell(connection, message, time.time(), f"made a form of it for {form} hosts")
    return Rendition(content_id, len(header) + body_size)


def insert_refusal(
    connection: Connection, queue_id: str, form: str, content_id: str, reason: str
) -> None:
    """That there is no such rendition. What was found out first stays.

    Raises:
        LookupError: there is no such message (any more).
    """
    _check_message(connection, queue_id)
    message = number_of(queue_id)
    entered = connection.execute(
        "INSERT OR IGNORE INTO rendition "
        "(content, message, form, refusal, chunks, body_size, header, tail) "
        "VALUES (?, ?, ?, ?, 0, 0, x'', x'')",
        (number_of(content_id), message, form, reason),
    ).rowcount
    if entered:
        words = f"it has no form for {form} hosts: {reason}"
        tell(connection, message, time.time(), words)


def _check_message(connection: Connection, queue_id: str) -> None:
    """Raises LookupError: there is no such message (any more)."""
    if not connection.execute(
        "SELECT 1 FROM message WHERE id = ?", (number_of(queue_id),)
    ).fetchone():
        raise LookupError(queue_id)


def claim(
    connection: Connection, now: datetime, limit: int, owner: str
) -> list[Spooled]:
    """Lease due recipients to ``owner``, those of high priority first."""
    moment = now.timestamp()
    due: dict[int, None] = {}
    most = limit * _ROWS_A_MESSAGE
    for _, identity in merge(*_due_by_priority(connection, moment, most)):
        due[identity] = None
        if len(due) == limit:
            break
    claimed: list[Spooled] = []
    for identity in due:
        # Only what is claimed now: others may be leased to us, and under way.
        mine = {
            number
            for (number,) in connection.execute(
                f"UPDATE recipient SET lease = ? WHERE message = ? "  # noqa: S608
                f"AND {_CLAIMABLE} AND due_at <= ? RETURNING number",
                (owner, identity, moment),
            ).fetchall()
        }
        everyone = [
            read_recipient(row)
            for row in connection.execute(
                f"SELECT {RECIPIENT_COLUMNS} FROM recipient WHERE message = ? "  # noqa: S608
                "ORDER BY number",
                (identity,),
            )
        ]
        claimed.append(_spooled(connection, identity, everyone, mine))
    return claimed


def _due_by_priority(
    connection: Connection, moment: float, most: int
) -> list[Iterator[tuple[float, int]]]:
    """What is due, for each priority that there is: its rank, and the message.

    The index finds the priorities one by one, and what is due of each, as far
    as it is taken: most often there is one, and what is not due costs nothing.
    """
    found: list[Iterator[tuple[float, int]]] = []
    below = _ABOVE_ALL
    while True:
        (priority,) = connection.execute(HIGHEST_BELOW, (below,)).fetchone()
        if priority is None:
            return found
        found.append(_ranked(connection, priority, moment, most))
        below = priority


def _ranked(
    connection: Connection, priority: int, moment: float, most: int
) -> Iterator[tuple[float, int]]:
    head_start = priority * HEAD_START
    for due_at, identity in connection.execute(
        DUE_OF_PRIORITY, (priority, moment, most)
    ):
        yield due_at - head_start, identity


def _spooled(
    connection: Connection, identity: int, everyone: list[Recipient], mine: set[int]
) -> Spooled:
    row = connection.execute(
        f"SELECT {MESSAGE_COLUMNS} FROM message WHERE id = ?",  # noqa: S608
        (identity,),
    ).fetchone()
    paths: tuple[ForwardPath, ...] = tuple(one.forward_path for one in everyone)
    return read_spooled(
        row, tuple(one for one in everyone if one.number in mine), paths
    )


def record(
    connection: Connection,
    queue_id: str,
    results: Sequence[Result],
    reports: Sequence[Report],
    owner: str,
) -> list[Spooled]:
    """Outcomes of an attempt, and the reports that they cause."""
    identity = number_of(queue_id)
    # Each step of a statement lets go of the interpreter and has to get it back
    # from a busy loop: one question is cheaper than two.
    rows = connection.execute(
        "SELECT removed, number, lease FROM message JOIN recipient "
        "ON message = id AND state = 'queued' WHERE id = ?",
        (identity,),
    ).fetchall()
    if not rows:
        return []  # an operator removed it; nobody waits for a report
    removed = rows[0][0]
    leases = {number: lease for _, number, lease in rows}
    # Only who holds the lease may say what became of a recipient, and once.
    ours = {one.number: one for one in results if leases.get(one.number) == owner}
    if not ours:
        return []
    settled = {one.number for one in ours.values() if one.state is not State.QUEUED}
    if settled == leases.keys():
        delete(connection, identity)
    else:
        _update(connection, identity, list(ours.values()))
    if removed:
        _delete_unleased(connection, identity)
        return []  # its operator did not want it to be heard of again
    entered: list[Spooled] = []
    for report in reports:
        insert_message(connection, report.message, report.body, 0, 0, owner)
        entered.append(fresh_spooled(report.message, len(report.body), (report.body,)))
    return entered


def _update(connection: Connection, identity: int, results: Sequence[Result]) -> None:
    moment = max(one.at.timestamp() for one in results)
    connection.executemany(
        "UPDATE recipient SET state = ?, due_at = ?, lease = NULL, "
        "attempts = attempts + ?, delay_reported = max(delay_reported, ?), "
        "status = ?, diagnostic = ?, host = ?, "
        "last_attempt_at = iif(?, ?, last_attempt_at) "
        "WHERE message = ? AND number = ?",
        [
            (
                one.state.value,
                one.due_at.timestamp(),
                one.is_attempt,
                one.delay_reported,
                str(one.status),
                one.diagnostic,
                one.host,
                one.is_attempt,
                one.at.timestamp(),
                identity,
                one.number,
            )
            for one in results
        ],
    )
    for one in results:
        host = f"{one.host}: " if one.host else ""
        tell(
            connection,
            identity,
            moment,
            f"recipient {one.number} {one.state.value}: {host}{one.diagnostic}",
        )


def tell(connection: Connection, identity: int, at: float, what: str) -> None:
    """Add a line to a message's story, which keeps the newest ones."""
    connection.execute(
        "INSERT INTO event (message, at, what) VALUES (?, ?, ?)",
        (identity, at, what[:1000]),
    )
    connection.execute(
        "DELETE FROM event WHERE rowid IN (SELECT rowid FROM event "
        "WHERE message = ? ORDER BY rowid DESC LIMIT -1 OFFSET ?)",
        (identity, _STORY),
    )


def delete(connection: Connection, identity: int) -> None:
    """A message, and by the schema's trigger all that belongs to it."""
    connection.execute("DELETE FROM message WHERE id = ?", (identity,))


def _delete_unleased(connection: Connection, identity: int) -> None:
    leased = connection.execute(
        "SELECT 1 FROM recipient WHERE message = ? AND lease IS NOT NULL",
        (identity,),
    ).fetchone()
    if leased is None:
        delete(connection, identity)


def release(
    connection: Connection,
    queue_id: str,
    numbers: Sequence[int],
    owner: str,
    due_at: datetime | None = None,
) -> None:
    """Claimed recipients go back, due as before or at another time."""
    identity = number_of(queue_id)
    due = None if due_at is None else due_at.timestamp()
    connection.executemany(
        "UPDATE recipient SET lease = NULL, due_at = coalesce(?, due_at) "
        "WHERE message = ? AND number = ? AND lease = ?",
        [(due, identity, number, owner) for number in numbers],
    )
    sweep_removed(connection)


def release_owner(
    connection: Connection, owner: str | None, sent: Mapping[str, Marks]
) -> int:
    """A dead owner's leases and uploads; None: everybody's. Gives the leases.

    ``sent``: whom the dead had sent content to; it counts where they held the
    lease to the end.
    """
    for name, marks in sent.items():
        for mark in marks:
            _count_interruption(connection, name, *mark)
    which = () if owner is None else (owner,)
    leased = "lease = ?" if which else "lease IS NOT NULL"
    begun = "owner = ?" if which else "1"
    freed = connection.execute(
        f"UPDATE recipient SET lease = NULL WHERE {leased}",  # noqa: S608
        which,
    ).rowcount
    orphans = connection.execute(
        f"SELECT message FROM intake WHERE {begun}",  # noqa: S608
        which,
    ).fetchall()
    for (identity,) in orphans:
        drop_intake(connection, identity)
    sweep_removed(connection)
    return freed


def _count_interruption(
    connection: Connection, owner: str, identity: int, number: int
) -> None:
    counted = connection.execute(
        "UPDATE recipient SET interruptions = interruptions + 1 "
        "WHERE message = ? AND number = ? AND lease = ?",
        (identity, number, owner),
    ).rowcount
    if counted:
        words = f"recipient {number}: submitd died before its host's answer was kept"
        tell(connection, identity, time.time(), words)


def sweep_removed(connection: Connection) -> None:
    """What an operator removed while an attempt was under way, and is free now."""
    for (identity,) in connection.execute(
        "SELECT id FROM message WHERE removed = 1"
    ).fetchall():
        _delete_unleased(connection, identity)
