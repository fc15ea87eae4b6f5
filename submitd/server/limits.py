"""How many connections: in all, and from one address; and who gives way to whom."""

from collections import OrderedDict
from collections.abc import Awaitable
from enum import Enum, auto
from math import ceil
from typing import Final, Protocol, TypeVar

from attrs import Factory, define

from submitd.mail.network import counted_as, neighbourhood

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


class Elsewhere(Protocol):
    """The strangers of the server's other workers."""

    workers: int
    """How many there are, this one included."""

    def crowded(self, *, is_here: bool) -> None:
        """Whether there is a crowd in this one, when that has changed."""

    async def make_room(self) -> bool:
        """Have one of a crowd give way there; its place among all is ours then.

        False: none has a crowd.
        """


_A_CROWD: Final = 10
"""Strangers of one network, from which on it has more than others may need; where
there are several workers, each has its share of them."""

_SEVERAL: Final = 2
"""Strangers of one address in such a network."""


class _Sizes:
    """How many there are of each place."""

    def __init__(self) -> None:
        self._of: dict[str, int] = {}
        self._by_size: dict[int, OrderedDict[str, None]] = {}
        self._most = 0

    def crowd(self, least: int) -> str | None:
        """Where most are, and of such places for the longest; None: few everywhere.

        Those are few that are less than ``least``.
        """
        if self._most < least:
            return None
        return next(iter(self._by_size[self._most]))

    def more(self, where: str) -> None:
        """One more."""
        before = self._of.get(where, 0)
        self._move(where, before, before + 1)

    def less(self, where: str) -> None:
        """One less."""
        before = self._of[where]
        self._move(where, before, before - 1)

    def _move(self, where: str, before: int, after: int) -> None:
        """Sizes change by one, so the greatest is never searched for."""
        if before:
            del self._by_size[before][where]
            if not self._by_size[before]:
                del self._by_size[before]
        if after:
            self._of[where] = after
            self._by_size.setdefault(after, OrderedDict())[where] = None
        else:
            del self._of[where]
        if after > self._most or self._most not in self._by_size:
            self._most = after


@define
class _Group:
    """The strangers of one place, in the order in which they came to be so."""

    idle: OrderedDict[Stranger, None] = Factory(OrderedDict)
    answered: OrderedDict[Stranger, None] = Factory(OrderedDict)
    """A question of theirs is open."""

    sizes: _Sizes = Factory(_Sizes)
    """Of the addresses in it, where it is a network."""

    def __len__(self) -> int:
        return len(self.idle) + len(self.answered)


class Strangers:
    """The connections of this process that have not logged in.

    Anybody can open connections and say nothing, or come and go by the thousand. Where
    they have taken every place one of them gives way to the next: first who has been
    sent away and does not go. Then one of the network (`neighbourhood`) that has a
    crowd of them, the greatest first, for whom nobody knows is to be as good as any
    other; there one of the address that has most, so that who is alone at its own is
    not driven out by its neighbours' many. Of those it is the one that has been idle
    longest, and who is being answered where none is idle.

    Where there are few from everywhere the oldest goes: an office behind one address
    has some at a time, and must not lose them all to who has many addresses.

    That is so in one worker. Where it has no crowd, and another has, one of that
    crowd goes.

    Whatever happens costs the same, however many there are.
    """

    # The first of a plain dict is searched for behind all that were taken out.

    def __init__(self, elsewhere: Elsewhere | None = None) -> None:
        """``elsewhere``: None where there is no other worker."""
        self._elsewhere = elsewhere
        workers = 1 if elsewhere is None else elsewhere.workers
        self._crowd = max(_SEVERAL, ceil(_A_CROWD / workers))
        self._said_crowded = False
        self._from: OrderedDict[Stranger, tuple[str, str]] = OrderedDict()
        """Network and address of each, in the order in which they came."""

        self._groups: dict[str, _Group] = {}
        """By network, and by address: no network is written as an address is."""

        self._networks = _Sizes()
        self._leaving: OrderedDict[Stranger, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._from) + len(self._leaving)

    def add(self, one: Stranger, address: str) -> None:
        """One that has just come from ``address``."""
        network, host = neighbourhood(address), counted_as(address)
        self._from[one] = network, host
        for where in (network, host):
            self._groups.setdefault(where, _Group()).idle[one] = None
        self._networks.more(network)
        self._groups[network].sizes.more(host)
        self._say_whether_crowded()

    @property
    def has_crowd(self) -> bool:
        """One network has more of them than others may need."""
        return self._networks.crowd(self._crowd) is not None

    def _say_whether_crowded(self) -> None:
        if self._elsewhere is not None and self.has_crowd != self._said_crowded:
            self._said_crowded = not self._said_crowded
            self._elsewhere.crowded(is_here=self._said_crowded)

    def answering(self, one: Stranger, *, is_open: bool) -> None:
        """A question of this one is open, or is no more."""
        for where in self._from.get(one, ()):
            group = self._groups[where]
            before, after = group.idle, group.answered
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
        places = self._from.pop(one, None)
        if places is None:
            return
        network, host = places
        self._groups[network].sizes.less(host)
        self._networks.less(network)
        for where in places:
            group = self._groups[where]
            group.idle.pop(one, None)
            group.answered.pop(one, None)
            if not group:
                del self._groups[where]
        self._say_whether_crowded()

    @property
    def may_make_room(self) -> bool:
        """There is somebody who could give way, or may be in another worker."""
        return len(self) > 0 or self._elsewhere is not None

    async def make_room_elsewhere(self) -> bool:
        """As `Elsewhere.make_room`, where that comes before `make_room`."""
        if self._elsewhere is None or self._leaving or self.has_crowd:
            return False
        return await self._elsewhere.make_room()

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
        network = self._networks.crowd(self._crowd)
        if network is None:
            return next(iter(self._from), None)
        group = self._groups[network]
        if (host := group.sizes.crowd(_SEVERAL)) is not None:
            group = self._groups[host]
        return next(iter(group.idle or group.answered))


async def settled(answer: T | Awaitable[T]) -> T:
    """What counts in this process or in another came to."""
    return await answer if isinstance(answer, Awaitable) else answer
