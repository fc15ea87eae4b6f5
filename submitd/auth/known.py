"""Networks from which accounts have logged in: these keep their way in."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

_MOST_ACCOUNTS: Final = 20_000
_MOST_NETWORKS: Final = 32
"""Of one account: who has its password and a large network pushes out no other's."""

_HOUR: Final = 3600.0

Networks = Mapping[str, Mapping[str, float]]
"""By account, and by network: when it was last logged in from there (seconds)."""


class KnownNetworks:
    """Remembers for days, and within bounds. Only a right password adds to it."""

    def __init__(self, kept: timedelta | None, now: Callable[[], float]) -> None:
        """``kept``: how long; None: not at all. ``now``: seconds since 1970."""
        self.kept = kept
        self._now = now
        self._seen: OrderedDict[str, OrderedDict[str, float]] = OrderedDict()
        self.changes = 0
        """Grows where something worth keeping has changed."""

    def knows(self, account: str, network: str) -> bool:
        """True where this account has logged in from there, and not too long ago."""
        if self.kept is None or (networks := self._seen.get(account)) is None:
            return False
        seen = networks.get(network)
        return seen is not None and self._now() - seen <= self.kept.total_seconds()

    def saw(self, account: str, network: str) -> None:
        """It has logged in from there now."""
        if self.kept is None:
            return
        now = self._now()
        networks = self._seen.setdefault(account, OrderedDict())
        self._seen.move_to_end(account)
        # One that sends all day is not written down each time.
        last = networks.get(network)
        if last is None or now - last >= _HOUR:
            networks[network] = now
            networks.move_to_end(network)
            self.changes += 1
        self._trim(networks)

    def take(self, networks: Networks) -> None:
        """Remember what was kept of an earlier start."""
        now = self._now()
        for account, seen in networks.items():
            # A clock that was wrong then must not make a network known for ever.
            moments = sorted((min(at, now), network) for network, at in seen.items())
            row = OrderedDict((network, at) for at, network in moments)
            self._seen[account] = row
            self._trim(row)

    def snapshot(self) -> Networks:
        """What is to be kept."""
        if self.kept is None:
            return {}
        oldest = self._now() - self.kept.total_seconds()
        fresh = {
            account: {network: at for network, at in seen.items() if at >= oldest}
            for account, seen in self._seen.items()
        }
        return {account: seen for account, seen in fresh.items() if seen}

    def _trim(self, networks: OrderedDict[str, float]) -> None:
        while len(networks) > _MOST_NETWORKS:
            networks.popitem(last=False)
        while len(self._seen) > _MOST_ACCOUNTS:
            self._seen.popitem(last=False)
