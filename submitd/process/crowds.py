"""Making room in one worker for who has come to another.

A worker ranks the strangers that the kernel gave it. Where these are few, and all
places are taken, the crowd is elsewhere: the supervisor knows which workers have one,
and has one of them send somebody away. That place changes hands; were it free for a
moment, it would be the next attacker's.
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

        def give_back(was_made: bool) -> None:
            # For us, when we waited for it no more.
            if was_made:
                self._pipe.tell("give", keys=[IN_ALL])

        try:
            return bool(await self._pipe.ask(MAKE_ROOM, _PATIENCE, give_back))
        except NoAnswer as problem:
            self._events.emit(SUPERVISOR_SILENT, reason=str(problem))
            return False


AsksForRoom = Callable[[str, Callable[[bool], None]], Awaitable[Any]]
"""Asks a worker: True where it made room. Raises NoAnswer; the second one hears what
is answered too late.
"""


class Crowds:
    """The workers that have a crowd, as the supervisor knows them."""

    def __init__(self, counts: Counts, ask: AsksForRoom) -> None:
        self._counts = counts
        self._ask = ask
        self._workers: set[str] = set()
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
        self._crowded.pop(worker, None)

    async def _make_room(self, worker: str) -> bool:
        """Have one of the others send one of its crowd away: each in turn."""
        for other in [one for one in self._crowded if one != worker]:
            if other not in self._crowded:
                continue  # no more, since another was asked
            self._crowded.move_to_end(other)
            try:
                has_made = await self._ask(other, self._give_back(other))
            except NoAnswer:
                continue  # the next one may; why it is silent its pulse tells
            if has_made and worker in self._workers:
                self._counts.move(other, worker, IN_ALL)
                return True
            if has_made:
                self._counts.give(other, [IN_ALL])
                break  # for who died while it waited
        return False

    def _give_back(self, worker: str) -> Callable[[bool], None]:
        """What it made for us when we waited for it no more is free."""

        def give_back(has_made: bool) -> None:
            if has_made:
                self._counts.give(worker, [IN_ALL])

        return give_back
