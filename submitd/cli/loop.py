"""Commands that ask the network run in a reactor, once, with an end to waiting."""

import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.python.failure import Failure

from submitd.observe.events import Level
from submitd.observe.log import EventLog, Form

T = TypeVar("T")


class TookTooLong(Exception):
    """The command did not come to an end in its time."""


def to_standard_error(level: Level) -> EventLog:
    """Events of ``level`` and above, as lines beside the command's output."""
    return EventLog(lambda line: print(line, file=sys.stderr), Form.HUMAN, level)


def run_in_reactor(work: Callable[[Any], Coroutine[Any, Any, T]], time_out: float) -> T:
    """What ``work`` returns, given the reactor; ``time_out`` in seconds.

    Only once in a process: reactors do not start again.

    Raises:
        TookTooLong: it did not return in time.
        Exception: what ``work`` raises.
    """
    from twisted.internet import reactor

    outcome: list[Any] = []

    def begin() -> None:
        doing: Deferred[Any] = Deferred.fromCoroutine(work(reactor))
        doing.addTimeout(time_out, reactor)
        doing.addBoth(outcome.append)
        doing.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    if not outcome:
        raise KeyboardInterrupt
    (result,) = outcome
    if isinstance(result, Failure):
        if result.check(TimedOut):
            raise TookTooLong(f"it took longer than {time_out:g} s")
        result.raiseException()
    return result  # type: ignore[no-any-return]
