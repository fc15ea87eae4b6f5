"""A program that uses a spool on a disk that fails; see faults.c.

    python -m tests.support.faulty_spool each HOW ROOT [crashed|gone|again]
    python -m tests.support.faulty_spool once WHICH HOW FOLDER

HOW is an errno, or 0 for kill -9. ``each`` lets the first call fail, then, in
another process with another spool, the second one, and so on until none is
left; spools are in ROOT/disk, what was said of them is in ROOT/said. With
``crashed`` they are not made anew: each is a copy of one that a kill left. With
``gone`` the process ends as if killed where it first met the fault. With
``again`` only starts meet faults; another process uses the spool after each,
and is killed. What was acknowledged, refused and settled is said in lines of
JSON.
"""

import ctypes
import json
import os
import queue
import shutil
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeVar

from attrs import define
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from submitd.spool import committer
from submitd.spool.recovery import OpenSpool, open_spool
from submitd.spool.spool import SqliteSpool
from submitd.spool.store import Report, Result, Spooled, SpoolUnavailable, State
from tests.support.spooling import NOW, message, result

T = TypeVar("T")

MESSAGES: Final = 6
CHUNKED: Final = (1, 3)
"""These messages are stored in chunks."""

_PIECE: Final = 6000
_AT_ONCE: Final = 2
_SHIM: Final = ctypes.CDLL(None)


def body_of(number: int) -> bytes:
    """What the message of this number says."""
    return b"%d" % number * (2 * _PIECE + 5 if number in CHUNKED else 1000)


class OneThread:
    """The part of a reactor that the spool needs, run by who waits."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()

    def callFromThread(  # noqa: N802, Twisted calls this
        self,
        call: Callable[..., object],
        *arguments: object,
        **named: object,
    ) -> None:
        self._calls.put(lambda: call(*arguments, **named))

    def wait(self, steps: Coroutine[Deferred[Any], Any, T]) -> T:
        """What it returns; it raises what it raises."""
        outcome: list[Any] = []
        Deferred.fromCoroutine(steps).addBoth(outcome.append)
        while not outcome:
            self._calls.get(timeout=30)()
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        found: T = outcome[0]
        return found


def say(what: str, **facts: object) -> None:
    """One line, in its place among what the disk was told."""
    line = json.dumps({"what": what, **facts}).encode()
    _SHIM.faults_say(line)
    os.write(1, line + b"\n")


def left() -> int:
    """How many calls away the fault still is."""
    found: int = _SHIM.faults_left()
    return found


@define
class Use:
    """One process' use of a spool."""

    folder: Path
    reactor: OneThread
    spool: SqliteSpool
    gone: bool

    def work(self, messages: int) -> None:
        """Go on with what is there; accept, and settle some of it."""
        for one in self.claim():
            self.settle(one.queue_id, [result(one.recipients[0].number)])
        for number in range(messages):
            try:
                self.message(number)
            except SpoolUnavailable as problem:
                self.refused(problem)
            # So that the log is moved into the database between any two.
            self.spool._committer._log.shorten()

    def refused(self, problem: SpoolUnavailable) -> None:
        say("unavailable", kind=type(problem).__name__, why=str(problem))
        if self.gone:
            os._exit(0)

    def claim(self) -> Sequence[Spooled]:
        """What is due: an earlier process left it."""
        while True:
            try:
                return self.reactor.wait(self.spool.claim_due(NOW, 10))
            except SpoolUnavailable as problem:
                self.refused(problem)

    def message(self, number: int) -> None:
        """One is accepted, then, where its number says so, settled."""
        queue_id = self.reactor.wait(self.accept(number))
        if number == 1:
            self.settle(queue_id, [result(0), result(1)])
        elif number == 2:
            self.settle(queue_id, [result(0)])
        elif number == 4:
            report = self.spool.open_intake()
            told = message(report, submitter=None, session=queue_id)
            self.settle(
                queue_id, [result(0, State.FAILED)], [Report(message=told, body=b"why")]
            )
        elif number == 5:
            self.reactor.wait(self.upload_in_vain())

    async def accept(self, number: int) -> str:
        """The queue id of a message that was acknowledged."""
        intake = self.spool.open_intake()
        body = body_of(number)
        say("accepting", id=intake.queue_id, number=number)
        try:
            while len(body) > _PIECE:
                await intake.write(body[:_PIECE])
                body = body[_PIECE:]
            await intake.accept(message(intake, "bob", "carol"), body)
        except SpoolUnavailable:
            await intake.abandon()
            say("refused", id=intake.queue_id)
            raise
        say("acknowledged", id=intake.queue_id)
        return intake.queue_id

    async def upload_in_vain(self) -> None:
        """A client goes away inside its message."""
        intake = self.spool.open_intake()
        await intake.write(b"x" * _PIECE)
        await intake.abandon()

    def settle(
        self, queue_id: str, results: list[Result], reports: Sequence[Report] = ()
    ) -> None:
        """Record, as often as it needs."""
        say(
            "settling",
            id=queue_id,
            states={one.number: one.state.value for one in results},
            reports=[one.message.queue_id for one in reports],
        )
        while True:
            try:
                self.reactor.wait(self.spool.record(queue_id, results, reports))
            except SpoolUnavailable as problem:
                self.refused(problem)
            else:
                break
        say("settled", id=queue_id)


