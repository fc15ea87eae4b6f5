"""``submitctl reload`` and ``submitctl status``: talk to the running server."""

import argparse
import json
import os
import sys
from typing import Any

from submitd.config.reader import read_server_section
from submitd.control.socket import ControlUnavailable, request
from submitd.control.wire import Message

_RELOAD_TIME = 90.0
_STATUS_TIME = 10.0


def declare(commands: Any) -> None:  # noqa: ANN401
    """The two commands."""
    reload_ = commands.add_parser("reload", help="take up a changed configuration")
    reload_.set_defaults(run=reload_server)
    status = commands.add_parser("status", help="processes, versions, listeners")
    status.add_argument("--json", action="store_true", help="as one object")
    status.set_defaults(run=show_status)


def ask_server(
    options: argparse.Namespace, asked: Message, time_out: float
) -> Message | None:
    """What the running server answers; None: it does not, and that was said."""
    control_socket = read_server_section(options.config).control_socket
    try:
        return request(control_socket, asked, time_out)
    except ControlUnavailable as problem:
        print(f"submitctl: {problem}. Is submitd running?", file=sys.stderr)
        return None


def reload_server(options: argparse.Namespace) -> int:
    """Reload; a faulty configuration is refused and the old one stays in use."""
    if (answer := ask_server(options, {"do": "reload"}, _RELOAD_TIME)) is None:
        return os.EX_UNAVAILABLE
    for problem in answer.get("problems", ()):
        print(f"submitctl: {problem}", file=sys.stderr)
    return os.EX_OK if answer["ok"] else os.EX_CONFIG


def show_status(options: argparse.Namespace) -> int:
    """Show what runs."""
    if (answer := ask_server(options, {"do": "status"}, _STATUS_TIME)) is None:
        return os.EX_UNAVAILABLE
    if not answer.pop("ok"):
        for problem in answer.get("problems", ()):
            print(f"submitctl: {problem}", file=sys.stderr)
        return os.EX_UNAVAILABLE
    if options.json:
        print(json.dumps(answer))
        return os.EX_OK
    state = "ready" if answer["ready"] else "not ready"
    print(
        f"submitd {answer['version']}, process {answer['pid']}, "
        f"up {answer['uptime']} s, {state}"
    )
    for worker in answer["workers"]:
        print(f"  {worker['name']}  process {worker['pid']}  {_state_of(worker)}")
    for one in answer["listeners"]:
        print(f"  {one['name']}  {one['address']} port {one['port']}  tls {one['tls']}")
    return os.EX_OK


def _state_of(worker: dict[str, Any]) -> str:
    if worker["draining"]:
        return "draining"
    return "ready" if worker["ready"] else "starting"
