"""Links among our own pages lead somewhere; Sphinx sees those below docs/ only."""

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
LINK: Final = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]+)(#[\w-]+)?\)")
PAGES: Final = sorted(
    str(page.relative_to(ROOT))
    for pattern in ("*.md", "docs/**/*.md", "changes.d/*.md")
    for page in ROOT.glob(pattern)
)


@pytest.mark.parametrize("page", PAGES)
def test_each_link_leads_to_a_file(page: str) -> None:
    file = ROOT / page
    targets = [found[1] for found in LINK.finditer(file.read_text("utf-8"))]
    assert [one for one in targets if not (file.parent / one).exists()] == []


def test_there_are_pages_with_links() -> None:
    assert len(PAGES) > 30
    assert (
        sum(len(LINK.findall((ROOT / page).read_text("utf-8"))) for page in PAGES) > 50
    )
