"""The secret of log-ins: made once, kept, and made anew where it is damaged."""

from pathlib import Path

import pytest

from submitd.process.secret import FILE, kept_secret
from tests.support.recorded_events import RecordedEvents


def test_it_is_made_once_and_for_nobody_else_to_read(tmp_path: Path) -> None:
    events = RecordedEvents()
    made = kept_secret(tmp_path, events)
    assert len(made) == 32
    assert kept_secret(tmp_path, events) == made
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert events.names == ["log-in-secret-made"]
    assert made.hex() not in str(events.emitted)


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33])
def test_one_that_is_damaged_is_made_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    events = RecordedEvents()
    made = kept_secret(tmp_path, events)
    assert (len(made), made == content) == (32, False)
    assert kept_secret(tmp_path, events) == made
    assert events.names == ["log-in-secret-made"]
    reason = events.emitted[0][1]["reason"]
    assert reason == ("what was there had not 32 octets" if content else None)


def test_where_it_cannot_be_kept_the_server_starts_all_the_same(tmp_path: Path) -> None:
    events = RecordedEvents()
    (tmp_path / FILE).mkdir()
    assert len(kept_secret(tmp_path, events)) == 32
    assert kept_secret(tmp_path / "gone", events) != kept_secret(tmp_path, events)
    assert events.names == ["log-in-secret-unkept"] * 3
