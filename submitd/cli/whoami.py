"""``submitctl whoami``: which addresses somebody may use, and who says so."""

import argparse
import json
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from submitd.auth.errors import DirectoryUnavailable
from submitd.auth.known import KnownNetworks
from submitd.auth.portal import Explanation, LoginPortal
from submitd.auth.submitter import (
    Anything,
    Exactly,
    Grant,
    WholeDomain,
    WithSubaddresses,
)
from submitd.auth.throttle import LocalLoginCounts
from submitd.cli.loop import TookTooLong, run_in_reactor, to_standard_error
from submitd.config.reader import read_config
from submitd.config.sections import Config
from submitd.observe.events import Level
from submitd.process.counts import login_limits
from submitd.process.login import build_login
from submitd.process.material import Material, load_material


def declare(commands: Any) -> None:  # noqa: ANN401
    """The command."""
    parser = commands.add_parser("whoami", help="what a user may send as, and why")
    parser.add_argument("user", metavar="USER", help="as typed at a log-in")
    parser.add_argument("--json", action="store_true", help="as one object")
    parser.set_defaults(run=whoami)


def whoami(options: argparse.Namespace) -> int:
    """Ask the sources as a log-in would, without a password."""
    config, source = read_config(options.config)
    material = load_material(config, source)
    # Each rule may need a search of its own.
    time_out = config.log_in.time_out.total_seconds() * (1 + len(config.senders.rule))
    try:
        explained = run_in_reactor(
            lambda reactor: _explain(reactor, config, material, options.user), time_out
        )
    except (DirectoryUnavailable, TookTooLong) as problem:
        print(f"submitctl: cannot tell: {problem}", file=sys.stderr)
        return os.EX_TEMPFAIL
    if options.json:
        print(json.dumps(as_object(explained)))
    else:
        for line in as_lines(explained):
            print(line)
    return os.EX_OK if explained.permissions else os.EX_NOUSER


async def _explain(
    reactor: Any,  # noqa: ANN401
    config: Config,
    material: Material,
    user: str,
) -> Explanation:
    async with portal_of(reactor, config, material) as portal:
        return await portal.explain(user)


@asynccontextmanager
async def portal_of(
    reactor: Any,  # noqa: ANN401
    config: Config,
    material: Material,
) -> AsyncIterator[LoginPortal]:
    """The portal that a server with this configuration has."""
    login = build_login(
        reactor,
        config,
        material,
        LocalLoginCounts(reactor, login_limits(config), KnownNetworks(None, time.time)),
        to_standard_error(Level.WARN),
        secrets.token_bytes(32),
    )
    await login.start()
    try:
        yield login.portal
    finally:
        await login.stop()


def as_lines(explained: Explanation) -> Iterator[str]:
    """For people."""
    yield f"login      {explained.login}"
    yield f"entry      {explained.entry or '(the directory has none)'}"
    yield f"locked     {explained.lock or 'no'}"
    if not explained.permissions:
        yield "may use    no address at all"
    for one in explained.permissions:
        yield f"may use    {_shown(one.grant)}  [{one.rule}] {one.source}"


def as_object(explained: Explanation) -> dict[str, Any]:
    """With stable names, for programs."""
    return {
        "login": explained.login,
        "entry": explained.entry or None,
        "lock": explained.lock or None,
        "addresses": [
            {
                "address": _address(one.grant),
                "subaddresses": isinstance(one.grant, WithSubaddresses),
                "rule": one.rule,
                "source": one.source,
            }
            for one in explained.permissions
        ],
    }


def _address(grant: Grant) -> str:
    """An address, ``@domain``, or ``*``."""
    match grant:
        case Exactly(mailbox) | WithSubaddresses(mailbox):
            return str(mailbox)
        case WholeDomain(domain):
            return f"@{domain}"
        case Anything():
            return "*"


def _shown(grant: Grant) -> str:
    match grant:
        case WithSubaddresses(mailbox, delimiter):
            return f"{mailbox} (and {mailbox.local_part}{delimiter}…)"
        case Anything():
            return "any address"
        case _:
            return _address(grant)
