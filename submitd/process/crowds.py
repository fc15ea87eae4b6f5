"""Making room in one worker for who has come to another.

A worker ranks the strangers that the kernel gave it. Where these are few, and all
places are taken, the crowd is elsewhere: the supervisor knows which workers have one,
and has one of them send somebody away.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final

from twisted.internet.defer import Deferred

from submitd.observe.events import SUPERVISOR_SILENT, Events
from submitd.process.pipe import NoAnswer, Pipe

MAKE_ROOM: Final = "make-room"
"""What a worker asks the supervisor, and the supervisor a worker."""

_CROWD: Final = "crowd"
_PATIENCE: Final = 2.0
"""Seconds that a worker waits for the supervisor …"""

ITS_PATIENCE: Final = 1.5
"""… and the supervisor for a worker."""


class OtherWorkers:
    """A worker's way to the strangers of the others (`Elsewhere`)."""

    def __init__(self, pipe: Pipe, events: Events) -> None:
        self._pipe = pipe
        self._events = events

    def crowded(self, *, is_here: bool) -> None:
        """As `Elsewhere.crowded`."""
        self._pipe.tell(_CROWD, is_here=is_here)

    async def make_room(self) -> bool:
        """As `Elsewhere.make_room`."""
        try:
            return bool(await self._pipe.ask(MAKE_ROOM, _PATIENCE))
        except NoAnswer as problem:
            self._events.emit(SUPERVISOR_SILENT, reason=str(problem))
            return False


class Crowds:
    """The workers that have a crowd, as the supervisor knows them."""

    def __init__(self, ask: Callable[[str], Awaitable[Any]]) -> None:
        """``ask`` a worker to make room: True where it did. Raises NoAnswer."""
        self._ask = ask
        self._crowded: OrderedDict[str, None] = OrderedDict()

    def handlers(self, worker: str) -> dict[str, Callable[..., Any]]:
        """What a worker asks and tells."""

        def crowd(*, is_here: bool) -> None:
            if is_here:
                self._crowded[worker] = None
            else:
                self.forget(worker)

        return {
            _CROWD: crowd,
            MAKE_ROOM: lambda: Deferred.fromCoroutine(self._make_room(worker)),
        }

    def forget(self, worker: str) -> None:
        """It has no crowd any more, or is gone."""
        self._crowded.pop(worker, None)

    async def _make_room(self, worker: str) -> bool:
        """Have one of the others send one of its crowd away: each in turn."""
        for other in [one for one in self._crowded if one != worker]:
            if other in self._crowded:
                self._crowded.move_to_end(other)
            try:
                if await self._ask(other):
                    return True
            except NoAnswer:
                continue  # the next one may; why it is silent its pulse tells
        return False
