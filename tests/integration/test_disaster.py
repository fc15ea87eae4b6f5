"""A spool that was damaged on its disk, taken up again as the manual says."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from submitd.spool.recovery import open_spool
from submitd.spool.sqlite import DATABASE, SqliteStore
from submitd.spool.store import Wanted
from tests.support.in_reactor import in_reactor
from tests.support.spooling import Spooling

MANUAL: Final = Path(__file__).resolve().parents[2] / "docs" / "operation.md"
PAGE: Final = 4096
pytestmark = [pytest.mark.integration, pytest.mark.peers("sqlite3")]


def commands() -> list[str]:
    """What the manual has typed about a disk that cannot be read well."""
    text = MANUAL.read_text("utf-8").partition("**A disk with a spool")[2]
    text = text.partition("**No directory.**")[0]
    return re.findall(r"^    (.+)$", text, re.MULTILINE)


def run(command: str, folder: Path) -> str:
    """Its output; that reading fails on the way is the point."""
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()


@in_reactor
async def test_what_a_broken_disk_has_left_of_the_queue_is_taken_up_again(
    tmp_path: Path,
) -> None:
    async with Spooling(tmp_path / "old") as s:
        accepted = {
            (await s.accept(body=b"x" * 3000 + b"\r\n")).queue_id for _ in range(100)
        }
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(tmp_path / "old" / "state" / DATABASE, copy)
    with (copy / DATABASE).open("r+b") as file:
        file.seek(60 * PAGE)
        file.write(b"\xa5" * 2 * PAGE)

    look, *mend = commands()
    assert run(look, copy) != "ok"
    for command in mend:
        run(command, copy)

    open_spool(copy).close()
    store = SqliteStore(copy)
    left = {entry.queue_id for entry in store.search(Wanted())}
    assert left < accepted
    assert len(left) >= 90
    assert store.standing().recipients == len(left)
    for queue_id in left:
        assert b"".join(store.read_body(queue_id)) == b"x" * 3000 + b"\r\n"
    store.close()
