"""The spool on a disk that fails at each call in turn, and after power cuts."""

import errno
import json
import os
import random
import shutil
import signal
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
from tests.support.faulty_spool import (
    MESSAGES,
    OneThread,
    body_of,
    read_said,
    was_spared,
)
from tests.support.power_cut import Disk, read_record
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
        queue_id: str = line.get("id", "")
        match line["what"]:
            case "accepting":
                self.messages[queue_id] = [None, {0: "queued", 1: "queued"}]
                self.bodies[queue_id] = body_of(line["number"])
            case "refused":
                self.messages[queue_id] = [None]
            case "acknowledged":
                self.messages[queue_id] = [{0: "queued", 1: "queued"}]
            case "settling":
                # A process before this one may have died in the middle of it.
                (before,) = (
                    one
                    for one in self.messages[queue_id]
                    if first_queued(one) in line["states"]
                )
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


def first_queued(standing: Standing) -> str:
    """The recipient that is settled next."""
    states = standing or {}
    return next((str(one) for one, what in states.items() if what == "queued"), "")


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


Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, peer: Callable[[str], Path]) -> Run:
    """Runs the program with the disk that fails."""
    shim = tmp_path / "faults.so"
    subprocess.run(
        [peer("gcc"), "-shared", "-fPIC", "-o", shim, SUPPORT / "faults.c"], check=True
    )
    for name in ("disk", "said"):
        (tmp_path / name).mkdir()

    def program(*arguments: object, **environment: str) -> int:
        ended = subprocess.run(
            [sys.executable, "-m", "tests.support.faulty_spool", *map(str, arguments)],
            check=False,
            stdout=subprocess.DEVNULL,
            cwd=SUPPORT.parents[1],
            env=os.environ
            | {"LD_PRELOAD": str(shim), "FAULTS_BELOW": str(tmp_path / "disk")}
            | environment,
        )
        return ended.returncode

    return program


def outcomes(root: Path, least: int = 150) -> Iterable[tuple[Path, list[Line]]]:
    """For each fault its spool, and what was said.

    ``least``: not fewer calls than there were when this was written, about.
    """
    told = sorted((root / "said").glob("[0-9]*"), key=lambda one: int(one.name))
    all_ = [(root / "disk" / one.name / "state", read_said(one)) for one in told]
    faulted = [one for one in all_ if not was_spared(one[1])]
    # The next one was not met any more: none is left out.
    assert faulted == all_[: len(faulted)]
    assert len(faulted) < len(all_)
    assert len(faulted) > least
    return all_


def promised_by(lines: Iterable[Line]) -> Promised:
    promised = Promised()
    for line in lines:
        promised.hear(line)
    return promised


@pytest.mark.rfc("5321", "6.1")
@pytest.mark.parametrize("start", ["fresh", "crashed"])
def test_a_kill_at_any_call_loses_nothing(tmp_path: Path, run: Run, start: str) -> None:
    """After 250 the message is ours, whatever happens to us."""
    assert run("each", KILL, tmp_path, start) == 0
    for folder, lines in outcomes(tmp_path):
        promised_by(lines).hold(folder)
        serves(folder)


@pytest.mark.parametrize("start", ["fresh", "crashed"])
@pytest.mark.parametrize("fault", [errno.EIO, errno.ENOSPC])
def test_a_fault_at_any_call_is_told_and_service_goes_on(
    tmp_path: Path, run: Run, fault: int, start: str
) -> None:
    """One message is refused at most, and what it left is never found again."""
    assert run("each", fault, tmp_path, start) == 0
    told = 0
    asked = MESSAGES + 2 if start == "crashed" else MESSAGES
    for folder, lines in outcomes(tmp_path):
        said = [line["what"] for line in lines]
        assert said.count("refused") <= 1
        assert said.count("acknowledged") == asked - said.count("refused")
        assert said[-2:] == ["closed", "left"]
        told += bool({"unavailable", "unusable"} & set(said))
        promised_by(lines).hold(folder)
        serves(folder)
    assert told > 75


def test_what_was_refused_stays_away_when_the_server_dies_at_once(
    tmp_path: Path, run: Run
) -> None:
    """A commit that was written but not synced is not found by the next start:
    the client was told 451 and sends it again.
    """
    assert run("each", errno.EIO, tmp_path, "gone") == 0
    refused = 0
    for folder, lines in outcomes(tmp_path):
        refused += any(line["what"] == "refused" for line in lines)
        promised_by(lines).hold(folder)
    assert refused > 75


@pytest.mark.rfc("5321", "6.1")
def test_a_power_cut_at_any_moment_loses_nothing(tmp_path: Path, run: Run) -> None:
    """What was not synced is lost, or kept in parts, in any order."""
    disk, record = tmp_path / "disk", tmp_path / "record"
    state = disk / "below" / "it" / "state"
    logged = {"FAULTS_LOG": str(record)}
    assert run("once", 195, KILL, state, **logged) == -signal.SIGKILL
    assert run("once", 0, KILL, state, **logged) == 0
    chance = random.Random(4711)
    model = Disk(disk)
    promised = Promised()
    cuts = 0

    def cut(chance: random.Random | None = None, *, pending: bool = False) -> None:
        nonlocal cuts
        cuts += 1
        shutil.rmtree(disk)
        model.leave(disk, chance, pending=pending)
        promised.hold(state)

    for number, told in enumerate(read_record(record)):
        if told.kind == "!":
            promised.hear(json.loads(told.name))
        elif told.kind == "s":
            for _ in range(3):
                cut(chance, pending=True)
        model.hear(told)
        if told.kind == "s":
            cut()
        elif number % 4 == 0:
            cut(chance, pending=True)
    cut(pending=True)
    assert len(promised.messages) > 2 * MESSAGES - 3
    assert cuts > 200


def test_a_start_that_was_killed_leaves_nothing_unsynced_to_the_next(
    tmp_path: Path, run: Run
) -> None:
    """Folders and files that it made are no less durable than the next one's."""
    record = tmp_path / "record"
    assert run("each", KILL, tmp_path, "again", FAULTS_LOG=str(record)) == 0
    disk = tmp_path / "disk"
    model = Disk(disk)
    for told in read_record(record):
        model.hear(told)
    shutil.rmtree(disk)
    model.leave(disk)
    for folder, lines in outcomes(tmp_path, least=40):
        promised_by(lines).hold(folder)
