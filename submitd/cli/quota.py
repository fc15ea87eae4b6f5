"""``submitctl quota``: what a submitter may send, and has sent."""

import argparse
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from attrs import asdict, frozen

from submitd.auth.directory import stripped
from submitd.config.reader import read_config
from submitd.mail.usage import Stored, Usage
from submitd.policy.quota import Quota, Room, as_size, as_wait
from submitd.process.quota import quotas_of
from submitd.spool.sqlite import SqliteStore


def declare(commands: Any) -> None:  # noqa: ANN401
    """The command."""
    parser = commands.add_parser("quota", help="see what a submitter has sent")
    below = parser.add_subparsers(metavar="ACTION", required=True)
    show = below.add_parser("show", help="what is used, and what is allowed")
    show.add_argument("login", metavar="LOGIN", help="as `whoami` and the log show it")
    show.add_argument("--json", action="store_true", help="one object a limit")
    show.set_defaults(run=show_quota)


def show_quota(options: argparse.Namespace) -> int:
    """Print each limit of a login. Works while the server is stopped, too."""
    config, _ = read_config(options.config)
    now = datetime.now(UTC)
    login = stripped(options.login, frozenset(config.ldap.login_domains))
    store = SqliteStore(config.server.state_directory)
    try:
        usage = store.usage(login, now)
    finally:
        store.close()
    quota = quotas_of(config).of(login)
    standings = list(_standings(quota, usage))
    if not (standings or options.json):
        print(f"{login} has no limit")
    for one in standings:
        print(json.dumps(as_object(one)) if options.json else as_line(one, now))
    return os.EX_OK


@frozen
class _Standing:
    """How it stands with one limit."""

    limit: str
    allowed: int
    used: int
    again_at: float | None = None
    """Where nothing is left, and time alone makes room."""


def _standings(quota: Quota, usage: Usage) -> Iterator[_Standing]:
    for limit in quota.limits:
        used = limit.used(usage)
        again_at = limit.again_at(usage, 1) if used >= limit.allowed else None
        yield _Standing(limit.name, limit.allowed, used, again_at)
    if quota.holds:
        yield from _in_room("held", quota.held, usage.held)
    yield from _in_room("later", quota.later, usage.later)


def _in_room(name: str, room: Room, stored: Stored) -> Iterator[_Standing]:
    if room.messages is not None:
        yield _Standing(f"{name}_messages", room.messages, stored.messages)
    if room.octets is not None:
        yield _Standing(f"{name}_size", room.octets, stored.octets)


def as_object(one: _Standing) -> dict[str, Any]:
    """With stable names, for programs."""
    again_at = None
    if one.again_at is not None:
        moment = datetime.fromtimestamp(one.again_at, UTC)
        again_at = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return asdict(one) | {"again_at": again_at}


def as_line(one: _Standing, now: datetime) -> str:
    """``messages_per_hour  100 of 100 used, again in 12 min``."""
    shown = as_size if one.limit.endswith("_size") else str
    line = f"{one.limit:22}  {shown(one.used)} of {shown(one.allowed)} used"
    if one.again_at is None:
        return line
    return f"{line}, again in {as_wait(one.again_at - now.timestamp())}"
