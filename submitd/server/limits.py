"""How many connections: in all, and from one address; and who gives way to whom."""

from collections.abc import Awaitable
from typing import Protocol


class ConnectionCounts(Protocol):
    """Counts open connections, for this process or for the whole server.

    An address of None is one that is not known yet: a PROXY header is to come. Such a
    connection is counted in all, and from its address when `named` tells it.
    """

    def opened(self, address: str | None) -> bool | Awaitable[bool]:
        """Count one more from ``address``; False where that is one too many.

        A connection that was refused is not counted.
        """

    def named(self, address: str) -> bool | Awaitable[bool]:
        """Whose it is that was counted without an address; False: one too many.

        Refused, it is still counted in all.
        """

    def is_full(self) -> bool | Awaitable[bool]:
        """True where there is no room for anybody, wherever they come from."""

    def replaced(self, gone: str, address: str | None) -> bool | Awaitable[bool]:
        """As `opened`, in the place of one from ``gone``, which is counted no more.

        Nobody else can take that place in between.
        """

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

    def give_way(self) -> str | None:
        """End it; the address that its place is counted for, which is the caller's now.

        None: it is no stranger any more, or at its end.
        """


class Strangers:
    """The connections of this process that have not logged in, oldest first.

    Anybody can open connections and say nothing. Where they have taken every place,
    the one that has been here longest gives way to the next: who means to log in has
    long done it.
    """

    def __init__(self) -> None:
        self._here: dict[Stranger, None] = {}

    def add(self, one: Stranger) -> None:
        """One that has just come."""
        self._here[one] = None

    def discard(self, one: Stranger) -> None:
        """It has logged in, or is gone."""
        self._here.pop(one, None)

    def make_room(self) -> str | None:
        """Have the oldest one give way, as `Stranger.give_way`; None: there is none."""
        for one in tuple(self._here):
            if (address := one.give_way()) is not None:
                return address
        return None
