"""Work that is done one piece at a time, in turns of those who want it."""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from twisted.internet.defer import Deferred

_MOST_EACH: Final = 100
"""Pieces that wait for one submitter: others find room beside them …"""

_MOST: Final = 1000
"""… and in all, or those that wait would take the place of all other mail."""

T = TypeVar("T")


class Turns(Generic[T]):
    """Pieces of work that wait. Who has many delays the others by one each time."""

    def __init__(self, work: Callable[[T], Awaitable[None]]) -> None:
        """``work`` never raises."""
        self._work = work
        self._waiting: dict[str | None, deque[T]] = {}
        self._count = 0
        self._running = False

    def put(self, submitter: str | None, piece: T) -> bool:
        """Have it done; False: too many wait already.

        ``submitter``: whose it is; None: ours.
        """
        queue = self._waiting.get(submitter, deque())
        if self._count >= _MOST or len(queue) >= _MOST_EACH:
            return False
        queue.append(piece)
        self._waiting[submitter] = queue
        self._count += 1
        if not self._running:
            self._running = True
            Deferred.fromCoroutine(self._run())
        return True

    def take_back(self) -> list[T]:
        """What has not been begun, and is not any more."""
        pieces = [piece for queue in self._waiting.values() for piece in queue]
        self._waiting.clear()
        self._count = 0
        return pieces

    async def _run(self) -> None:
        while self._waiting:
            await self._work(self._next())
        self._running = False

    def _next(self) -> T:
        submitter = next(iter(self._waiting))
        queue = self._waiting.pop(submitter)
        piece = queue.popleft()
        if queue:
            self._waiting[submitter] = queue
        self._count -= 1
        return piece
