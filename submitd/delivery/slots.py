"""How many connections one destination bears, for the whole server."""

from typing import Protocol


class DestinationSlots(Protocol):
    """Counts connections by key; the supervisor does it for all workers."""

    async def take(self, keys: list[tuple[str, int | None]]) -> bool:
        """One of each (key, limit), or none at all where one is used up."""

    def give(self, keys: list[str]) -> None:
        """Give one of each back."""
