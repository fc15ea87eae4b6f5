"""Completion of ``submitctl`` for bash, zsh and fish, made from its parser.

``python -m submitd.cli.completion`` writes all three; a test fails when they are
stale.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from attrs import frozen

from submitd.cli.main import make_parser

FOLDER: Final = "etc/completion"
_FILES: Final = ("--config", "-c", "--out", "--dovecot", "--opendkim", "--root")
_MADE: Final = "# Made by `make docs` from the parser of submitctl.\n"


@frozen
class Command:
    """What may follow the words of one command."""

    words: tuple[str, ...]
    """Its own words; none: submitctl itself."""

    below: tuple[tuple[str, str], ...]
    """Commands below it, and what is said of each."""

    options: tuple[tuple[str, str], ...]
    choices: tuple[tuple[str, tuple[str, ...]], ...]
    """Options that take one of a few values."""


def commands(
    parser: argparse.ArgumentParser | None = None, words: tuple[str, ...] = ()
) -> Iterator[Command]:
    """All of them, submitctl itself first."""
    parser = parser or make_parser()
    below: list[tuple[str, str]] = []
    options: list[tuple[str, str]] = []
    choices: list[tuple[str, tuple[str, ...]]] = []
    deeper: list[Command] = []
    for action in parser._actions:  # noqa: SLF001 - argparse has no public list
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            helps = {one.dest: one.help or "" for one in action._choices_actions}  # noqa: SLF001
            for word, one in action.choices.items():
                below.append((word, helps.get(word, "")))
                deeper += commands(one, (*words, word))
            continue
        for name in action.option_strings:
            options.append((name, (action.help or "") % vars(action)))
            if action.choices is not None:
                choices.append((name, tuple(action.choices)))
    yield Command(words, tuple(below), tuple(options), tuple(choices))
    yield from deeper


def bash() -> str:
    """For bash-completion."""
    paths, offers, values = [], [], []
    for one in commands():
        path = " ".join(one.words)
        if one.words:
            paths.append(f"            '{path}') path='{path}' ;;")
        offered = " ".join([*_names(one.below), *_names(one.options)])
        offers.append(f"        '{path}') words='{offered}' ;;")
        for option, choices in one.choices:
            values.append(f"        '{path} {option}') words='{' '.join(choices)}' ;;")
    return "\n".join(
        [
            _MADE + "_submitctl() {",
            "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}",
            "    local path= word words=",
            '    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
            '        case "${path:+$path }$word" in',
            *paths,
            "        esac",
            "    done",
            '    case "$prev" in',
            f"        {' | '.join(_FILES)})",
            '            mapfile -t COMPREPLY < <(compgen -f -- "$cur")',
            "            return ;;",
            "    esac",
            '    case "$path $prev" in',
            *values,
            "    esac",
            '    [ -n "$words" ] || case "$path" in',
            *offers,
            "    esac",
            '    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")',
            "}",
            "complete -F _submitctl submitctl",
            "",
        ]
    )


def zsh() -> str:
    """For zsh's compsys."""
    paths, offers, values = [], [], []
    for one in commands():
        path = " ".join(one.words)
        if one.words:
            paths.append(f"            '{path}') at='{path}' ;;")
        offered = " ".join(_described(*pair) for pair in (*one.below, *one.options))
        offers.append(f"        '{path}') offered=({offered}) ;;")
        for option, choices in one.choices:
            shown = " ".join(_described(choice, "") for choice in choices)
            values.append(f"        '{path} {option}') offered=({shown}) ;;")
    return "\n".join(
        [
            "#compdef submitctl",
            _MADE + "_submitctl() {",
            "    local at= word prev=$words[CURRENT-1]",
            "    local -a offered",
            "    for word in $words[2,CURRENT-1]; do",
            '        case "${at:+$at }$word" in',
            *paths,
            "        esac",
            "    done",
            '    case "$prev" in',
            f"        {'|'.join(_FILES)}) _files; return ;;",
            "    esac",
            '    case "$at $prev" in',
            *values,
            "    esac",
            '    (( $#offered )) || case "$at" in',
            *offers,
            "    esac",
            "    _describe 'submitctl' offered",
            "}",
            '_submitctl "$@"',
            "",
        ]
    )


def fish() -> str:
    """For fish."""
    lines = [_MADE.rstrip()]
    for one in commands():
        when = _fish_condition(one)
        start = f"complete -c submitctl {when}"
        for word, said in one.below:
            lines.append(f"{start} -f -a {word}{_fish_said(said)}")
        for name, said in one.options:
            flag = f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
            values = dict(one.choices).get(name)
            more = f" -x -a '{' '.join(values)}'" if values else ""
            files = " -r -F" if name in _FILES else ""
            lines.append(f"{start} {flag}{files}{more}{_fish_said(said)}")
    return "\n".join([*lines, ""])


def _fish_condition(one: Command) -> str:
    seen = [f"__fish_seen_subcommand_from {word}" for word in one.words]
    if one.below:
        names = " ".join(_names(one.below))
        seen.append(f"not __fish_seen_subcommand_from {names}")
    return f"-n '{'; and '.join(seen)}'"


def _fish_said(text: str) -> str:
    return f" -d {_quoted(text)}" if text else ""


def _names(pairs: tuple[tuple[str, str], ...]) -> list[str]:
    return [name for name, _ in pairs]


def _described(name: str, said: str) -> str:
    said = said.replace(":", "\\:")
    return _quoted(f"{name}:{said}" if said else name)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "") + "'"


def main() -> int:
    """Write them below the folder named (default: here)."""
    folder = (Path(sys.argv[1]) if len(sys.argv) > 1 else Path()) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files().items():
        (folder / name).write_text(content, "utf-8")
    return 0


def files() -> dict[str, str]:
    """Name and content of each."""
    return {
        "submitctl": bash(),
        "_submitctl": zsh(),
        "submitctl.fish": fish(),
    }


if __name__ == "__main__":
    sys.exit(main())
