import json
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from submitd.process.pipe import Handlers, NoAnswer, Pipe


class Ends:
    """A supervisor's and a worker's end, with what is between them."""

    def __init__(self, handlers: Handlers) -> None:
        self.clock = Clock()
        self.lost: list[str] = []
        self.here = Pipe(self.clock, {}, lambda: self.lost.append("here"))
        self.there = Pipe(self.clock, handlers, lambda: self.lost.append("there"))
        self._transports = {one: StringTransport() for one in (self.here, self.there)}
        for pipe, transport in self._transports.items():
            pipe.makeConnection(transport)

    def written(self, pipe: Pipe) -> bytes:
        octets: bytes = self._transports[pipe].value()
        return octets

    def carry(self) -> None:
        """Carry what was written, cut into small pieces, until all is said."""
        ends = ((self.here, self.there), (self.there, self.here))
        while any(transport.value() for transport in self._transports.values()):
            for sender, receiver in ends:
                octets = self.written(sender)
                self._transports[sender].clear()
                for at in range(0, len(octets), 7):
                    receiver.dataReceived(octets[at : at + 7])

    def ask(self, name: str, **facts: object) -> "Asked":
        return Asked(Deferred.fromCoroutine(self.here.ask(name, 1.0, None, **facts)))


class Asked:
    """What a question comes to."""

    def __init__(self, asking: "Deferred[Any]") -> None:
        self.answer: object = None
        self.refusal: str = ""
        asking.addCallbacks(
            lambda value: setattr(self, "answer", value),
            lambda failure: setattr(self, "refusal", failure.getErrorMessage()),
        )
        self.failure = asking


def test_news_arrive_with_their_facts_and_are_not_answered() -> None:
    heard: list[object] = []
    ends = Ends({"news": lambda **facts: heard.append(facts)})

    ends.here.tell("news", text="a\nb", number=1)
    ends.carry()

    assert heard == [{"text": "a\nb", "number": 1}]


def test_a_message_is_one_line_of_json() -> None:
    ends = Ends({})

    ends.here.tell("news", text="a\nb")

    line = ends.written(ends.here)
    assert line.endswith(b"\n")
    assert json.loads(line) == ["news", {"text": "a\nb"}]
    assert line.count(b"\n") == 1


def test_answers_find_their_questions_whatever_their_order() -> None:
    slow: Deferred[str] = Deferred()
    ends = Ends({"slow": lambda: slow, "quick": lambda number: number + 1})

    first = ends.ask("slow")
    second = ends.ask("quick", number=4)
    ends.carry()
    assert (first.answer, second.answer) == (None, 5)

    slow.callback("done")
    ends.carry()
    assert first.answer == "done"


def test_a_handler_that_fails_later_is_no_answer() -> None:
    slow: Deferred[str] = Deferred()
    ends = Ends({"slow": lambda: slow})

    asked = ends.ask("slow")
    ends.carry()
    slow.errback(Failure(ValueError("the disk is full")))
    ends.carry()

    assert asked.refusal == "the disk is full"


def test_a_question_is_not_waited_for_without_end() -> None:
    ends = Ends({"quick": lambda: 1})

    asked = ends.ask("quick")
    ends.clock.advance(1.0)
    assert asked.refusal == "no answer in 1 s"

    ends.carry()
    assert asked.answer is None


def test_an_answer_in_time_leaves_no_alarm_behind() -> None:
    ends = Ends({"quick": lambda: 1})

    ends.ask("quick")
    ends.carry()

    assert ends.clock.getDelayedCalls() == []


@pytest.mark.parametrize(("fails", "heard"), [(False, ["late"]), (True, [])])
def test_an_answer_that_comes_too_late_can_still_be_heard(
    *, fails: bool, heard: list[str]
) -> None:
    slow: Deferred[str] = Deferred()
    ends = Ends({"slow": lambda: slow})
    late: list[str] = []

    asked = Asked(Deferred.fromCoroutine(ends.here.ask("slow", 1.0, late.append)))
    ends.clock.advance(1.0)
    ends.carry()
    if fails:
        slow.errback(Failure(ValueError("x")))
    else:
        slow.callback("late")
    ends.carry()

    assert asked.refusal == "no answer in 1 s"
    assert late == heard


def test_when_the_other_end_is_gone_all_questions_end() -> None:
    ends = Ends({})
    first, second = ends.ask("a"), ends.ask("b")

    ends.here.connectionLost(Failure(ConnectionDone()))

    assert first.refusal == second.refusal == "the other end is gone"
    assert ends.lost == ["here"]
    assert ends.ask("c").refusal == "the pipe is closed"


def test_news_for_an_end_that_is_gone_are_dropped() -> None:
    ends = Ends({})
    ends.here.connectionLost(Failure(ConnectionDone()))

    ends.here.tell("news")

    assert ends.written(ends.here) == b""


def test_an_answer_for_an_end_that_is_gone_is_dropped() -> None:
    slow: Deferred[str] = Deferred()
    ends = Ends({"slow": lambda: slow})
    ends.ask("slow")
    ends.carry()

    ends.there.connectionLost(Failure(ConnectionDone()))
    slow.callback("nobody hears it")

    assert ends.written(ends.there) == b""


def test_no_answer_is_an_exception_of_its_own() -> None:
    ends = Ends({})
    asking = Deferred.fromCoroutine(ends.here.ask("a", 1.0))
    failures: list[Failure] = []
    asking.addErrback(failures.append)

    ends.clock.advance(1.0)

    assert [one.type for one in failures] == [NoAnswer]
