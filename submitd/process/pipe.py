"""Questions and news between a supervisor and its workers: JSON, a line each.

Both ends are alike. ``ask`` waits for an answer, with a time-out; ``tell``
does not. A handler is a function of keyword arguments that returns a value,
or a Deferred of one.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

_LONGEST: Final = 16 * 1024 * 1024
"""Octets of one line: a whole configuration, or all metrics, fit in."""

Handlers = Mapping[str, Callable[..., Any]]


class NoAnswer(Exception):
    """The other end did not answer in time, or is gone, or failed."""


class Pipe(LineOnlyReceiver):
    """One end of the pipe."""

    delimiter = b"\n"
    MAX_LENGTH = _LONGEST

    def __init__(
        self, clock: IReactorTime, handlers: Handlers, on_lost: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._handlers = handlers
        self._on_lost = on_lost
        self._asked: dict[int, Deferred[Any]] = {}
        self._late: dict[int, Callable[[Any], object]] = {}
        self._next = 0

    def tell(self, name: str, /, **facts: object) -> None:
        """News for the other end."""
        if self.transport is not None:
            self._send([name, facts])

    async def ask(
        self,
        name: str,
        time_out: float,
        on_late: Callable[[Any], object] | None = None,
        /,
        **facts: object,
    ) -> Any:  # noqa: ANN401
        """The other end's answer, waited for ``time_out`` seconds.

        ``on_late`` gets an answer that comes when nobody waits any more.

        Raises:
            NoAnswer: there is none.
        """
        if self.transport is None:
            raise NoAnswer("the pipe is closed")
        self._next += 1
        number = self._next
        answer: Deferred[Any] = Deferred()
        self._asked[number] = answer

        def give_up() -> None:
            if on_late is not None:
                self._late[number] = on_late
            self._settle(number, error=f"no answer in {time_out:g} s")

        alarm = self._clock.callLater(time_out, give_up)
        self._send([name, facts, number])
        try:
            return await answer
        finally:
            if alarm.active():
                alarm.cancel()

    def hang_up(self) -> None:
        """End it; the other end sees it, too."""
        if self.transport is not None:
            self.transport.loseConnection()

    def lineReceived(self, line: bytes) -> None:
        name, facts, *rest = json.loads(line)
        if name == "":
            self._settle(rest[0], **facts)
            return
        answer = self._handlers[name](**facts)
        if rest:
            if isinstance(answer, Deferred):
                answer.addCallbacks(
                    lambda value: self._reply(rest[0], value=value),
                    lambda failure: self._reply(
                        rest[0], error=failure.getErrorMessage()
                    ),
                )
            else:
                self._reply(rest[0], value=answer)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        self.transport = None
        self._late.clear()
        for number in tuple(self._asked):
            self._settle(number, error="the other end is gone")
        self._on_lost()

    def _reply(self, number: int, **outcome: object) -> None:
        if self.transport is not None:
            self._send(["", outcome, number])

    def _send(self, message: list[object]) -> None:
        assert self.transport is not None  # noqa: S101
        self.transport.write(json.dumps(message).encode() + b"\n")

    def _settle(self, number: int, value: object = None, error: str = "") -> None:
        if (waiting := self._asked.pop(number, None)) is None:
            late = self._late.pop(number, None)
            if late is not None and not error:
                late(value)
            return
        if error:
            waiting.errback(NoAnswer(error))
        else:
            waiting.callback(value)
