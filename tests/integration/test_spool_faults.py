"""The spool on a disk that fails at each call in turn, and after power cuts."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import pytest
from attrs import define, field

from submitd.spool.recovery import open_spool
from submitd.spool.spool import SqliteSpool
from submitd.spool.sqlite import SqliteStore
from submitd.spool.store import QueueEntry, Wanted
from tests.support.faulty_spool import MESSAGES, OneThread, body_of, read_said
from tests.support.spooling import message

pytestmark = [pytest.mark.integration, pytest.mark.peers("gcc")]

KILL: Final = 0
SUPPORT: Final = Path(__file__).parents[1] / "support"
HEADER: Final = b"Subject: x\r\n\r\n"

Standing = dict[int, str] | None
"""What is recorded of a message's recipients; None: it is not in the queue."""

Line = dict[str, Any]


@define
class Promised:
    """What a spool must hold after what was said of it."""

    messages: dict[str, list[Standing]] = field(factory=dict)
    """By queue id, what may be found; more than one where the end was sudden."""

    bodies: dict[str, bytes] = field(factory=dict)
    reports: dict[str, str] = field(factory=dict)
    """About which message, where it may just have been recorded."""

    def hear(self, line: Line) -> None:
        """One more line."""
        queue_id = line.get("id", "")
        match line["what"]:
            case "accepting":
                self.messages[queue_id] = [None, {0: "queued", 1: "queued"}]
                self.bodies[queue_id] = body_of(line["number"])
            case "refused":
                self.messages[queue_id] = [None]
            case "acknowledged":
                self.messages[queue_id] = [{0: "queued", 1: "queued"}]
            case "settling":
                (before,) = self.messages[queue_id]
                self.messages[queue_id] = [before, after_it(before, line["states"])]
                self.reports = dict.fromkeys(line["reports"], queue_id)
            case "settled":
                del self.messages[queue_id][0]
                for report in self.reports:
                    self.messages[report] = [{0: "queued"}]
                self.reports = {}
            case "broken":
                raise AssertionError(line["why"])

    def hold(self, folder: Path) -> None:
        """Open the spool as a start does; everything promised must be there."""
        open_spool(folder).close()
        store = SqliteStore(folder)
        try:
            found = {one.queue_id: one for one in store.search(Wanted())}
            found_whole(store, found, self.bodies)
            standings = {key: standing_of(one) for key, one in found.items()}
            for queue_id, allowed in self.messages.items():
                assert standings.get(queue_id) in allowed, queue_id
            for report, about in self.reports.items():
                recorded = standings.get(about) == self.messages[about][1]
                assert (report in found) == recorded
            assert found.keys() <= self.messages.keys() | self.reports.keys()
            assert ask(store, "PRAGMA integrity_check") == "ok"
            assert ask(store, "SELECT count(*) FROM intake") == 0
            for table in ("chunk", "recipient", "event"):
                orphans = f"{table} WHERE message NOT IN (SELECT id FROM message)"
                assert ask(store, f"SELECT count(*) FROM {orphans}") == 0, table
            leased = "SELECT count(*) FROM recipient WHERE lease IS NOT NULL"
            assert ask(store, leased) == 0
        finally:
            store.close()


def after_it(before: Standing, states: dict[str, str]) -> Standing:
    """When these states are recorded."""
    assert before is not None
    after = before | {int(number): state for number, state in states.items()}
    return after if "queued" in after.values() else None


def found_whole(
    store: SqliteStore, found: dict[str, QueueEntry], bodies: dict[str, bytes]
) -> None:
    """Octet for octet, to those whom it was for."""
    for queue_id, entry in found.items():
        assert str(entry.reverse_path) == "alice@example.org"
        assert store.read_header(queue_id) == HEADER
        body = b"".join(store.read_body(queue_id))
        to = [str(one.forward_path.mailbox) for one in entry.recipients]
        if entry.submitter is None:
            assert (body, to) == (b"why", ["bob@example.net"])
        else:
            assert body == bodies[queue_id]
            assert to == ["bob@example.net", "carol@example.net"]


def standing_of(entry: QueueEntry) -> Standing:
    return {one.number: one.state.value for one in entry.recipients}


def ask(store: SqliteStore, question: str) -> object:
    (answer,) = store._connection.execute(question).fetchone()
    return answer


def serves(folder: Path) -> None:
    """A message is accepted, and is there."""
    holder = open_spool(folder)
    reactor = OneThread()
    spool = SqliteSpool(reactor, folder, "after", number=1, reserve=0)  # type: ignore[arg-type]
    spool.start()
    intake = spool.open_intake()
    reactor.wait(intake.accept(message(intake), b"afterwards"))
    assert reactor.wait(spool.read_chunk(intake.queue_id, 0)) == b"afterwards"
    spool.stop()
    holder.close()


Run = Callable[..., None]


@pytest.fixture
def run(tmp_path: Path, peer: Callable[[str], Path]) -> Run:
    """Runs the program with the disk that fails."""
    shim = tmp_path / "faults.so"
    subprocess.run(
        [peer("gcc"), "-shared", "-fPIC", "-o", shim, SUPPORT / "faults.c"], check=True
    )
    for name in ("disk", "said"):
        (tmp_path / name).mkdir()

    def program(*arguments: object, **environment: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "tests.support.faulty_spool", *map(str, arguments)],
            check=True,
            cwd=SUPPORT.parents[1],
            env=os.environ
            | {"LD_PRELOAD": str(shim), "FAULTS_BELOW": str(tmp_path / "disk")}
            | environment,
        )

    return program


def outcomes(root: Path) -> Iterable[tuple[Path, list[Line]]]:
    """For each fault its spool, and what was said; none is without one."""
    told = sorted((root / "said").glob("[0-9]*"), key=lambda one: int(one.name))
    *faulted, unharmed = [(root / "disk" / one.name, read_said(one)) for one in told]
    assert unharmed[1][-1]["calls"] > 0
    # Not fewer than there were when this was written, about.
    assert len(faulted) > 250
    return [*faulted, unharmed]


@pytest.mark.parametrize("start", ["fresh", "crashed"])
def test_a_kill_at_any_call_loses_nothing(tmp_path: Path, run: Run, start: str) -> None:
    """RFC 5321 section 6.1: after 250 the message is ours."""
    run("each", KILL, tmp_path, start)
    for folder, lines in outcomes(tmp_path):
        promised = Promised()
        for line in lines:
            promised.hear(line)
        promised.hold(folder)
        serves(folder)


@pytest.mark.parametrize("start", ["fresh", "crashed"])
@pytest.mark.parametrize("fault", [errno.EIO, errno.ENOSPC])
def test_a_fault_at_any_call_is_told_and_service_goes_on(
    tmp_path: Path, run: Run, fault: int, start: str
) -> None:
    run("each", fault, tmp_path, start)
    met = 0
    for folder, lines in outcomes(tmp_path):
        promised = Promised()
        for line in lines:
            promised.hear(line)
        lives = 2 if start == "crashed" else 1
        said = [line["what"] for line in lines]
        assert said.count("refused") <= 1
        assert said.count("acknowledged") == lives * MESSAGES - said.count("refused")
        assert said[-2:] == ["closed", "left"]
        met += bool({"unavailable", "unusable"} & set(said))
        promised.hold(folder)
        serves(folder)
    assert met > 100
