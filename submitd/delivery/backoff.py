"""Age → next due time. Pure."""

from datetime import datetime, timedelta

from attrs import frozen


@frozen(kw_only=True)
class RetrySchedule:
    """How long to keep trying, and how often (RFC 5321 section 4.5.4.1)."""

    first: timedelta
    longest: timedelta
    give_up: timedelta
    report_delay_after: timedelta | None
    jitter: float
    """Share by which a wait is made longer or shorter, from 0 to 1."""

    def next_due(
        self, accepted_at: datetime, attempts: int, now: datetime, chance: float
    ) -> datetime | None:
        """When to try again after ``attempts`` failed ones; None: give up.

        ``chance`` is drawn from 0 to 1: messages that failed together must
        not all come back together. The last attempt is at the give-up age.
        """
        end = accepted_at + self.give_up
        if now >= end:
            return None
        # Beyond 2**20 every wait is the longest, and none overflows.
        wait: timedelta = min(self.first * 2 ** min(attempts - 1, 20), self.longest)
        wait *= 1 + self.jitter * (2 * chance - 1)
        return min(now + max(wait, timedelta(seconds=1)), end)

    def is_report_due(self, accepted_at: datetime, now: datetime) -> bool:
        """True where the sender should have heard of the delay by now."""
        after = self.report_delay_after
        return after is not None and now - accepted_at >= after
