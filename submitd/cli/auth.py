"""``submitctl auth``: who is put off for guessing, and the end of that."""

import argparse
import json
import os
import sys
from typing import Any, Final

from submitd.cli.server import ask_server
from submitd.control.wire import Message

_TIME_OUT: Final = 10.0


def declare(commands: Any) -> None:  # noqa: ANN401
    """The two commands."""
    parser = commands.add_parser("auth", help="see and end the brake on guessing")
    below = parser.add_subparsers(metavar="ACTION", required=True)

    listing = below.add_parser("list", help="who is put off, and until when")
    listing.add_argument("--json", action="store_true", help="one object a line")
    listing.set_defaults(run=list_braked)

    unblock = below.add_parser("unblock", help="let them try again, and forget")
    unblock.add_argument(
        "name",
        metavar="ACCOUNT|NETWORK",
        nargs="?",
        help="a user name, an address, or a network such as 192.0.2.0/24",
    )
    unblock.add_argument("--all", action="store_true", help="everybody")
    unblock.set_defaults(run=unblock_name)


def list_braked(options: argparse.Namespace) -> int:
    """Print who is put off."""
    if (answer := _asked(options, {"do": "auth-list"})) is None:
        return os.EX_UNAVAILABLE
    for one in answer["braked"]:
        print(json.dumps(one) if options.json else as_line(one))
    return os.EX_OK


def unblock_name(options: argparse.Namespace) -> int:
    """End it, and say for whom."""
    if bool(options.name) == options.all:
        print(
            "submitctl: say whom: an account, a network, or --all",
            file=sys.stderr,
        )
        return os.EX_USAGE
    asked = {"do": "auth-unblock", "name": options.name, "all": options.all}
    if (answer := _asked(options, asked)) is None:
        return os.EX_UNAVAILABLE
    for name in answer["unblocked"]:
        print(f"unblocked: {_printable(name)}")
    if more := answer["count"] - len(answer["unblocked"]):
        print(f"unblocked: {more} more")
    if not answer["count"] and options.name:
        print(f"submitctl: {options.name} was not put off", file=sys.stderr)
        return os.EX_NOINPUT
    return os.EX_OK


def as_line(one: dict[str, Any]) -> str:
    """``account  alice  since … until …  20 failures  refusal 2  last from …``."""
    return (
        f"{one['kind']}  {_printable(one['name'])}  since {one['since']} "
        f"until {one['until']}  {one['failures']} failures  "
        f"refusal {one['refusals']}  last from {one['client']}"
    )


def _asked(options: argparse.Namespace, message: Message) -> Message | None:
    """The server's answer; None: there is none, and that was said."""
    answer = ask_server(options, message, _TIME_OUT)
    if answer is None or answer["ok"]:
        return answer
    for problem in answer.get("problems", ()):
        print(f"submitctl: {problem}", file=sys.stderr)
    return None


def _printable(text: str) -> str:
    # Names are what a guesser typed: they must not drive the operator's terminal.
    return "".join(one if one.isprintable() else "?" for one in text)
