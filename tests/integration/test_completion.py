"""Completion of submitctl, in the shells themselves."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from submitd.cli import completion

TOP = Path(__file__).parents[2]
FOLDER = TOP / completion.FOLDER

CASES = [
    ("", {"check", "queue", "dkim"}, {"list", "genkey"}),
    ("queue ", {"list", "show", "retry"}, {"check", "genkey"}),
    ("queue list --o", {"--older-than"}, {"--held"}),
    ("dkim genkey --type ", {"rsa", "ed25519"}, {"zone"}),
]

BASH = """
. "$1"
shift
COMP_WORDS=(submitctl "$@")
COMP_CWORD=$#
_submitctl
printf '%s\\n' "${COMPREPLY[@]}"
"""

ZSH = """
_describe() { print -l -- "${(@P)2}" }
words=(submitctl "${@[2,-1]}")
CURRENT=$#words
source $1
"""


def said(*command: str) -> set[str]:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=20, check=True
    )
    return {line.replace("\t", ":").split(":")[0] for line in done.stdout.splitlines()}


@pytest.mark.parametrize(("name", "content"), completion.files().items())
def test_what_is_shipped_is_what_the_parser_says(name: str, content: str) -> None:
    """`make docs` writes them anew."""
    assert (FOLDER / name).read_text("utf-8") == content


@pytest.mark.parametrize(("line", "offered", "not_offered"), CASES)
def test_bash(line: str, offered: set[str], not_offered: set[str]) -> None:
    found = said(
        *("bash", "-c", BASH, "bash", str(FOLDER / "submitctl")),
        *line.split(" "),
    )
    assert offered <= found
    assert not not_offered & found


@pytest.mark.peers("zsh")
@pytest.mark.parametrize(("line", "offered", "not_offered"), CASES)
def test_zsh(
    peer: Callable[[str], Path], line: str, offered: set[str], not_offered: set[str]
) -> None:
    """What has been typed of the word itself, zsh compares by itself."""
    found = said(
        *(str(peer("zsh")), "-f", "-c", ZSH, "zsh", str(FOLDER / "_submitctl")),
        *line.split(" "),
    )
    assert offered <= found
    assert not (not_offered - {"--held"}) & found


@pytest.mark.peers("fish")
@pytest.mark.parametrize(("line", "offered", "not_offered"), CASES)
def test_fish(
    peer: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    offered: set[str],
    not_offered: set[str],
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    found = said(
        *(str(peer("fish")), "-N", "-c"),
        f"source {FOLDER / 'submitctl.fish'}; complete -C 'submitctl {line}'",
    )
    assert offered <= found
    assert not not_offered & found


def test_files_are_completed_for_what_names_one(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").touch()
    found = said(
        *("bash", "-c", BASH, "bash", str(FOLDER / "submitctl")),
        *("--config", f"{tmp_path}/m"),
    )
    assert found == {f"{tmp_path}/mine.toml"}


def test_they_are_written_where_they_belong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["completion", str(tmp_path)])
    assert completion.main() == 0
    written = {one.name for one in (tmp_path / completion.FOLDER).iterdir()}
    assert written == completion.files().keys()
