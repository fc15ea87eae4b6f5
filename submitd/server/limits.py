"""How many connections: in all, and from one address."""

from collections.abc import Awaitable
from typing import Protocol


class ConnectionCounts(Protocol):
    """Counts open connections, for this process or for the whole server."""

    def opened(self, address: str) -> bool | Awaitable[bool]:
        """Count one more from ``address``; False where that is one too many.

        A connection that was refused is not counted.
        """

    def closed(self, address: str) -> None:
        """Count one less: once for each `opened` that was not refused."""
