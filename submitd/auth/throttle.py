"""The brake: guessing is slowed down, then refused, by account and by network."""

import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from enum import Enum
from ipaddress import ip_network
from typing import Final, Protocol

from attrs import evolve, frozen
from twisted.internet.interfaces import IReactorTime

from submitd.auth.directory import folded
from submitd.auth.failures import Failures, FailureTable, Key
from submitd.auth.known import KnownNetworks
from submitd.mail.network import counted_as, neighbourhood

_MOST_UNLIMITED: Final = 64
"""Failures that are counted where there is no limit: for the delay."""

_LONGEST_KEY: Final = 80
"""Characters of an account's name that are kept; a longer one ends in a hash."""


@frozen(kw_only=True)
class LoginLimits:
    """How much guessing is borne. None: no limit."""

    per_account: int | None
    per_address: int | None
    """An address, or an IPv6 /64."""

    per_network: int | None
    """A /24, or an IPv6 /48."""

    window: timedelta
    delay: timedelta
    """Wait before the answer to a second failure; doubles with each."""

    longest_delay: timedelta
    refusal: timedelta
    """How long the first refusal lasts; each further one twice as long."""

    longest_refusal: timedelta

    def share(self, workers: int) -> "LoginLimits":
        """The limits of one of so many workers, while each counts by itself."""

        def part(limit: int | None) -> int | None:
            return None if limit is None else max(1, limit // workers)

        return evolve(
            self,
            per_account=part(self.per_account),
            per_address=part(self.per_address),
            per_network=part(self.per_network),
        )

    def of(self, key: Key) -> int | None:
        """The limit for a key."""
        match key.kind:
            case "address":
                return self.per_address
            case "network":
                return self.per_network
            case _:
                return self.per_account


@frozen
class Attempt:
    """One attempt to log in."""

    client: str
    """The client's address."""

    account: str
    """As `as_account` gives it."""

    fingerprint: str
    """Tells one wrong password from others: a telephone with an old one must not
    lock out its owner.
    """

    is_guessable: bool = True
    """What is shown is a password, or made of one. Tokens and certificates are judged
    by address and network alone: nobody guesses them, and who guesses at the password
    of an account must not keep them out.
    """


class Outcome(Enum):
    """What an attempt came to."""

    RIGHT = "right"
    WRONG = "wrong"
    CANNOT_TELL = "cannot tell"


@frozen
class Place:
    """An attempt's place among those that are borne, or that there is none."""

    ticket: int
    """To give it back with; 0: none was given."""

    delay: float = 0.0
    """Seconds to wait before a refusal is answered."""

    is_braked: bool = False
    """Nobody may be asked."""

    is_busy: bool = False
    """As many as are borne are being checked right now: ask again soon."""


@frozen(kw_only=True)
class Braked:
    """An account or a network that is refused: for ``submitctl auth list``."""

    kind: str
    name: str
    since: float
    """Seconds ago."""

    left: float
    """Seconds from now."""

    failures: int
    refusals: int
    """In a row, this one included."""

    client: str
    """The address of who failed last."""


class LoginCounts(Protocol):
    """Counts failures, for this process or for the whole server."""

    def begin(self, attempt: Attempt) -> Place | Awaitable[Place]:
        """Take a place before anybody is asked, so that guesses made at the same
        time pass no limit.
        """

    def ended(self, attempt: Attempt, place: Place, outcome: Outcome) -> None:
        """Give the place back; a wrong password keeps it taken, as a failure."""


@frozen
class _Ticket:
    owner: str
    keys: tuple[Key, ...]
    mark: int


class LocalLoginCounts:
    """`LoginCounts` in memory, bounded."""

    def __init__(
        self,
        clock: IReactorTime,
        limits: LoginLimits,
        known: KnownNetworks,
        on_brake: Callable[[Key, Failures], None] = lambda _key, _failures: None,
    ) -> None:
        """``on_brake`` hears of each key that is refused from now on."""
        self._clock = clock
        self.limits = limits
        self._known = known
        self._on_brake = on_brake
        self._failures = FailureTable()
        self._checking: dict[Key, Counter[int]] = {}
        """Attempts under way, by what they are judged by: as many as connections."""

        self._tickets: dict[int, _Ticket] = {}
        self._last = 0

    def begin(self, attempt: Attempt, owner: str = "") -> Place:
        """As `LoginCounts.begin`; ``owner`` is the worker that asks."""
        keys, mark = self._judged(attempt), hash(attempt.fingerprint)
        found = [(key, self._settled(key)) for key in keys]
        most = max(len(one.marks) for _, one in found)
        if any(one.until is not None for _, one in found):
            return Place(0, self._delay(most), is_braked=True)
        most = 0
        for key, failures in found:
            if (limit := self.limits.of(key)) is None:
                most = max(most, len(failures.marks))
                continue
            taken = self._taken(key, failures, mark)
            if taken >= limit and mark not in failures.marks:
                return Place(0, is_busy=True)
            most = max(most, taken)
        self._last += 1
        self._tickets[self._last] = _Ticket(owner, keys, mark)
        for key in keys:
            self._checking.setdefault(key, Counter())[mark] += 1
        return Place(self._last, self._delay(most + 1))

    def ended(self, attempt: Attempt, place: Place, outcome: Outcome) -> None:
        """As `LoginCounts.ended`."""
        self._give_back(place.ticket)
        if outcome is Outcome.RIGHT:
            self._known.saw(attempt.account, counted_as(attempt.client))
        elif outcome is Outcome.WRONG:
            for key in self._counted(attempt):
                self._add(key, attempt)

    def forget(self, owner: str) -> None:
        """A worker is gone, and nobody will say what its attempts came to."""
        for number in [n for n, one in self._tickets.items() if one.owner == owner]:
            self._give_back(number)

    def braked(self) -> list[Braked]:
        """Who is refused now."""
        now = self._clock.seconds()
        return [
            Braked(
                kind=key.kind,
                name=key.name,
                since=now - one.since,
                left=one.until - now,
                failures=len(one.marks),
                refusals=one.strikes,
                client=one.client,
            )
            for key, one in self._failures
            if one.until is not None and one.until > now
        ]

    def unblock(self, name: str | None) -> list[str]:
        """Forget the failures of an account or of a network, and those within and
        around it; None: all. Gives the names of those that were refused.
        """
        chosen = [
            (key, one)
            for key, one in self._failures
            if name is None or _is_meant(key, name)
        ]
        now = self._clock.seconds()
        for key, _ in chosen:
            self._failures.remove(key)
        return [
            key.name for key, one in chosen if one.until is not None and one.until > now
        ]

    def _judged(self, attempt: Attempt) -> tuple[Key, ...]:
        """What an attempt is judged by.

        From where its account has logged in it is not shut out by what others do,
        whether they guess at the account or from the network; it has a limit of
        its own.
        """
        way = self._way(attempt)
        return self._shared(attempt) if way is None else (way,)

    def _counted(self, attempt: Attempt) -> tuple[Key, ...]:
        """What a failure counts for: a way in is no licence to guess at others."""
        way = self._way(attempt)
        return (*self._shared(attempt), *(() if way is None else (way,)))

    def _way(self, attempt: Attempt) -> Key | None:
        network = counted_as(attempt.client)
        if not self._known.knows(attempt.account, network):
            return None
        kind = "way" if attempt.is_guessable else "proof"
        return Key(kind, attempt.account, network)

    def _shared(self, attempt: Attempt) -> tuple[Key, ...]:
        """What an attempt has in common with those of others."""
        around = (
            Key("address", network=counted_as(attempt.client)),
            Key("network", network=neighbourhood(attempt.client)),
        )
        if not attempt.is_guessable:
            return around
        return (Key("account", attempt.account), *around)

    def _settled(self, key: Key) -> Failures:
        found = self._failures.get(key)
        if found is None:
            return Failures()
        found.settle(self._clock.seconds(), self.limits.window.total_seconds())
        if found.is_void:
            self._failures.remove(key)
        return found

    def _taken(self, key: Key, failures: Failures, mark: int) -> int:
        """Places that others have: failures, and passwords that are being checked."""
        others = self._checking.get(key, ())
        known = failures.marks
        checking = sum(one != mark and one not in known for one in others)
        return len(known) - (mark in known) + checking

    def _add(self, key: Key, attempt: Attempt) -> None:
        now = self._clock.seconds()
        failures = self._settled(key)
        limit = self.limits.of(key)
        mark, most = hash(attempt.fingerprint), limit or _MOST_UNLIMITED
        failures.add(mark, now, attempt.client, most)
        if (
            limit is not None
            and failures.until is None
            and len(failures.marks) >= limit
        ):
            failures.brake(now, self.limits.refusal, self.limits.longest_refusal)
            self._on_brake(key, failures)
        self._failures.put(key, failures)

    def _give_back(self, number: int) -> None:
        ticket = self._tickets.pop(number, None)
        if ticket is None:
            return
        for key in ticket.keys:
            checking = self._checking[key]
            checking[ticket.mark] -= 1
            if not checking[ticket.mark]:
                del checking[ticket.mark]
            if not checking:
                del self._checking[key]

    def _delay(self, failures: int) -> float:
        if failures < 2:
            return 0.0
        delay = self.limits.delay.total_seconds() * 2.0 ** min(failures - 2, 30)
        return min(delay, self.limits.longest_delay.total_seconds())


def as_account(name: str) -> str:
    """One spelling of an account's name, of bounded length: or each would have
    failures of its own.
    """
    account = folded(name)
    if len(account) <= _LONGEST_KEY:
        return account
    digest = hashlib.blake2b(account.encode("utf-8", "replace"), digest_size=8)
    return f"{account[:_LONGEST_KEY]}…{digest.hexdigest()}"


def _is_meant(key: Key, name: str) -> bool:
    if key.account and key.account == as_account(name):
        return True
    try:
        meant = ip_network(name, strict=False)
    except ValueError:
        return False
    if not key.network:
        return False
    network = ip_network(key.network)
    return network.version == meant.version and network.overlaps(meant)


def fingerprint(secret: bytes, account: str, password: str) -> str:
    """What tells passwords apart, and tells nobody what they are."""
    octets = account.encode() + b"\0" + password.encode()
    return hashlib.blake2b(octets, key=secret, digest_size=16).hexdigest()
