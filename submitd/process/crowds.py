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
from submitd.process.counts import IN_ALL, Counts
from submitd.process.pipe import NoAnswer, Pipe

MAKE_ROOM: Final = "make-room"
"""What a worker asks the supervisor, and the supervisor a worker."""

_CROWD: Final = "crowd"
_PATIENCE: Final = 2.0
"""Seconds that a worker waits for the supervisor …"""

ITS_PATIENCE: Final = 0.9
"""… and the supervisor for a worker."""


class OtherWorkers:
    """A worker's way to the strangers of the others (`Elsewhere`)."""

    def __init__(self, pipe: Pipe, workers: int, events: Events) -> None:
        self._pipe = pipe
        self._events = events
        self.workers = workers

    def crowded(self, *, is_here: bool) -> None:
        """As `Elsewhere.crowded`."""
        self._pipe.tell(_CROWD, is_here=is_here)

    async def make_room(self) -> bool:
        """As `Elsewhere.make_room`."""

        def give_back(was_made: bool) -> None:
            # For us, when we waited for it no more.
            if was_made:
                self._pipe.tell("give", keys=[IN_ALL])

        try:
            return bool(await self._pipe.ask(MAKE_ROOM, _PATIENCE, give_back))
        except NoAnswer as problem:
            self._events.emit(SUPERVISOR_SILENT, reason=str(problem))
            return False


AsksForRoom = Callable[[str, Callable[[object], None]], Awaitable[Any]]
"""Asks a worker: True where it made room. Raises NoAnswer; the second one hears what
is answered too late.
"""


class Crowds:
    """The workers that have a crowd, as the supervisor knows them."""

    def __init__(self, counts: Counts, ask: AsksForRoom) -> None:
        self._counts = counts
        self._ask = ask
        self._workers: set[str] = set()
        self._silent: set[str] = set()
        self._crowded: OrderedDict[str, None] = OrderedDict()

    def handlers(self, worker: str) -> dict[str, Callable[..., Any]]:
        """What a worker asks and tells, from its beginning on."""
        self._workers.add(worker)

        def crowd(*, is_here: bool) -> None:
            if is_here:
                self._crowded[worker] = None
            else:
                self._crowded.pop(worker, None)

        return {
            _CROWD: crowd,
            MAKE_ROOM: lambda: Deferred.fromCoroutine(self._make_room(worker)),
        }

    def forget(self, worker: str) -> None:
        """It is gone."""
        self._workers.discard(worker)
        self._silent.discard(worker)
        self._crowded.pop(worker, None)

    async def _make_room(self, worker: str) -> bool:
        """Have one of the others send one of its crowd away: each in turn."""
        for other in tuple(self._crowded):
            if not await self._makes_room(other, worker):
                continue
            if worker in self._workers:
                # It is free by now. Whoever was quicker is one more than there are
                # places, until somebody goes.
                self._counts.claim(worker, [(IN_ALL, None)])
                return True
            break  # it died while it waited
        return False

    async def _makes_room(self, other: str, worker: str) -> bool:
        # One that is silent hears one question: it will answer all that it has heard.
        if other == worker or other not in self._crowded or other in self._silent:
            return False
        self._crowded.move_to_end(other)
        try:
            return bool(await self._ask(other, lambda _: self._silent.discard(other)))
        except NoAnswer:
            if other in self._workers:
                self._silent.add(other)
            return False
