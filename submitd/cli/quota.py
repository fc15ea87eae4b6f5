"""``submitctl quota``: what a submitter may send, and has sent."""

import argparse
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from submitd.auth.directory import stripped
from submitd.config.reader import read_config
from submitd.mail.usage import Usage
from submitd.policy.quota import Limit, Quota, as_wait
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
    if quota is None:
        if not options.json:
            print(f"{login} has no limit")
        return os.EX_OK
    for limit in _limits(quota):
        shown = as_object(limit, usage)
        if options.json:
            print(json.dumps(shown))
        else:
            print(as_line(limit, usage, now))
    return os.EX_OK


def _limits(quota: Quota) -> Iterator[Limit]:
    yield from quota.limits
    if quota.held_limit is not None:
        yield quota.held_limit


def as_object(limit: Limit, usage: Usage) -> dict[str, Any]:
    """With stable names, for programs. ``again_at``: where nothing is left."""
    used = limit.used(usage)
    again_at = None
    if used >= limit.allowed:
        moment = datetime.fromtimestamp(limit.again_at(usage, 1) or 0.0, UTC)
        again_at = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "limit": limit.name,
        "allowed": limit.allowed,
        "used": used,
        "again_at": again_at,
    }


def as_line(limit: Limit, usage: Usage, now: datetime) -> str:
    """``messages_per_hour  100 of 100 used, again in 12 min``."""
    used = limit.used(usage)
    line = f"{limit.name:22}  {used} of {limit.allowed} used"
    if used < limit.allowed:
        return line
    moment = limit.again_at(usage, 1) or 0.0
    return f"{line}, again in {as_wait(moment - now.timestamp())}"
