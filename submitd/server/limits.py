"""How many connections: in all, and from one address; and who gives way to whom."""

from collections import OrderedDict
from collections.abc import Awaitable
from enum import Enum, auto
from typing import Protocol, TypeVar

from attrs import Factory, define

from submitd.mail.network import counted_as

T = TypeVar("T")


class Room(Enum):
    """Whether there is a place for one more connection."""

    FOUND = auto()
    CROWDED = auto()
    """Not from its address, which has as many as it may: whoever gives way."""

    FULL = auto()
    """For nobody, wherever they come from."""


class ConnectionCounts(Protocol):
    """Counts open connections, for this process or for the whole server.

    An address of None is one that is not known yet: a PROXY header is to come. Such a
    connection is counted in all, and from its address when `named` tells it.
    """

    def opened(self, address: str | None) -> Room | Awaitable[Room]:
        """Count one more from ``address``, where there is room for it.

        A connection that was refused is not counted.
        """

    def named(self, address: str) -> bool | Awaitable[bool]:
        """Count one from ``address`` that is counted in all; False: one too many."""

    def unnamed(self, address: str) -> None:
        """Count one less from ``address``, which stays counted in all."""

    def closed(self, address: str | None) -> None:
        """Count one less: once for each `opened` that was not refused."""


class LoginPlaces(Protocol):
    """Counts the sessions of a login: a stolen password must not take every place."""

    async def opened(self, login: str) -> bool:
        """Count one more; False, and not counted, where that is one too many."""

    def closed(self, login: str) -> None:
        """Count one less."""


class Stranger(Protocol):
    """A connection that may have to give way."""

    def give_way(self) -> str:
        """End it; the address that its place is counted for, which is the caller's now.

        It is no stranger any more.
        """


@define
class _Crowd:
    """The strangers of one address, in the order in which they came to be so."""

    idle: OrderedDict[Stranger, None] = Factory(OrderedDict)
    answered: OrderedDict[Stranger, None] = Factory(OrderedDict)
    """A question of theirs is open."""

    def __len__(self) -> int:
        return len(self.idle) + len(self.answered)


class Strangers:
    """The connections of this process that have not logged in.

    Anybody can open connections and say nothing, or come and go by the thousand. Where
    they have taken every place one of them gives way to the next: first who has been
    sent away and does not go. Then one of the address that has most of them, for whom
    nobody knows is to be as good as any other, and a client on a slow line comes alone;
    among addresses that have as many, the one that has had them longest. Of that
    address it is the one that has been idle longest, and who is being answered where
    none is idle.

    Whatever happens costs the same, however many there are.
    """

    # The first of a plain dict is searched for behind all that were taken out.

    def __init__(self) -> None:
        self._from: dict[Stranger, str] = {}
        self._crowds: dict[str, _Crowd] = {}
        self._by_size: dict[int, OrderedDict[str, None]] = {}
        self._most = 0
        """Strangers of the address that has most of them."""

        self._leaving: OrderedDict[Stranger, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._from) + len(self._leaving)

    def add(self, one: Stranger, address: str) -> None:
        """One that has just come from ``address``."""
        where = self._from[one] = counted_as(address)
        crowd = self._crowds.setdefault(where, _Crowd())
        size = len(crowd)
        crowd.idle[one] = None
        self._resize(where, size, size + 1)

    def answering(self, one: Stranger, *, is_open: bool) -> None:
        """A question of this one is open, or is no more."""
        if (where := self._from.get(one)) is not None:
            crowd = self._crowds[where]
            before, after = crowd.idle, crowd.answered
            if not is_open:
                before, after = after, before
            before.pop(one, None)
            after[one] = None

    def leaving(self, one: Stranger) -> None:
        """It has heard our last words, and is to close."""
        if one in self._from:
            self.discard(one)
            self._leaving[one] = None

    def discard(self, one: Stranger) -> None:
        """It has logged in, or is gone."""
        self._leaving.pop(one, None)
        where = self._from.pop(one, None)
        if where is not None:
            crowd = self._crowds[where]
            size = len(crowd)
            crowd.idle.pop(one, None)
            crowd.answered.pop(one, None)
            if not crowd:
                del self._crowds[where]
            self._resize(where, size, size - 1)

    def make_room(self) -> str | None:
        """Have one give way, as `Stranger.give_way`; None: there is none."""
        one = self._next()
        if one is None:
            return None
        self.discard(one)
        return one.give_way()

    def _next(self) -> Stranger | None:
        if self._leaving:
            return next(iter(self._leaving))
        if not self._most:
            return None
        crowd = self._crowds[next(iter(self._by_size[self._most]))]
        return next(iter(crowd.idle or crowd.answered))

    def _resize(self, where: str, before: int, after: int) -> None:
        """Sizes change by one, so the greatest is never searched for."""
        if before:
            del self._by_size[before][where]
            if not self._by_size[before]:
                del self._by_size[before]
        if after:
            self._by_size.setdefault(after, OrderedDict())[where] = None
        if after > self._most or self._most not in self._by_size:
            self._most = after


async def settled(answer: T | Awaitable[T]) -> T:
    """What counts in this process or in another came to."""
    return await answer if isinstance(answer, Awaitable) else answer
