"""Failed log-ins, remembered within bounds that no flood turns against us."""

from collections import OrderedDict
from collections.abc import Iterator
from datetime import timedelta
from typing import Final, NamedTuple

from attrs import define, field

_MOST_OF_A_LEVEL: Final = 8192
_TOP: Final = 7
"""The level of those that are braked, or were lately; below it, by doublings."""

_STRIKES_KEPT: Final = 86400.0
"""Seconds after the end of a refusal for which the next one is longer for it."""


class Key(NamedTuple):
    """Whose failures are counted together."""

    kind: str
    """``account``, ``address``, ``network``, or ``way``: an account from a network
    from which it has logged in; ``proof``: the same, for what is no password.
    """

    account: str = ""
    network: str = ""

    @property
    def name(self) -> str:
        """As an operator reads and writes it."""
        if self.kind == "way":
            return f"{self.account} from {self.network}"
        if self.kind == "proof":
            return f"{self.account} by token or certificate from {self.network}"
        return self.account or self.network


@define
class Failures:
    """What is remembered of one key. Moments are seconds of the loop's clock."""

    since: float = 0.0
    """The first of the failures that count; where it is braked, when that began."""

    marks: list[int] = field(factory=list)
    """One for each wrong password that counts."""

    until: float | None = None
    """Until when it is braked; None: it is not."""

    strikes: int = 0
    """Refusals so far, in a row."""

    ended: float = 0.0
    """When the last refusal ended."""

    client: str = ""
    """Who failed last."""

    def settle(self, now: float, window: float) -> None:
        """Forget what time has made void."""
        if self.until is not None:
            if now >= self.until:
                self.ended, self.until = self.until, None
                self.marks = []
        elif now - self.since > window:
            self.marks = []
        if self.until is None and now - self.ended > _STRIKES_KEPT:
            self.strikes = 0

    def add(self, mark: int, now: float, client: str, most: int) -> None:
        """One more failure, of ``most``; the same wrong password counts once."""
        self.client = client
        if self.until is not None or mark in self.marks:
            return
        if not self.marks:
            self.since = now
        if len(self.marks) < most:
            self.marks.append(mark)

    def brake(self, now: float, first: timedelta, longest: timedelta) -> None:
        """Refuse from now on, twice as long as the last time."""
        span = first.total_seconds() * 2.0 ** min(self.strikes, 30)
        self.since = now
        self.until = now + min(span, longest.total_seconds())
        self.strikes += 1

    @property
    def is_void(self) -> bool:
        """Nothing is left to be remembered."""
        return not self.marks and self.until is None and not self.strikes

    @property
    def level(self) -> int:
        """How much it matters that this is not forgotten."""
        return _TOP if self.strikes else min(len(self.marks).bit_length(), _TOP - 1)


class FailureTable:
    """Failures by key: for each level of them so many places, the oldest go.

    In one common row a flood of invented names, each with one failure, would push
    out the account that is under attack. Here a flood pushes out what has failed
    as often as the flood itself has, for each of thousands of keys.
    """

    def __init__(self) -> None:
        self._levels: list[OrderedDict[Key, Failures]] = [
            OrderedDict() for _ in range(_TOP + 1)
        ]

    def __iter__(self) -> Iterator[tuple[Key, Failures]]:
        for level in reversed(self._levels):
            yield from level.items()

    def get(self, key: Key) -> Failures | None:
        """What is remembered of it."""
        for level in self._levels:
            if (found := level.get(key)) is not None:
                return found
        return None

    def put(self, key: Key, failures: Failures) -> None:
        """Remember it as it is now."""
        self.remove(key)
        level = self._levels[failures.level]
        level[key] = failures
        while len(level) > _MOST_OF_A_LEVEL:
            level.popitem(last=False)

    def remove(self, key: Key) -> None:
        """Forget it."""
        for level in self._levels:
            level.pop(key, None)
