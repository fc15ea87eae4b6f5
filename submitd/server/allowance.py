"""What one submitter may still send: asked at DATA, and when a message is accepted."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from attrs import evolve, frozen

from submitd.auth.submitter import Submitter
from submitd.mail.envelope import ForwardPath
from submitd.mail.usage import Usage
from submitd.observe.events import MESSAGE_HELD, OVER_QUOTA, Events
from submitd.observe.metrics import Metrics
from submitd.policy.quota import (
    Quota,
    Quotas,
    Room,
    check_held,
    check_later,
    check_quota,
)
from submitd.smtp.reply import Reply
from submitd.spool.store import (
    Charge,
    Intake,
    NewMessage,
    Notices,
    Over,
    Spool,
    Spooled,
)


class MakesNotices(Protocol):
    """`delivery.notices.HoldNotices`."""

    def make(self, message: NewMessage, who: Submitter, reason: str) -> Notices: ...


@frozen(kw_only=True)
class Allowances:
    """What there is to know of all submitters' limits."""

    quotas: Quotas
    spool: Spool
    notices: MakesNotices
    events: Events
    metrics: Metrics
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def of(
        self, who: Submitter, session: str, *, for_later: bool
    ) -> "Allowance | None":
        """Of one, in one session; None: there is no limit to be asked for.

        ``for_later``: for a message that is to wait.
        """
        quota = self.quotas.of(who.login)
        if not (quota.limits or (for_later and quota.later != Room())):
            return None
        return Allowance(self, quota, who, session, for_later=for_later)


class Allowance:
    """One submitter's limits, for one message."""

    def __init__(
        self,
        shared: Allowances,
        quota: Quota,
        who: Submitter,
        session: str,
        *,
        for_later: bool,
    ) -> None:
        self._shared = shared
        self._quota = quota
        self._who = who
        self._session = session
        self._for_later = for_later
        self._remembers = quota.new_recipients_per_day is not None

    async def refusal_at_mail(self, size: int) -> Reply | None:
        """What is against one more message for later; None: there is room.

        Asked at MAIL; ``size`` as for `refusal`.

        Raises:
            SpoolUnavailable: cannot tell.
        """
        usage = await self._shared.spool.usage(
            self._who.login, (), (), self._shared.now(), later=True
        )
        refusal = check_later(self._quota, usage, size)
        return None if refusal is None else self._refused(refusal)

    async def refusal(
        self, forward_paths: Sequence[ForwardPath], size: int
    ) -> Reply | None:
        """What is against one more message, before its content comes; None: nothing.

        ``size``: as far as it is known, in octets.

        Raises:
            SpoolUnavailable: cannot tell.
        """
        quota, now = self._quota, self._shared.now()
        paths = forward_paths if self._remembers else ()
        usage = await self._shared.spool.usage(
            self._who.login, quota.spans, paths, now, held=quota.holds
        )
        refusal = check_quota(quota, usage, len(forward_paths), now.timestamp())
        if refusal is not None and quota.holds:
            refusal = check_held(quota, usage, size)
        return None if refusal is None else self._refused(refusal)

    async def accept(
        self, intake: Intake, message: NewMessage, tail: bytes, size: int
    ) -> Spooled | Reply:
        """Accept it, accept and hold it, or say what is against it.

        ``size``: octets of the whole message.

        Raises:
            SpoolUnavailable: as `Intake.accept`.
        """
        quota = self._quota
        recipients = len(message.envelope.forward_paths)
        moment = message.envelope.accepted_at.timestamp()

        def within(usage: Usage) -> Reply | None:
            return check_quota(quota, usage, recipients, moment)

        charge = self._charge(within, size)
        kept = await intake.accept_within(message, tail, charge)
        if isinstance(kept, Spooled):
            return kept
        if quota.holds and not self._too_much_waits(kept.usage, size):
            return await self._hold(intake, message, tail, size, kept)
        return self._refused(kept.reply)

    async def _hold(
        self, intake: Intake, message: NewMessage, tail: bytes, size: int, over: Over
    ) -> Spooled | Reply:
        quota, reason = self._quota, over.reply.text
        charge = evolve(
            self._charge(lambda usage: check_held(quota, usage, size), size),
            reason=reason,
            # Left out in the transaction where somebody was told a moment ago.
            notices=self._shared.notices.make(message, self._who, reason),
        )
        kept = await intake.accept_within(evolve(message, held=True), tail, charge)
        if isinstance(kept, Over):
            return self._refused(kept.reply)
        self._shared.metrics.over_quota.labels("held").inc()
        self._shared.events.emit(
            MESSAGE_HELD,
            session=self._session,
            queue_id=message.queue_id,
            login=self._who.login,
            reason=reason,
        )
        return kept

    def _too_much_waits(self, usage: Usage, size: int) -> Reply | None:
        """The refusal of a message that would have to wait; None: it has room."""
        return check_later(self._quota, usage, size) if self._for_later else None

    def _charge(self, judge: Callable[[Usage], Reply | None], size: int) -> Charge:
        return Charge(
            login=self._who.login,
            spans=self._quota.spans,
            remembers=self._remembers,
            judge=lambda usage: self._too_much_waits(usage, size) or judge(usage),
            for_later=self._for_later,
        )

    def _refused(self, refusal: Reply) -> Reply:
        self._shared.metrics.over_quota.labels("refused").inc()
        self._shared.events.emit(
            OVER_QUOTA,
            session=self._session,
            login=self._who.login,
            reply=refusal.text,
        )
        return refusal
