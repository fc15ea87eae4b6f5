"""``submitctl queue``: see what waits, and change its fate.

It works on the spool itself, so it works while the server is stopped.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from submitd.config.reader import read_server_section
from submitd.config.values import span
from submitd.mail.address import Mailbox
from submitd.mail.envelope import ByMode
from submitd.spool.sqlite import SqliteStore
from submitd.spool.store import QueueEntry, Recipient, State, Store, Wanted


def declare(commands: Any) -> None:  # noqa: ANN401
    """All commands of ``submitctl queue``."""
    parser = commands.add_parser("queue", help="see and change what waits")
    below = parser.add_subparsers(metavar="ACTION", required=True)

    listing = below.add_parser("list", help="what waits, oldest first")
    _declare_wanted(listing, ids=False)
    listing.add_argument("--json", action="store_true", help="one object a line")
    listing.set_defaults(run=_on_store(list_queue))

    show = below.add_parser("show", help="everything about one message")
    show.add_argument("queue_id", metavar="ID", help="its queue id")
    show.add_argument("--json", action="store_true", help="as one object")
    show.add_argument("--content", action="store_true", help="the message itself")
    show.set_defaults(run=_on_store(show_message))

    count = below.add_parser("count", help="how many messages wait")
    count.add_argument("--json", action="store_true", help="with more figures")
    count.set_defaults(run=_on_store(count_queue))

    for name, change, text in (
        ("retry", _retry, "make them due now"),
        ("hold", _hold, "keep them from delivery"),
        ("release", _release, "let held ones go; with IDs, also before their time"),
        ("remove", _remove, "delete them; their senders are not told"),
    ):
        command = below.add_parser(name, help=text)
        _declare_wanted(command, ids=True)
        command.add_argument("--json", action="store_true", help="the count as JSON")
        command.add_argument("--all", action="store_true", help="every message")
        command.set_defaults(run=_on_store(_changing(change)), verb=name)


def _declare_wanted(command: argparse.ArgumentParser, *, ids: bool) -> None:
    if ids:
        command.add_argument("queue_ids", metavar="ID", nargs="*", help="queue ids")
    for name, meaning in (
        ("--sender", "reverse-path or login"),
        ("--login", "login of the submitter, whatever the reverse-path"),
        ("--recipient", "a recipient's address"),
        ("--domain", "a recipient's domain"),
    ):
        command.add_argument(name, type=_filled, help=meaning)
    command.add_argument(
        "--older-than", type=_age, metavar="AGE", help='accepted before, as in "2h"'
    )
    command.add_argument(
        "--held", action="store_const", const=True, help="held messages only"
    )


def _filled(text: str) -> str:
    """Or a script's variable that is not set would mean everybody's mail."""
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def _age(text: str) -> timedelta:
    try:
        return span()(text if not text.isdecimal() else int(text))
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from problem


Command = Callable[[argparse.Namespace, Store], int]


def _on_store(command: Command) -> Callable[[argparse.Namespace], int]:
    def run(options: argparse.Namespace) -> int:
        store = SqliteStore(read_server_section(options.config).state_directory)
        try:
            return command(options, store)
        finally:
            store.close()

    return run


def _wanted(options: argparse.Namespace) -> Wanted:
    return Wanted(
        queue_ids=tuple(getattr(options, "queue_ids", ())),
        sender=options.sender or "",
        login=options.login or "",
        recipient=options.recipient or "",
        domain=options.domain or "",
        older_than=options.older_than,
        held=options.held,
    )


def list_queue(options: argparse.Namespace, store: Store) -> int:
    """Print the queue."""
    now = datetime.now(UTC)
    for entry in store.search(_wanted(options)):
        if options.json:
            print(json.dumps(as_object(entry)))
        else:
            print(as_line(entry, now))
    return os.EX_OK


def show_message(options: argparse.Namespace, store: Store) -> int:
    """Print one message: envelope, recipients, story, what happens next."""
    found = list(store.search(Wanted(queue_ids=(options.queue_id,))))
    if not found:
        return _gone(options.queue_id)
    (entry,) = found
    if options.content:
        try:
            sys.stdout.buffer.write(store.read_header(entry.queue_id))
            for chunk in store.read_body(entry.queue_id):
                sys.stdout.buffer.write(chunk)
        except LookupError:
            # Delivered while we read it.
            return _gone(entry.queue_id)
        return os.EX_OK
    story = store.story(entry.queue_id)
    if options.json:
        shown = as_object(entry)
        shown["story"] = [{"at": _stamp(one.at), "what": one.what} for one in story]
        print(json.dumps(shown))
        return os.EX_OK
    for line in _described(entry, datetime.now(UTC)):
        print(line)
    for one in story:
        print(f"  {_stamp(one.at)}  {one.what}")
    return os.EX_OK


def _gone(queue_id: str) -> int:
    print(f"submitctl: no message {queue_id} in the queue", file=sys.stderr)
    return os.EX_NOINPUT


def count_queue(options: argparse.Namespace, store: Store) -> int:
    """Print how many messages wait."""
    standing = store.standing()
    if not options.json:
        print(standing.messages)
        return os.EX_OK
    oldest = standing.oldest_accepted_at
    print(
        json.dumps(
            {
                "messages": standing.messages,
                "recipients": standing.recipients,
                "held": standing.held,
                "octets": standing.octets,
                "oldest_accepted_at": _stamp(oldest) if oldest else None,
            }
        )
    )
    return os.EX_OK


def _changing(change: Callable[[Store, list[str], Wanted], int]) -> Command:
    def run(options: argparse.Namespace, store: Store) -> int:
        wanted = _wanted(options)
        if wanted == Wanted() and not options.all:
            print(
                "submitctl: say which messages: ids, a filter, or --all",
                file=sys.stderr,
            )
            return os.EX_USAGE
        ids = [entry.queue_id for entry in store.search(wanted)]
        known = set(ids)
        missing = [one for one in wanted.queue_ids if one.upper() not in known]
        if missing:
            print(
                f"submitctl: not in the queue: {', '.join(missing)}",
                file=sys.stderr,
            )
        changed = change(store, ids, wanted)
        if options.json:
            print(json.dumps({"action": options.verb, "messages": changed}))
        else:
            print(f"{options.verb}: {changed} of {len(ids)} messages")
        return os.EX_NOINPUT if missing else os.EX_OK

    return run


def _retry(store: Store, ids: list[str], _: Wanted) -> int:
    return store.retry(ids, datetime.now(UTC))


def _hold(store: Store, ids: list[str], _: Wanted) -> int:
    return store.hold(ids)


def _release(store: Store, ids: list[str], wanted: Wanted) -> int:
    """Let held ones go; and who is named by its id, before its time, too.

    By a filter or --all no message is sent earlier than its sender wanted.
    """
    now = datetime.now(UTC)
    early = store.release_early(ids, now) if wanted.queue_ids else 0
    return early + store.release_held(ids, now)


def _remove(store: Store, ids: list[str], _: Wanted) -> int:
    return store.remove(ids)


def as_line(entry: QueueEntry, now: datetime) -> str:
    """``4F0C1B  2h05m  4.1 KB  alice@…  3 rcpt  450 4.2.1 mailbox busy``."""
    waiting = [one for one in entry.recipients if one.state is State.QUEUED]
    last = max(
        waiting, key=lambda one: one.last_attempt_at or entry.accepted_at, default=None
    )
    said = _printable(last.last_diagnostic) if last else ""
    marks = "held  " if entry.held else ""
    if entry.release_at is not None and entry.release_at > now:
        marks += f"until {_stamp(entry.release_at)}  "
    return (
        f"{entry.queue_id}  {_as_age(now - entry.accepted_at)}  {entry.size} octets  "
        f"{_path(entry.reverse_path)}  {len(waiting)} rcpt  {marks}{said}"
    ).rstrip()


def _described(entry: QueueEntry, now: datetime) -> Iterator[str]:
    yield f"queue id     {entry.queue_id}"
    yield f"session      {entry.session}"
    yield f"submitter    {entry.submitter or '(this server)'}"
    yield f"from         {_path(entry.reverse_path)}"
    age = _as_age(now - entry.accepted_at)
    yield f"accepted     {_stamp(entry.accepted_at)} ({age})"
    yield f"size         {entry.size} octets"
    if entry.held:
        yield f"held         until `submitctl queue release {entry.queue_id}`"
    if entry.release_at is not None and entry.release_at > now:
        early = "" if entry.held else f", or `submitctl queue release {entry.queue_id}`"
        yield f"waits        until {_stamp(entry.release_at)}{early}"
    yield from _wishes(entry)
    if entry.leased_to:
        yield f"under way    in {entry.leased_to}"
    for one in entry.recipients:
        yield f"to           {one.forward_path.mailbox}: {_fate(one, entry, now)}"
        if one.last_diagnostic:
            host = f"{one.last_host} said: " if one.last_host else ""
            yield f"             last attempt: {host}{_printable(one.last_diagnostic)}"


def _wishes(entry: QueueEntry) -> Iterator[str]:
    """What its sender asked for, where that explains what becomes of it."""
    if (by := entry.deliver_by) is not None:
        late = "it comes back" if by.mode is ByMode.RETURN else "its sender is told"
        yield f"deliver by   {_stamp(by.at)}, or {late}"
    if entry.priority:
        yield f"priority     {entry.priority}"
    if entry.tls_demand is not None:
        yield f"TLS          {entry.tls_demand.value}"


def _fate(one: Recipient, entry: QueueEntry, now: datetime) -> str:
    if one.state is not State.QUEUED:
        return str(one.state.value)
    if entry.held:
        return f"held after {one.attempts} attempts"
    if one.due_at <= now:
        return f"due now, after {one.attempts} attempts"
    return f"next attempt in {_as_age(one.due_at - now)}, after {one.attempts} attempts"


def as_object(entry: QueueEntry) -> dict[str, Any]:
    """The entry with stable names, for programs."""
    return {
        "queue_id": entry.queue_id,
        "session": entry.session,
        "sender": str(entry.reverse_path) if entry.reverse_path else "",
        "submitter": entry.submitter,
        "accepted_at": _stamp(entry.accepted_at),
        "size": entry.size,
        "held": entry.held,
        "release_at": _stamp(entry.release_at) if entry.release_at else None,
        "deliver_by": _stamp(entry.deliver_by.at) if entry.deliver_by else None,
        "deliver_by_mode": entry.deliver_by.mode.value if entry.deliver_by else None,
        "priority": entry.priority,
        "tls": entry.tls_demand.value if entry.tls_demand else None,
        "leased_to": entry.leased_to,
        "recipients": [
            {
                "address": str(one.forward_path.mailbox),
                "state": one.state.value,
                "attempts": one.attempts,
                "due_at": _stamp(one.due_at),
                "status": str(one.last_status) if one.last_status else None,
                "diagnostic": one.last_diagnostic,
                "host": one.last_host,
                "delay_reported": one.delay_reported,
            }
            for one in entry.recipients
        ],
    }


def _path(mailbox: Mailbox | None) -> str:
    return str(mailbox) if mailbox else "<>"


def _stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _as_age(age: timedelta) -> str:
    seconds = max(0, int(age.total_seconds()))
    if seconds < 60:
        return f"{seconds}s"
    minutes = seconds // 60
    if minutes < 60:
        return f"{minutes}m{seconds % 60:02}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}h{minutes:02}m"
    return f"{hours // 24}d{hours % 24:02}h"


def _printable(text: str) -> str:
    # What a remote host said must not drive the operator's terminal.
    return "".join(one if one.isprintable() else "?" for one in text)
