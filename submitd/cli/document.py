"""The manual's page on ``submitctl``, made from its parser.

``python -m submitd.cli.document`` writes it; a test fails when it is stale.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from submitd.cli.main import make_parser

REFERENCE: Final = "docs/submitctl.md"

_TOP: Final = """\
<!-- Made by `make docs` from the command's own parser. -->

# submitctl

The operator's command: checks the configuration, shows and changes the queue,
talks to the running server, makes DKIM keys. It reads the server's configuration
to find the server; `queue` works while the server is stopped, too.

## Synopsis

    submitctl [-h] [--config FILE] [--version] COMMAND …
"""

_BOTTOM: Final = """
## Exit status

As in sysexits(3). The usual ones:

0
: It is done, and all is well.

64
: The command was used in a wrong way.

69
: The server, or its spool, cannot be reached.

73
: A file cannot be made; one that is there stays.

78
: The configuration is wrong; each fault is named.

## Environment

`SUBMITD_CONFIG`
: The configuration file, where `--config` names none.

## See also

submitd(8), submitd.toml(5)
"""


def reference() -> str:
    """The page."""
    parser = make_parser()
    lines = [*_options_of(parser), *_commands_of(parser, "submitctl")]
    return _TOP + "".join(line + "\n" for line in lines) + _BOTTOM


def _commands_of(parser: argparse.ArgumentParser, name: str) -> Iterator[str]:
    for action in _actions(parser):
        if not isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            continue
        helps = {one.dest: one.help for one in action._choices_actions}  # noqa: SLF001
        for word, below in action.choices.items():
            full = f"{name} {word}"
            is_group = any(
                isinstance(one, argparse._SubParsersAction)  # noqa: SLF001
                for one in _actions(below)
            )
            if not is_group:
                yield from ("", f"## {full}", "")
                yield _sentence(below.description or helps.get(word) or "")
                yield from ("", f"    {_usage(below)}")
                yield from _options_of(below)
            yield from _commands_of(below, full)


def _options_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in _actions(parser):
        if isinstance(
            action,
            argparse._SubParsersAction | argparse._HelpAction,  # noqa: SLF001
        ):
            continue
        names = ", ".join(f"`{one}`" for one in action.option_strings)
        value = _value_of(action)
        shown = f"{names} {value}".strip()
        yield from ("", shown, f": {_sentence(_help_of(parser, action))}")


def _value_of(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    if action.choices is not None:
        return " or ".join(f"`{one}`" for one in action.choices)
    name = action.metavar or action.dest.upper()
    more = " …" if action.nargs in ("*", "+") else ""
    return f"*{name}*{more}"


def _help_of(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    if not action.help:
        raise ValueError(f"{parser.prog} says nothing about {action.dest}")
    facts = {**vars(action), "prog": parser.prog}
    return action.help % facts


def _usage(parser: argparse.ArgumentParser) -> str:
    words = parser.format_usage().removeprefix("usage: ").split()
    return " ".join(words)


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text[0].upper() + text[1:] + ("" if text.endswith((".", ")")) else ".")


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return list(parser._actions)  # noqa: SLF001 - argparse has no public list


def main() -> int:
    """Write the page below the folder named (default: here)."""
    top = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
    (top / REFERENCE).write_text(reference(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
