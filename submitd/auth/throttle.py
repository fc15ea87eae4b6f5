"""Guessing, slowed down: by address and by account."""

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable
from datetime import timedelta
from typing import Final, Protocol

from attrs import define, frozen
from twisted.internet.interfaces import IReactorTime

from submitd.mail.network import counted_as

_MOST_KEYS: Final = 100_000
_MOST_FINGERPRINTS: Final = 32


@frozen(kw_only=True)
class LoginLimits:
    """How much guessing is borne. None: no limit."""

    per_address: int | None
    per_account: int | None
    window: timedelta
    delay: timedelta
    """Wait before the answer to a second failure; doubles with each."""

    longest_delay: timedelta


class LoginCounts(Protocol):
    """Counts failures, for this process or for the whole server.

    Each gives ``(delay in seconds, refused)``, or something to wait for.
    """

    def standing(
        self, address: str, account: str
    ) -> tuple[float, bool] | Awaitable[tuple[float, bool]]:
        """How it stands with these two."""

    def failed(
        self, address: str, account: str, fingerprint: str
    ) -> tuple[float, bool] | Awaitable[tuple[float, bool]]:
        """One more failure. ``fingerprint`` tells one wrong password from others:
        a telephone with an old one must not lock out its owner.
        """

    def succeeded(self, address: str, account: str) -> None:
        """A right password: whoever guesses elsewhere does not shut this one out."""


@define
class _Failures:
    since: float
    count: int
    fingerprints: set[str]


class LocalLoginCounts:
    """`LoginCounts` in memory, bounded."""

    def __init__(self, clock: IReactorTime, limits: LoginLimits) -> None:
        self._clock = clock
        self.limits = limits
        self._by_key: OrderedDict[str, _Failures] = OrderedDict()
        self._proved: OrderedDict[tuple[str, str], None] = OrderedDict()
        """Clients and the accounts that they have logged in to."""

    def standing(self, address: str, account: str) -> tuple[float, bool]:
        """As `LoginCounts.standing`."""
        limits = self.limits
        by_address = self._count(f"a {counted_as(address)}")
        is_known = (counted_as(address), account) in self._proved
        by_account = 0 if is_known else self._count(f"u {account}")
        refused = (
            limits.per_address is not None and by_address >= limits.per_address
        ) or (limits.per_account is not None and by_account >= limits.per_account)
        worst = max(by_address, by_account)
        if worst < 2:
            return 0.0, refused
        delay = limits.delay.total_seconds() * 2.0 ** min(worst - 2, 30)
        return min(delay, limits.longest_delay.total_seconds()), refused

    def failed(
        self, address: str, account: str, fingerprint: str
    ) -> tuple[float, bool]:
        """As `LoginCounts.failed`."""
        for key in (f"a {counted_as(address)}", f"u {account}"):
            self._add(key, fingerprint)
        return self.standing(address, account)

    def succeeded(self, address: str, account: str) -> None:
        """As `LoginCounts.succeeded`."""
        pair = counted_as(address), account
        self._proved[pair] = None
        self._proved.move_to_end(pair)
        while len(self._proved) > _MOST_KEYS:
            self._proved.popitem(last=False)

    def _count(self, key: str) -> int:
        found = self._by_key.get(key)
        if found is None:
            return 0
        if self._clock.seconds() - found.since > self.limits.window.total_seconds():
            del self._by_key[key]
            return 0
        return found.count

    def _add(self, key: str, fingerprint: str) -> None:
        self._count(key)  # an old entry goes
        found = self._by_key.setdefault(key, _Failures(self._clock.seconds(), 0, set()))
        self._by_key.move_to_end(key)
        if fingerprint in found.fingerprints:
            return
        found.count += 1
        if len(found.fingerprints) < _MOST_FINGERPRINTS:
            found.fingerprints.add(fingerprint)
        while len(self._by_key) > _MOST_KEYS:
            self._by_key.popitem(last=False)


def fingerprint(secret: bytes, account: str, password: str) -> str:
    """What tells passwords apart, and tells nobody what they are."""
    octets = account.encode() + b"\0" + password.encode()
    return hashlib.blake2b(octets, key=secret, digest_size=16).hexdigest()
