"""How much may one submitter send, and when again? Used, allowed, wanted → reply."""

import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Final

from attrs import field, frozen

from submitd.mail.status import EnhancedCode
from submitd.mail.usage import Span, Stored, Usage, login_key
from submitd.smtp.reply import Reply

_LATER: Final = EnhancedCode(4, 7, 1)
_NEVER: Final = EnhancedCode(5, 5, 3)
_FULL: Final = EnhancedCode(4, 2, 2)
"""A user is over what an administrator allows to lie there (RFC 3463 section 3.3)."""
_TOO_MUCH_FOR_LATER: Final = EnhancedCode(5, 7, 16)
"""RFC 4865's, to which RFC 6710 has given another meaning since."""

_WORDS: Final = {
    "messages": "messages",
    "recipients": "recipients",
    "new_recipients": "first-time recipients",
}
_SPANS: Final = {Span.MINUTE: "a minute", Span.HOUR: "an hour", Span.DAY: "a day"}


@frozen
class Limit:
    """One number that is not to be passed."""

    name: str
    """As it is configured."""

    what: str
    """What is counted: a field of `Spent`."""

    span: Span
    allowed: int

    def used(self, usage: Usage) -> int:
        """How much of it is used."""
        spent = usage.spent.get(self.span, ())
        return sum(getattr(one, self.what) for one in spent)

    def again_at(self, usage: Usage, wanted: int) -> float | None:
        """When so much more is possible (seconds since 1970); None: never.

        A moment that is past: now.
        """
        if wanted > self.allowed:
            return None
        left = self.used(usage)
        moment = 0.0
        for one in usage.spent.get(self.span, ()):
            if left + wanted <= self.allowed:
                break
            left -= getattr(one, self.what)
            moment = one.until
        return moment


@frozen(kw_only=True)
class Room:
    """How much may lie in the spool for one submitter at a time. None: no limit."""

    messages: int | None = None
    octets: int | None = None

    def has(self, stored: Stored, size: int) -> bool:
        """True where one more message of so many octets has its place."""
        return (self.messages is None or stored.messages < self.messages) and (
            self.octets is None or stored.octets + size <= self.octets
        )


@frozen(kw_only=True)
class Quota:
    """What one submitter may send. None: no limit."""

    burst: int | None = None
    """Messages a minute."""

    messages_per_hour: int | None = None
    messages_per_day: int | None = None
    recipients_per_hour: int | None = None
    recipients_per_day: int | None = None
    new_recipients_per_day: int | None = None
    holds: bool = False
    """What is over a limit is held for an administrator, instead of refused."""

    held: Room = Room()
    """How much is held at a time: more is refused then."""

    later: Room = Room()
    """How much waits at a time for the moment that was set for it."""

    @cached_property
    def limits(self) -> tuple[Limit, ...]:
        """Those that there are. (Each message asks.)"""
        return tuple(self._limits())

    def _limits(self) -> Iterator[Limit]:
        for name, what, span in (
            ("burst", "messages", Span.MINUTE),
            ("messages_per_hour", "messages", Span.HOUR),
            ("messages_per_day", "messages", Span.DAY),
            ("recipients_per_hour", "recipients", Span.HOUR),
            ("recipients_per_day", "recipients", Span.DAY),
            ("new_recipients_per_day", "new_recipients", Span.DAY),
        ):
            allowed: int | None = getattr(self, name)
            if allowed is not None:
                yield Limit(name, what, span, allowed)

    @cached_property
    def spans(self) -> frozenset[Span]:
        """Over which has to be counted."""
        return frozenset(one.span for one in self.limits)


@frozen
class Quotas:
    """Who may send how much."""

    default: Quota = Quota()
    """Of all others."""

    by_login: Mapping[str, Quota] = field(factory=dict)
    """By `login_key`."""

    def of(self, login: str) -> Quota:
        """What this submitter may send."""
        return self.by_login.get(login_key(login), self.default)


def check_quota(
    quota: Quota, usage: Usage, recipients: int, now: float
) -> Reply | None:
    """The refusal of one more message to so many recipients; None: it is within.

    Where several limits are passed, it names the one that lasts longest.
    """
    wanted = {
        "messages": 1,
        "recipients": recipients,
        "new_recipients": usage.new_recipients,
    }
    passed = [
        one
        for one in quota.limits
        if wanted[one.what] and one.used(usage) + wanted[one.what] > one.allowed
    ]
    if not passed:
        return None

    def again_at(limit: Limit) -> float:
        moment = limit.again_at(usage, wanted[limit.what])
        return math.inf if moment is None else moment

    worst = max(passed, key=again_at)
    return _refusal(worst, usage, wanted[worst.what], now)


def check_held(quota: Quota, usage: Usage, size: int) -> Reply | None:
    """The refusal of one more message to be held, of ``size`` octets; None: room."""
    if quota.held.has(usage.held, size):
        return None
    stored = as_stored(usage.held)
    return Reply(452, _FULL, f"Too much of your mail is held already: {stored}")


def check_later(quota: Quota, usage: Usage, size: int) -> Reply | None:
    """The refusal of one more message for later, of ``size`` octets; None: room.

    Source: RFC 4865 section 6.
    """
    if quota.later.has(usage.later, size):
        return None
    stored = as_stored(usage.later)
    return Reply(
        552, _TOO_MUCH_FOR_LATER, f"Too much of your mail waits for later: {stored}"
    )


def as_stored(stored: Stored) -> str:
    """``1 message, 12 kB``."""
    number = "1 message" if stored.messages == 1 else f"{stored.messages} messages"
    return f"{number}, {as_size(stored.octets)}"


def as_size(octets: int) -> str:
    """Octets, rounded up: ``12 kB``, ``500 MB``."""
    kilo = math.ceil(octets / 1000)
    return f"{kilo} kB" if kilo < 10_000 else f"{math.ceil(kilo / 1000)} MB"


def _refusal(limit: Limit, usage: Usage, wanted: int, now: float) -> Reply:
    what = _WORDS[limit.what] if limit.allowed > 1 else _WORDS[limit.what][:-1]
    rule = f"The limit is {limit.allowed} {what} {_SPANS[limit.span]}"
    moment = limit.again_at(usage, wanted)
    if moment is None:
        return Reply(550, _NEVER, f"{rule}, and this message has {wanted}")
    used = limit.used(usage)
    again = as_wait(moment - now)
    return Reply(451, _LATER, f"{rule} ({used} used); possible again in {again}")


def as_wait(seconds: float) -> str:
    """A time to wait, rounded up: ``50 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 60:
        return f"{max(1, math.ceil(seconds))} s"
    minutes = math.ceil(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
