"""Limits that hold for the whole server, counted in one place.

The supervisor holds `Counts`; a worker's `SharedCounts` asks it through the
pipe. When the supervisor is silent the worker counts by itself, against its
share of the limit: mail goes on, and the limit holds within a factor.
"""

from collections import Counter
from typing import Final

from submitd.auth.throttle import LoginLimits
from submitd.config.sections import Config
from submitd.observe.events import SUPERVISOR_SILENT, Events
from submitd.process.pipe import NoAnswer, Pipe

IN_ALL: Final = "connections"
"""The key of all connections, from wherever they come."""

_PATIENCE: Final = 1.0
"""Seconds to wait for the supervisor: it only counts."""


def login_limits(config: Config) -> LoginLimits:
    """As configured."""
    section = config.log_in
    return LoginLimits(
        per_account=section.failures_per_account,
        per_address=section.failures_per_address,
        per_network=section.failures_per_network,
        window=section.window,
        delay=section.delay,
        longest_delay=section.longest_delay,
        refusal=section.refusal,
        longest_refusal=section.longest_refusal,
    )


class Counts:
    """How many of each key are taken, and by which worker."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()
        self._by_owner: dict[str, Counter[str]] = {}

    def take(self, owner: str, keys: list[tuple[str, int | None]]) -> bool:
        """Take one of each (key, limit), or none at all where one is used up."""
        return self.claim(owner, keys) is None

    def claim(self, owner: str, keys: list[tuple[str, int | None]]) -> str | None:
        """As `take`; the first key that is used up, or None: they are taken."""
        for key, limit in keys:
            if limit is not None and self._taken[key] >= limit:
                return key
        own = self._by_owner.setdefault(owner, Counter())
        for key, _ in keys:
            self._taken[key] += 1
            own[key] += 1
        return None

    def give(self, owner: str, keys: list[str]) -> None:
        """Give one of each back."""
        own = self._by_owner.get(owner, Counter())
        for key in keys:
            # A worker may give back what it had counted by itself.
            if own[key] > 0:
                own[key] -= 1
                if not own[key]:
                    del own[key]
                self._drop(key, 1)

    def forget(self, owner: str) -> None:
        """A worker is gone, and what it had taken is free."""
        for key, number in self._by_owner.pop(owner, Counter()).items():
            self._drop(key, number)

    def _drop(self, key: str, number: int) -> None:
        self._taken[key] -= number
        if self._taken[key] <= 0:
            del self._taken[key]


class SharedCounts:
    """A worker's view of the supervisor's `Counts`."""

    def __init__(self, pipe: Pipe, workers: int, events: Events) -> None:
        self._pipe = pipe
        self._workers = max(1, workers)
        self._events = events
        self._own = Counts()
        self._alone: Counter[str] = Counter()

    async def take(self, keys: list[tuple[str, int | None]]) -> bool:
        """As `Counts.take`, for the whole server."""
        return await self.claim(keys) is None

    async def claim(self, keys: list[tuple[str, int | None]]) -> str | None:
        """As `Counts.claim`, for the whole server."""

        def give_back(used_up: str | None) -> None:
            # Taken for us when we had long counted it ourselves.
            if used_up is None:
                self._pipe.tell("give", keys=[key for key, _ in keys])

        try:
            answer = await self._pipe.ask("claim", _PATIENCE, give_back, keys=keys)
            return None if answer is None else str(answer)
        except NoAnswer as problem:
            self._events.emit(SUPERVISOR_SILENT, reason=str(problem))
        share = [
            (key, None if limit is None else max(1, limit // self._workers))
            for key, limit in keys
        ]
        used_up = self._own.claim("", share)
        if used_up is None:
            self._alone.update(key for key, _ in keys)
        return used_up

    def give(self, keys: list[str]) -> None:
        """Give one of each back."""
        # Where one is counted here and another there, which is which does not matter:
        # in the end both are given back.
        alone = [key for key in keys if self._alone[key] > 0]
        if alone:
            self._alone -= Counter(alone)
            self._own.give("", alone)
        told = [key for key in keys if key not in alone]
        if told:
            self._pipe.tell("give", keys=told)
