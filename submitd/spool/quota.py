"""What each login has sent, counted in the transactions that accept its messages.

Only where a limit is configured for it: without one there is no statement here.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from sqlite3 import Connection
from typing import Final

from submitd.mail.address import BadAddress, Mailbox, parse_mailbox
from submitd.mail.envelope import ForwardPath
from submitd.mail.usage import Span, Spent, Stored, Usage, login_key
from submitd.spool.rows import number_of, read_moment
from submitd.spool.statements import insert_message, tell
from submitd.spool.store import Charge, NewMessage, Over, Reminder, Report

_NOTICE_PERIOD: Final = 4 * 3600
"""Seconds in which a login and its postmaster are told once, if mail stays held."""

_REMINDER_PERIOD: Final = 86400
_AGAIN_AFTER: Final = 3600
"""Seconds after which they are told again of what still is."""

_REMINDED_AT_ONCE: Final = 20

_REMEMBERED: Final = 90
"""Days for which it is remembered whom a login has written to."""

_MOST_REMEMBERED: Final = 20_000
"""Mailboxes of one login, and up to `_STEP` more until they are looked through."""

_STEP: Final = 200
"""New mailboxes after which they are: it takes a millisecond, and others wait."""

_SWEPT: Final = 1000
"""Old rows that one transaction removes at most: others wait for it."""

_SLACK: Final = 3600
"""Seconds for which old counts are kept: a clock may be set back, a session late."""

_ASKED_AT_ONCE: Final = 500
_DAY: Final = 86400


def read_usage(
    connection: Connection,
    login: str,
    spans: Iterable[Span],
    paths: Sequence[ForwardPath],
    now: float,
    *,
    held: bool,
    later: bool,
) -> Usage:
    """As `Spool.usage`."""
    key = login_key(login)
    spent: dict[Span, tuple[Spent, ...]] = {}
    for span in spans:
        rows = connection.execute(
            "SELECT until, messages, recipients, new_recipients FROM usage "
            "WHERE login = ? AND span = ? AND until > ? AND until <= ? "
            "ORDER BY until",
            # A clock that was ahead and is right again must block nobody until then.
            (key, span.value, now, span.until(now) + _SLACK),
        )
        spent[span] = tuple(
            Spent(
                until=until,
                messages=messages,
                recipients=recipients,
                new_recipients=new_recipients,
            )
            for until, messages, recipients, new_recipients in rows
        )
    lies = _held(connection, key) if held else Stored()
    return Usage(
        spent=spent,
        new_recipients=_unknown(connection, key, paths),
        held=lies,
        later=_waiting(connection, key, now) if later else Stored(),
        # Once all was let go, the next one that is held is news again.
        noticed=lies.messages > 0 and _was_told(connection, key, now),
    )


def _held(connection: Connection, login: str) -> Stored:
    return _stored(connection, "held = 1", (login,))


def _waiting(connection: Connection, login: str, now: float) -> Stored:
    return _stored(connection, "release_at > ?", (login, now))


def _stored(connection: Connection, which: str, values: Sequence[object]) -> Stored:
    messages, octets = connection.execute(
        "SELECT count(*), total(length(header) + body_size) FROM message "  # noqa: S608
        f"WHERE login = ? AND {which} AND removed = 0",
        values,
    ).fetchone()
    return Stored(messages, int(octets))


def _was_told(connection: Connection, login: str, now: float) -> bool:
    told = connection.execute(
        "SELECT 1 FROM told WHERE login = ? AND at > ? AND at <= ?",
        # A clock that was far ahead must not silence us until then.
        (login, now - _NOTICE_PERIOD, now + _SLACK),
    ).fetchone()
    return told is not None


def charge(connection: Connection, message: NewMessage, due: Charge) -> Over | None:
    """Count a message that is about to be inserted, or say what is against it.

    A held one brings the line of its story and, where that is due, the notices.
    """
    envelope = message.envelope
    now = envelope.accepted_at.timestamp()
    paths = envelope.forward_paths if due.remembers else ()
    usage = read_usage(
        connection,
        due.login,
        due.spans,
        paths,
        now,
        held=message.held,
        later=due.for_later,
    )
    key = login_key(due.login)
    if (reply := due.judge(usage)) is not None:
        return Over(reply, usage)
    if message.held:
        tell(connection, number_of(message.queue_id), now, f"held: {due.reason}")
        _enter_notices(connection, due, usage, now)
    else:
        row = (1, len(envelope.forward_paths), usage.new_recipients)
        _count(connection, key, due.spans, row, now)
        _remember(connection, key, paths, now)
        if _begins_step(usage, now):
            _forget(connection, key)
    if due.spans:
        _sweep(connection, due.spans, usage, now)
    return None


def _count(
    connection: Connection,
    login: str,
    spans: Iterable[Span],
    row: tuple[int, int, int],
    now: float,
) -> None:
    connection.executemany(
        "INSERT INTO usage (login, span, until, messages, recipients, "
        "new_recipients) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (login, span, until) DO UPDATE SET "
        "messages = messages + excluded.messages, "
        "recipients = recipients + excluded.recipients, "
        "new_recipients = new_recipients + excluded.new_recipients",
        [(login, span.value, span.until(now), *row) for span in spans],
    )


def _enter_notices(
    connection: Connection, due: Charge, usage: Usage, now: float
) -> None:
    if usage.noticed or not due.notices.reports:
        return
    told = due.notices.told
    connection.execute(
        "INSERT OR REPLACE INTO told (login, submitter, mailbox, at) "
        "VALUES (?, ?, ?, ?)",
        (login_key(due.login), due.login, None if told is None else str(told), now),
    )
    _enter(connection, due.notices.reports)


def _enter(connection: Connection, notices: Iterable[Report]) -> None:
    for notice in notices:
        # Leased to nobody: whoever looks next at what is due sends them.
        insert_message(connection, notice.message, notice.body, 0, 0, None)


def reminders(connection: Connection, now: float) -> list[Reminder]:
    """As `Spool.reminders`."""
    return [
        Reminder(
            login=submitter,
            told=_mailbox_in(mailbox),
            told_at=read_moment(at),
            held=_held(connection, key),
        )
        for key, submitter, mailbox, at in connection.execute(
            "SELECT login, submitter, mailbox, at FROM told WHERE at <= ? OR at > ? "
            "ORDER BY at LIMIT ?",
            (now - _REMINDER_PERIOD, now + _SLACK, _REMINDED_AT_ONCE),
        ).fetchall()
    ]


def _mailbox_in(stored: str | None) -> Mailbox | None:
    """None, too, where another version's is no mailbox for this one."""
    with suppress(BadAddress):
        return None if stored is None else parse_mailbox(stored)
    return None


