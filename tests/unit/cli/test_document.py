from argparse import ArgumentParser
from pathlib import Path

import pytest

from submitd.cli import document

TOP = Path(__file__).parents[3]


def test_the_manual_says_what_the_parser_says() -> None:
    """`make docs` writes it anew."""
    assert (TOP / document.REFERENCE).read_text("utf-8") == document.reference()


def test_every_command_has_a_heading_of_its_own() -> None:
    headings = [
        line for line in document.reference().splitlines() if line.startswith("## ")
    ]
    for command in ("check", "whoami", "queue list", "dkim genkey", "reload", "status"):
        assert f"## submitctl {command}" in headings


def test_an_option_that_nothing_is_said_about_is_a_mistake() -> None:
    parser = ArgumentParser(prog="x")
    parser.add_argument("--silent")
    with pytest.raises(ValueError, match="x says nothing about silent"):
        list(document._options_of(parser))


def test_it_is_written_where_it_belongs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr("sys.argv", ["document", str(tmp_path)])
    assert document.main() == 0
    assert (tmp_path / document.REFERENCE).read_text("utf-8") == document.reference()
