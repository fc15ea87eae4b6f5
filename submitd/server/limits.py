"""How many connections: in all, and from one address."""

from collections import Counter
from collections.abc import Awaitable
from typing import Protocol

from submitd.mail.network import counted_as


class ConnectionCounts(Protocol):
    """Counts open connections, for this process or for the whole server."""

    def opened(self, address: str) -> bool | Awaitable[bool]:
        """Count one more from ``address``; False where that is one too many.

        A connection that was refused is not counted.
        """

    def closed(self, address: str) -> None:
        """Count one less: once for each `opened` that was not refused."""


class LocalCounts:
    """The `ConnectionCounts` of one process. None: no limit."""

    def __init__(self, in_all: int | None, per_address: int | None) -> None:
        self._in_all = in_all
        self._per_address = per_address
        self._open: Counter[str] = Counter()
        self._total = 0

    def opened(self, address: str) -> bool:
        """As `ConnectionCounts.opened`."""
        whose = counted_as(address)
        if self._in_all is not None and self._total >= self._in_all:
            return False
        if self._per_address is not None and self._open[whose] >= self._per_address:
            return False
        self._open[whose] += 1
        self._total += 1
        return True

    def closed(self, address: str) -> None:
        """As `ConnectionCounts.closed`."""
        whose = counted_as(address)
        self._total -= 1
        self._open[whose] -= 1
        if not self._open[whose]:
            del self._open[whose]
