"""Which worker makes room for which."""

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from submitd.process.counts import IN_ALL, Counts
from submitd.process.crowds import Crowds, OtherWorkers
from submitd.process.pipe import NoAnswer, Pipe
from tests.support.recorded_events import RecordedEvents


class Workers:
    """Answers of workers that are asked to make room, and who was asked."""

    def __init__(self, **answers: bool | Exception) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.late: list[Callable[[object], None]] = []
        self.meanwhile: Callable[[], None] = lambda: None
        self.counts = Counts()
        self.crowds = Crowds(self.counts, self.ask)
        for name in answers:
            self.counts.take(name, [(IN_ALL, None)])
            self.tell(name, is_here=True)

    async def ask(self, name: str, on_late: Callable[[object], None]) -> bool:
        self.asked.append(name)
        self.late.append(on_late)
        self.meanwhile()
        answer = self.answers[name]
        if isinstance(answer, Exception):
            raise answer
        if answer:
            # As a worker does whose client has gone.
            self.counts.give(name, [IN_ALL])
        return answer

    def tell(self, name: str, *, is_here: bool) -> None:
        self.crowds.handlers(name)["crowd"](is_here=is_here)

    def make_room(self, name: str) -> bool:
        found: list[bool] = []
        self.crowds.handlers(name)["make-room"]().addCallback(found.append)
        (answer,) = found
        return answer


def test_those_who_have_a_crowd_make_room_in_turn() -> None:
    workers = Workers(w1=True, w2=True)
    assert [workers.make_room("w3") for _ in range(3)] == [True] * 3
    assert workers.asked == ["w1", "w2", "w1"]


def test_nobody_is_asked_to_make_room_for_itself() -> None:
    workers = Workers(w1=True)
    assert not workers.make_room("w1")
    assert workers.asked == []


def has_a_place(workers: Workers, name: str) -> bool:
    """Its own, which is free when it ends."""
    most = 1
    assert not workers.counts.take("next", [(IN_ALL, most)])
    workers.counts.forget(name)
    return workers.counts.take("next", [(IN_ALL, most)])


def test_the_place_is_that_workers_which_has_asked() -> None:
    workers = Workers(w1=True)
    assert workers.make_room("w2")
    assert not has_a_place(workers, "w1")
    assert has_a_place(workers, "w2")


def test_one_that_is_silent_is_asked_again_when_it_has_answered() -> None:
    """All that it has been asked it will do when it wakes."""
    workers = Workers(w1=NoAnswer("no answer in 0.9 s"))
    assert [workers.make_room("w2") for _ in range(2)] == [False, False]
    assert workers.asked == ["w1"]
    (answered,) = workers.late
    answered(True)
    workers.make_room("w2")
    assert workers.asked == ["w1", "w1"]


def test_for_who_dies_while_it_waits_no_place_is_kept() -> None:
    """Nobody would ever give it back."""
    workers = Workers(w1=True)
    handlers = workers.crowds.handlers("w2")
    workers.meanwhile = lambda: workers.crowds.forget("w2")
    found: list[bool] = []
    handlers["make-room"]().addCallback(found.append)
    assert found == [False]
    assert workers.counts.take("next", [(IN_ALL, 1)])


def test_who_is_gone_when_its_turn_comes_is_not_asked() -> None:
    workers = Workers(w1=False, w2=True)
    workers.meanwhile = lambda: workers.crowds.forget("w2")
    assert not workers.make_room("w3")
    assert workers.asked == ["w1"]


def lose_it(workers: Workers) -> None:
    workers.tell("w1", is_here=False)


def end(workers: Workers) -> None:
    workers.crowds.forget("w1")


@pytest.mark.parametrize("happens", [lose_it, end])
def test_who_has_no_crowd_any_more_is_not_asked(
    happens: Callable[[Workers], None],
) -> None:
    workers = Workers(w1=True)
    happens(workers)
    assert not workers.make_room("w2")
    assert workers.asked == []


@pytest.mark.parametrize("answer", [False, NoAnswer("no answer in 0.9 s")])
def test_where_one_makes_no_room_the_next_one_does(answer: bool | Exception) -> None:
    workers = Workers(w1=answer, w2=True)
    assert workers.make_room("w3")
    assert workers.asked == ["w1", "w2"]


def test_a_supervisor_that_is_silent_makes_no_room() -> None:
    clock, events, wire = Clock(), RecordedEvents(), StringTransport()
    pipe = Pipe(clock, {}, lambda: None)
    pipe.makeConnection(wire)
    found: list[Any] = []
    Deferred.fromCoroutine(OtherWorkers(pipe, 2, events).make_room()).addCallback(
        found.append
    )
    assert found == []
    clock.advance(2)
    assert found == [False]
    assert events.names == ["supervisor-silent"]
    # What it made in the end is nobody's.
    wire.clear()
    pipe.lineReceived(b'["", {"value": true}, 1]')
    assert wire.value() == b'["give", {"keys": ["connections"]}]\n'
