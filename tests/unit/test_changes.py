"""What users are told of changes has a form that a release can be made from."""

import re
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parents[2] / "changes.d"
NAME: Final = re.compile(r"[a-z0-9-]+\.(added|changed|fixed|security)\.md")
PARAGRAPH: Final = re.compile(r"(\S.*\n)+")


def test_a_change_is_one_paragraph_under_a_name_with_a_kind() -> None:
    """Or it would be lost, or stand under the wrong heading."""
    for fragment in set(FOLDER.iterdir()) - {FOLDER / "README.md"}:
        text = fragment.read_text(encoding="utf-8")

        assert NAME.fullmatch(fragment.name), fragment
        assert PARAGRAPH.fullmatch(text), fragment
