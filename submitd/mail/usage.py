"""What a submitter has sent lately: the spool counts it, policy judges it."""

from collections.abc import Mapping
from enum import Enum

from attrs import field, frozen


def login_key(login: str) -> str:
    """What tells logins apart, in whatever case they are written."""
    return login.casefold()


class Span(Enum):
    """A time over which messages and recipients are counted together."""

    MINUTE = 60
    HOUR = 3600
    DAY = 86400

    @property
    def seconds(self) -> int:
        """How long it is."""
        return self.value

    @property
    def grain(self) -> int:
        """Seconds whose messages are one number."""
        return {60: 10, 3600: 60, 86400: 1800}[self.value]

    def until(self, at: float) -> float:
        """Until when a message of the moment ``at`` counts (seconds since 1970).

        To the end of its grain and the span from there: no span of that length,
        wherever it begins, has more than what was counted.
        """
        return (at // self.grain + 1) * self.grain + self.seconds


@frozen(kw_only=True)
class Spent:
    """What was sent within one grain of a span."""

    until: float
    """Until when it counts, as `Span.until`."""

    messages: int = 0
    recipients: int = 0
    new_recipients: int = 0
    """Those whom the submitter had not written to lately."""


@frozen
class Stored:
    """What lies in the spool."""

    messages: int = 0
    octets: int = 0


@frozen(kw_only=True)
class Usage:
    """How it stands with one submitter at one moment, and with one message."""

    spent: Mapping[Span, tuple[Spent, ...]] = field(factory=dict)
    """What counts, the oldest first."""

    new_recipients: int = 0
    """Of the message's recipients: those not written to lately."""

    held: Stored = Stored()
    """What is held at this moment, whoever holds it, where that was asked."""

    later: Stored = Stored()
    """What waits for a time that was set, where that was asked."""

    noticed: bool = False
    """The submitter was told not long ago that mail is held, and some still is."""
