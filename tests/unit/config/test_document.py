import re
import tomllib
from pathlib import Path

import pytest

from submitd.config import document
from submitd.config.reader import Source, build_config
from submitd.config.sections import Config

TOP = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (document.EXAMPLE, document.example()),
        (document.REFERENCE, document.reference()),
    ],
)
def test_what_is_shipped_is_what_the_section_classes_say(
    name: str, content: str
) -> None:
    """`make docs` writes both anew."""
    assert (TOP / name).read_text("utf-8") == content


def test_the_example_as_it_stands_is_the_default() -> None:
    tables = tomllib.loads(document.example())

    assert build_config(Source(Path("/etc/submitd.toml"), tables, {})) == Config()


def test_the_example_with_everything_switched_on_is_still_toml() -> None:
    shown = re.sub(r"(?m)^# (?=[a-z_0-9]+ = |\[)", "", document.example())

    tables = tomllib.loads(shown)

    assert tables["limits"]["message_size"] == "50MB"
    assert tables["listener"]["NAME"]["trusted"] == ["127.0.0.1"]
    assert tables["dkim"]["domain"]["example.org"]["keys"] == [
        {"selector": "<year>-<host>", "file": "/etc/submitd/dkim/key.pem"}
    ]


def test_every_line_of_the_example_fits_a_terminal() -> None:
    assert max(map(len, document.example().splitlines())) <= 100


def test_both_are_written_where_they_are_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["document", str(tmp_path)])

    assert document.main() == 0
    assert (tmp_path / "etc/submitd.toml").read_text("utf-8") == document.example()
    assert (tmp_path / "docs/configuration.md").read_text(
        "utf-8"
    ) == document.reference()