def opened(folder: Path, *, gone: bool) -> OpenSpool:
    """A start; the second one where the first fails."""
    try:
        return open_spool(folder)
    except SpoolUnavailable as problem:
        say("unusable", why=str(problem))
        if gone:
            os._exit(0)
    return open_spool(folder)


def run(
    folder: Path, owner: str, messages: int, *, gone: bool = False, crash: bool = False
) -> None:
    """A server's life. ``crash``: it ends inside an upload, without a word."""
    holder = opened(folder, gone=gone)
    reactor = OneThread()
    spool = SqliteSpool(reactor, folder, owner, number=0, reserve=0)  # type: ignore[arg-type]
    spool.start()
    Use(folder, reactor, spool, gone).work(messages)
    if crash:
        reactor.wait(spool.open_intake().write(b"x" * _PIECE))
        os._exit(0)
    spool.stop()
    holder.close()
    say("closed")


def apart(said: Path, work: Callable[[], None]) -> int:
    """Begin it in a process of its own; gives the id to wait for."""
    if (child := os.fork()) == 0:
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
        try:
            work()
        except BaseException as problem:
            say("broken", why=repr(problem))
            raise
        finally:
            os._exit(0)
    return child


def each(how: int, root: Path, mode: str = "") -> None:
    """One fault after the other, until there is no call left that could fail."""
    disk, said = root / "disk", root / "said"
    crashed = mode == "crashed"
    if crashed:
        use = partial(run, disk / "image", "dead", MESSAGES, crash=True)
        os.waitpid(apart(said / "image", use), 0)
    under_way: deque[tuple[int, Path]] = deque()
    for which in count(1):
        folder, told = disk / str(which) / "state", said / str(which)
        if crashed:
            shutil.copytree(disk / "image", folder)
            shutil.copy(said / "image", told)

        def with_fault(which: int = which, folder: Path = folder) -> None:
            _SHIM.faults_arm(ctypes.c_long(which), how)
            # Behind the start nothing differs much from one that found nothing.
            messages = 2 if crashed else 0 if mode == "again" else MESSAGES
            run(folder, "owner", messages, gone=mode == "gone")
            say("left", calls=left())

        under_way.append((apart(told, with_fault), told))
        if len(under_way) == _AT_ONCE:
            child, told = under_way.popleft()
            os.waitpid(child, 0)
            if was_spared(read_said(told)):
                break
    for child, _ in under_way:
        os.waitpid(child, 0)
    if mode == "again":
        for told in said.iterdir():
            use = partial(
                run, disk / told.name / "state", "later", MESSAGES, crash=True
            )
            os.waitpid(apart(told, use), 0)


def was_spared(lines: list[dict[str, Any]]) -> bool:
    """The call that was to fail was never made."""
    return any(line.get("calls") for line in lines)


def read_said(path: Path) -> list[dict[str, Any]]:
    """What a process said."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def main(arguments: list[str]) -> None:
    # What a busy server comes to in an hour is met within a few messages.
    committer._CHECKPOINT_PERIOD = 3600  # type: ignore[misc]
    committer._LOG_SMALL = 0  # type: ignore[misc]
    committer._LOG_LARGE = 40_000  # type: ignore[misc]
    committer._FREE_PAGES = 2  # type: ignore[misc]
    match arguments:
        case ["each", how, root, *mode]:
            each(int(how), Path(root), *mode)
        case ["once", which, how, folder]:
            _SHIM.faults_arm(ctypes.c_long(int(which)), int(how))
            run(Path(folder), f"owner-{os.getpid()}", MESSAGES)
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
