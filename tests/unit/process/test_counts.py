from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from submitd.config.people import LogInSection
from submitd.config.sections import Config
from submitd.process.counts import Counts, SharedCounts, login_limits
from submitd.process.pipe import Pipe
from tests.support.recorded_events import RecordedEvents

BOTH: list[tuple[str, int | None]] = [("all", 3), ("host", 2)]


def test_each_of_several_limits_holds() -> None:
    counts = Counts()

    assert counts.take("w1", BOTH)
    assert counts.take("w2", BOTH)
    assert not counts.take("w1", BOTH)
    assert counts.take("w1", [("all", 3), ("other", 2)])
    assert not counts.take("w2", [("all", 3), ("third", 2)])


def test_a_refusal_takes_nothing() -> None:
    counts = Counts()
    counts.take("w1", [("host", 1)])

    assert not counts.take("w1", [("all", 1), ("host", 1)])
    assert counts.take("w1", [("all", 1)])


def test_without_a_limit_all_is_counted_and_nothing_refused() -> None:
    counts = Counts()

    assert all(counts.take("w1", [("all", None)]) for _ in range(100))
    assert not counts.take("w1", [("all", 100)])


def test_what_is_given_back_can_be_taken_again() -> None:
    counts = Counts()
    counts.take("w1", BOTH)
    counts.take("w1", BOTH)

    counts.give("w1", ["all", "host"])

    assert counts.take("w2", BOTH)
    assert not counts.take("w2", BOTH)


def test_nobody_gives_back_what_is_not_theirs() -> None:
    counts = Counts()
    counts.take("w1", [("all", 1)])

    counts.give("w2", ["all"])
    counts.give("w1", ["unknown"])

    assert not counts.take("w2", [("all", 1)])


def test_what_a_dead_worker_had_taken_is_free() -> None:
    counts = Counts()
    counts.take("w1", BOTH)
    counts.take("w1", BOTH)
    counts.take("w2", [("all", 3)])

    counts.forget("w1")
    counts.forget("unknown")

    assert counts.take("w2", BOTH)
    assert counts.take("w2", BOTH)
    assert not counts.take("w2", BOTH)


def test_nothing_is_kept_of_keys_that_nobody_holds() -> None:
    """Keys are clients' addresses: there is no end of them."""
    counts = Counts()
    for number in range(100):
        counts.take("w1", [(f"host{number}", 1)])
        counts.give("w1", [f"host{number}"])

    assert not counts._taken
    assert not counts._by_owner["w1"]


class Worker:
    """A worker's counts and the supervisor's, with the pipe between them."""

    def __init__(self, workers: int = 2) -> None:
        self.clock = Clock()
        self.events = RecordedEvents()
        self.counts = Counts()
        self.pipe = Pipe(self.clock, {}, lambda: None)
        self.shared = SharedCounts(self.pipe, workers, self.events)
        self._out = StringTransport()
        self.pipe.makeConnection(self._out)
        self._supervisor = Pipe(
            self.clock,
            {
                "claim": lambda keys: self.counts.claim("w1", keys),
                "give": lambda keys: self.counts.give("w1", keys),
            },
            lambda: None,
        )
        self._in = StringTransport()
        self._supervisor.makeConnection(self._in)

    def carry(self) -> None:
        """Let the supervisor hear, and answer."""
        while octets := self._out.value():
            self._out.clear()
            self._supervisor.dataReceived(octets)
            answers = self._in.value()
            self._in.clear()
            self.pipe.dataReceived(answers)

    def take(self, keys: list[tuple[str, int | None]], *, heard: bool = True) -> bool:
        """``heard``: the supervisor answers in time."""
        asking: Deferred[Any] = Deferred.fromCoroutine(self.shared.take(keys))
        outcome: list[bool] = []
        asking.addCallback(outcome.append)
        if heard:
            self.carry()
        else:
            self.clock.advance(1.0)
        (taken,) = outcome
        return taken


def test_a_workers_counts_are_its_supervisors() -> None:
    worker = Worker()
    worker.counts.take("w2", [("all", 2)])

    assert worker.take([("all", 2)])
    assert not worker.take([("all", 2)])
    worker.shared.give(["all"])
    worker.carry()
    assert worker.take([("all", 2)])
    assert worker.events.names == []


def test_without_its_supervisor_a_worker_keeps_to_its_share() -> None:
    worker = Worker(workers=2)

    assert worker.take([("all", 4), ("host", 1)], heard=False)
    assert not worker.take([("all", 4), ("host", 1)], heard=False)
    assert worker.take([("all", 4)], heard=False)
    assert not worker.take([("all", 4)], heard=False)
    assert worker.take([("free", None)], heard=False)
    assert set(worker.events.names) == {"supervisor-silent"}


def test_what_a_worker_counted_alone_it_gives_back_alone() -> None:
    worker = Worker(workers=1)
    worker.take([("all", 1)], heard=False)
    worker._out.clear()

    worker.shared.give(["all"])

    assert worker._out.value() == b""
    assert not worker.shared._alone
    assert worker.take([("all", 1)], heard=False)


def test_a_late_answer_of_the_supervisor_is_given_back() -> None:
    """Else what it counted would be held until the worker ends."""
    worker = Worker()

    assert worker.take([("all", 1)], heard=False)
    worker.carry()

    assert worker.counts.take("w2", [("all", 1)])


def test_a_late_refusal_gives_nothing_back() -> None:
    worker = Worker()
    assert worker.take([("all", 1)])

    worker.take([("all", 1)], heard=False)
    worker.carry()

    assert not worker.counts.take("w2", [("all", 1)])


def test_what_was_counted_alone_in_part_is_given_back_in_whole() -> None:
    """A place among all, taken alone, and one of its address, which was asked for."""
    worker = Worker(workers=1)
    assert worker.take([("all", 1)], heard=False)
    worker.carry()
    assert worker.take([("host", 1)])

    worker.shared.give(["all", "host"])
    worker.carry()

    assert worker.counts.take("w2", [("all", 1), ("host", 1)])
    assert worker.take([("all", 1)], heard=False)


def test_a_claim_says_which_key_was_used_up_and_takes_no_other() -> None:
    worker = Worker()
    worker.counts.take("w2", [("all", 2), ("host", 1)])

    def claim(keys: list[tuple[str, int | None]]) -> str | None:
        asking = Deferred.fromCoroutine(worker.shared.claim(keys))
        told: list[str | None] = []
        asking.addCallback(told.append)
        worker.carry()
        return told[0]

    assert claim([("host", 1), ("all", 2)]) == "host"
    assert claim([("all", 2)]) is None
    assert claim([("host", 1), ("all", 2)]) == "host"
    assert claim([("other", 1), ("all", 2)]) == "all"
    assert worker.counts.take("w2", [("other", 1)])


def test_the_limits_of_log_ins_are_those_configured() -> None:
    section = LogInSection(
        failures_per_address=7, failures_per_account=None, failures_per_network=9
    )

    limits = login_limits(evolve(Config(), log_in=section))

    assert (limits.per_address, limits.per_account) == (7, None)
    assert (limits.window, limits.delay) == (section.window, section.delay)
    assert limits.longest_delay == section.longest_delay
    assert limits.per_network == 9
    assert limits.refusal == section.refusal
    assert limits.longest_refusal == section.longest_refusal
