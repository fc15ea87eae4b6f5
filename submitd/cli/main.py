"""``submitctl``: the operator's command."""

import argparse
import os
import sys
from importlib.metadata import version
from pathlib import Path

from submitd.cli import (
    auth,
    certificate,
    check,
    dkim,
    importing,
    queue,
    quota,
    server,
    whoami,
)
from submitd.config.errors import ConfigErrors
from submitd.spool.store import SpoolUnavailable

DEFAULT_CONFIG = "/etc/submitd/submitd.toml"
_INTERRUPTED = 130


def make_parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    parser = argparse.ArgumentParser(
        prog="submitctl", description="Look after a submitd mail submission server."
    )
    parser.add_argument(
        "--config",
        "-c",
        type=Path,
        default=Path(os.environ.get("SUBMITD_CONFIG", DEFAULT_CONFIG)),
        help=f"the configuration file (default: $SUBMITD_CONFIG or {DEFAULT_CONFIG})",
    )
    parser.add_argument(
        "--version", action="version", version=f"submitd {version('submitd')}"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in (
        check,
        whoami,
        auth,
        queue,
        quota,
        server,
        certificate,
        dkim,
        importing,
    ):
        module.declare(commands)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Exit status as in sysexits(3)."""
    options = make_parser().parse_args(arguments)
    try:
        status = int(options.run(options))
        # Here and not at exit, where nobody could say what went wrong.
        sys.stdout.flush()
        return status
    except ConfigErrors as wrong:
        for problem in wrong.problems:
            print(f"submitctl: {problem}", file=sys.stderr)
        return os.EX_CONFIG
    except SpoolUnavailable as problem:
        print(f"submitctl: {problem}", file=sys.stderr)
        return os.EX_UNAVAILABLE
    except BrokenPipeError:
        # The reader of our output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return os.EX_OK
    except KeyboardInterrupt:
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
