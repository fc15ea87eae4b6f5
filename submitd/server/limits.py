"""How many connections: in all, and from one address."""

from collections import Counter
from collections.abc import Awaitable
from ipaddress import IPv6Address, ip_address
from typing import Protocol


class ConnectionCounts(Protocol):
    """Counts open connections, for this process or for the whole server."""

    def opened(self, address: str) -> bool | Awaitable[bool]:
        """Count one more from ``address``; False where that is one too many.

        A connection that was refused is not counted.
        """

    def closed(self, address: str) -> None:
        """Count one less: once for each `opened` that was not refused."""


def counted_as(address: str) -> str:
    """Whose connection it is: an IPv6 host may pick any address of its /64."""
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(IPv6Address(int(parsed) >> 64 << 64)) + "/64"
    return str(parsed)


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
