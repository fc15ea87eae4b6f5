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

    def closed(self, address: str | None) -> None:
        """Count one less: once for each `opened` that was not refused."""


class Stranger(Protocol):
    """A connection that may have to give way."""

    def give_way(self) -> bool:
        """End it, and count it no more; False: it is no stranger, or at its end."""


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

    def make_room(self) -> bool:
        """Have the oldest one give way; False: there is none."""
        return any(one.give_way() for one in tuple(self._here))