def remind(
    connection: Connection, due: Reminder, reports: Sequence[Report], now: float
) -> None:
    """As `Spool.remind`."""
    which = (login_key(due.login), due.told_at.timestamp())
    if not due.held.messages:
        connection.execute("DELETE FROM told WHERE login = ? AND at = ?", which)
        return
    # Where nothing could be written to them the others have their turn first.
    told_at = now if reports else now - _REMINDER_PERIOD + _AGAIN_AFTER
    changed = connection.execute(
        "UPDATE told SET at = ? WHERE login = ? AND at = ?", (told_at, *which)
    ).rowcount
    if changed:
        _enter(connection, reports)


def _mark(path: ForwardPath) -> bytes:
    """What tells mailboxes apart, and is short."""
    octets = "\0".join(path.mailbox.key).encode()
    return hashlib.blake2b(octets, digest_size=8).digest()


def _unknown(connection: Connection, login: str, paths: Sequence[ForwardPath]) -> int:
    marks = list({_mark(path) for path in paths})
    known = 0
    for start in range(0, len(marks), _ASKED_AT_ONCE):
        some = marks[start : start + _ASKED_AT_ONCE]
        places = ", ".join("?" * len(some))
        (found,) = connection.execute(
            "SELECT count(*) FROM correspondent "  # noqa: S608
            f"WHERE login = ? AND mailbox IN ({places})",
            (login, *some),
        ).fetchone()
        known += found
    return len(marks) - known


def _remember(
    connection: Connection, login: str, paths: Sequence[ForwardPath], now: float
) -> None:
    connection.executemany(
        "INSERT INTO correspondent (login, mailbox, seen) VALUES (?, ?, ?) "
        "ON CONFLICT (login, mailbox) DO UPDATE SET seen = excluded.seen "
        "WHERE seen <> excluded.seen",
        [(login, _mark(path), now // _DAY) for path in paths],
    )


def _begins_step(usage: Usage, now: float) -> bool:
    """True with the first new mailbox of each grain of a day, and of each `_STEP`.

    So no transaction has to remove more than that many and those of one message.
    """
    until = Span.DAY.until(now)
    before = sum(
        one.new_recipients
        for one in usage.spent.get(Span.DAY, ())
        if one.until == until
    )
    after = before + usage.new_recipients
    return math.ceil(before / _STEP) < math.ceil(after / _STEP)


def _forget(connection: Connection, login: str) -> None:
    connection.execute(
        "DELETE FROM correspondent WHERE rowid IN (SELECT rowid FROM "
        "correspondent WHERE login = ? ORDER BY seen DESC LIMIT -1 OFFSET ?)",
        (login, _MOST_REMEMBERED),
    )


def _sweep(
    connection: Connection, spans: Iterable[Span], usage: Usage, now: float
) -> None:
    """Remove what is old, anybody's, whenever a login's longest grain begins."""
    longest = max(spans, key=lambda span: span.value)
    spent = usage.spent[longest]
    if spent and spent[-1].until >= longest.until(now):
        return
    connection.execute(
        "DELETE FROM usage WHERE rowid IN "
        "(SELECT rowid FROM usage WHERE until <= ? OR until > ? LIMIT ?)",
        (now - _SLACK, Span.DAY.until(now) + _SLACK, _SWEPT),
    )
    connection.execute(
        "DELETE FROM correspondent WHERE rowid IN "
        "(SELECT rowid FROM correspondent WHERE seen < ? LIMIT ?)",
        (now // _DAY - _REMEMBERED, _SWEPT),
    )
