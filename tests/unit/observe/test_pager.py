"""The pager book has a page for all that can wake somebody."""

import re
from pathlib import Path
from typing import Final

import pytest

from submitd.observe import events
from submitd.observe.events import Level, LogEvent
from submitd.observe.metrics import Metrics

DOCS: Final = Path(__file__).resolve().parents[3] / "docs"
PAGES: Final = {
    page.stem: page.read_text()
    for page in (DOCS / "pager").glob("*.md")
    if page.stem != "index"
}
INDEX: Final = (DOCS / "pager" / "index.md").read_text()
RULES: Final = (DOCS / "examples" / "prometheus.rules.yml").read_text()
ALARMING: Final = sorted(
    event.name
    for event in vars(events).values()
    if isinstance(event, LogEvent) and event.level >= Level.WARN
)
OF_THE_SUPERVISOR: Final = {
    "up",
    "submitd_certificate_ends_timestamp_seconds",
    "submitd_logins_braked",
    "submitd_worker_deaths_total",
    "submitd_queue_messages",
    "submitd_queue_oldest_seconds",
}
"""What `tests/integration/test_whole_server.py` finds in ``/metrics``, and Prometheus'
own."""


@pytest.mark.parametrize("name", ALARMING)
def test_each_event_that_warns_has_one_page(name: str) -> None:
    (line,) = (line for line in INDEX.splitlines() if f"`{name}`" in line)
    page = re.search(r"\((.+)\.md\)", line)
    assert page is not None
    assert f"`{name}`" in PAGES[page[1]].split("**Check.**")[0].split("| what")[0]


@pytest.mark.parametrize("page", sorted(PAGES))
def test_each_page_tells_what_helps_and_when_it_is_over(page: str) -> None:
    text = PAGES[page]
    assert f"({page}.md)" in INDEX
    assert f"\n{page}\n" in INDEX
    for part in ("**Symptom.**", "**Over when**"):
        assert part in text, part
    assert re.search(r"\*\*(Cause and mend\.|Mend, in this order\.)\*\*", text)


def test_each_event_that_a_page_has_looked_for_is_one() -> None:
    """By its field: the text of an entry does not have its name."""
    known = {
        event.name for event in vars(events).values() if isinstance(event, LogEvent)
    }
    pages = "".join(PAGES.values())
    named = set(re.findall(r"SUBMITD_EVENT=([\w-]+)", pages))
    assert named <= known
    assert len(named) > 3
    assert not re.search(r"journalctl[^`\n]* -g ?'?[a-z]+-[a-z]+", pages)


def test_each_alert_names_a_page_that_names_it() -> None:
    alerts = re.findall(r"- alert: (\w+).*?\{page: ([\w-]+),", RULES, re.DOTALL)
    assert len(alerts) == RULES.count("- alert:")
    for alert, page in alerts:
        assert f"`{alert}`" in PAGES[page], alert


def test_each_alert_looks_at_figures_that_there_are() -> None:
    known = OF_THE_SUPERVISOR | {
        f"{family.name}{ending}"
        for family in Metrics().registry.collect()
        for ending in ("", "_total", "_bucket")
    }
    named = set(re.findall(r"\b(submitd_\w+|up)\b", RULES.replace("/", " ")))
    assert named <= known
    assert len(named) > 5
