"""Due messages → lanes → outcomes, and back into the spool."""

from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

from attrs import evolve, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from submitd.delivery.backoff import RetrySchedule
from submitd.delivery.courier import Courier
from submitd.delivery.lanes import DeliveryLimits, Job, Lanes
from submitd.delivery.outcome import Delayed, Failed, Outcome, Relayed
from submitd.delivery.reporter import Reporter
from submitd.delivery.route import Route, Routes
from submitd.delivery.slots import DestinationSlots
from submitd.mail.envelope import ByMode, DeliverBy
from submitd.mail.report import Action, ReportedRecipient
from submitd.mail.status import EnhancedCode
from submitd.observe.events import (
    ATTEMPT_BROKE,
    MESSAGE_DELAYED,
    MESSAGE_FAILED,
    MESSAGE_RELAYED,
    OUTCOME_UNRECORDED,
    QUEUE_UNREADABLE,
    REPORT_MADE,
    Events,
)
from submitd.observe.metrics import Metrics
from submitd.spool.store import (
    Recipient,
    Report,
    Result,
    Spool,
    Spooled,
    SpoolUnavailable,
    State,
)

_BATCH: Final = 50
_AGAIN: Final = 1.0
_LONGEST_AGAIN: Final = 30.0
_PUT_OFF: Final = 10.0
"""Seconds, and up to twice that, until a message that found no place is due again."""

_MOST_INTERRUPTIONS: Final = 2
"""Attempts cut off behind the final dot by our own death, which may each have
arrived. A further one might be the third copy; its sender hears of it instead."""

_CUT_OFF: Final = Failed(
    EnhancedCode(5, 3, 0),
    "sent whole to its host twice, and both times this server died before the "
    "answer was kept: it has most likely arrived, and is not sent once more",
)
_LATER: Final = timedelta(minutes=15)
"""Until an outcome that could not be told of is looked for again."""


@frozen(kw_only=True)
class _Judged:
    """What is to be recorded of one recipient's outcome, and told of it."""

    recipient: Recipient
    outcome: Outcome
    result: Result
    news: ReportedRecipient | None
    """For the sender, who may not want to hear it."""


class DeliveryScheduler(Service):
    """Claims due messages and sees each of them to an outcome.

    The clock is handed in, never imported: a test moves a month of retries
    along in a millisecond.
    """

    def __init__(
        self,
        clock: Any,  # noqa: ANN401 - IReactorTime
        spool: Spool,
        courier: Courier,
        reporter: Reporter,
        routes: Routes,
        schedule: RetrySchedule,
        limits: DeliveryLimits,
        slots: DestinationSlots,
        events: Events,
        metrics: Metrics,
        *,
        period: float = 1.0,
        chance: Random | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``period``: seconds between looks at the spool."""
        self._clock = clock
        self._spool = spool
        self._reporter = reporter
        self._routes = routes
        self._schedule = schedule
        self._limits = limits
        self._events = events
        self._metrics = metrics
        self._chance = chance or Random()  # noqa: S311 - jitter, not secrets
        self._now = now
        self._lanes = Lanes(clock, courier, limits, slots, self, events, metrics)
        self._open_jobs = 0
        self._octets = 0
        self._all_done: Deferred[None] | None = None
        self._stopping = False
        self._looks = LoopingCall(lambda: Deferred.fromCoroutine(self._look()))
        self._looks.clock = clock
        self._period = period

    def startService(self) -> None:
        super().startService()
        self._looks.start(self._period)

    def stopService(self) -> Deferred[None]:
        """Start no more attempts; fire when those under way have ended.

        Cutting one off between the final dot and its reply is how a
        recipient gets the same message twice (RFC 1047), so a stop waits.
        """
        super().stopService()
        self._stopping = True
        if self._looks.running:
            self._looks.stop()
        self._lanes.stop()
        done: Deferred[None] = Deferred()
        self._all_done = done
        self.lane_ended()
        return done

    def take(self, spooled: Spooled) -> None:
        """A message that is leased to this process. Never raises, never waits."""
        by = _deadline(spooled)
        if by is not None and by.at <= self._now():
            spooled = self._settle_late(spooled, by)
        groups: dict[str, tuple[Route, list[Recipient]]] = {}
        cut_off: list[Recipient] = []
        for one in spooled.recipients:
            if one.interruptions >= _MOST_INTERRUPTIONS:
                cut_off.append(one)
                continue
            route = self._routes.find(one.forward_path.mailbox.domain)
            groups.setdefault(route.key, (route, []))[1].append(one)
        if cut_off:
            self._settle_at_once(spooled, cut_off, [_CUT_OFF] * len(cut_off))
        is_full = self._stopping or self._open_jobs >= self._limits.messages
        if self._octets >= self._limits.octets:
            spooled = evolve(spooled, header=None, body=None)
        for route, recipients in groups.values():
            job = Job(spooled, tuple(recipients))
            self.begin(job)
            if is_full:
                self.give_back(job)
            elif not self._lanes.put(route, job):
                self.put_off(job)

    def _settle_late(self, spooled: Spooled, by: DeliverBy) -> Spooled:
        """Time is up (RFC 2852 section 4.1.3): what may still be attempted.

        The others come back, or their sender hears that they are late before
        they are tried again.
        """
        late = [
            one
            for one in spooled.recipients
            if by.mode is ByMode.RETURN or self._is_news(spooled, one)
        ]
        if not late:
            return spooled
        self._settle_at_once(spooled, late, [_late(one, by.mode) for one in late])
        left = tuple(one for one in spooled.recipients if one not in late)
        return evolve(spooled, recipients=left)

    def _is_news(self, spooled: Spooled, one: Recipient) -> bool:
        """True where the sender is to hear of a delay, and has not."""
        news = ReportedRecipient(
            forward_path=one.forward_path,
            action=Action.DELAYED,
            status=EnhancedCode(4, 4, 7),
            diagnostic="",
            host="",
            attempted_at=self._now(),
        )
        return not one.delay_reported and self._reporter.is_wanted(spooled, news)

    def _settle_at_once(
        self, spooled: Spooled, recipients: Sequence[Recipient], outcomes: list[Outcome]
    ) -> None:
        job = Job(spooled, tuple(recipients))
        self.begin(job)
        self.settle(job, outcomes)

    # What lanes call

    def begin(self, job: Job) -> None:
        """As `Jobs.begin`."""
        self._open_jobs += 1
        self._octets += job.octets

    def settle(self, job: Job, outcomes: Sequence[Outcome]) -> None:
        """As `Jobs.settle`."""
        self._run(job, self._record(job, outcomes))

    def give_back(self, job: Job) -> None:
        """As `Jobs.give_back`."""
        self._run(job, self._release(job))

    def put_off(self, job: Job) -> None:
        """As `Jobs.put_off`: those of others come first."""
        pause = _PUT_OFF * (1 + self._chance.random())
        self._run(job, self._release(job, self._now() + timedelta(seconds=pause)))

    def lane_ended(self) -> None:
        """As `Jobs.lane_ended`."""
        if self._all_done is not None and not (self._lanes.count or self._open_jobs):
            done, self._all_done = self._all_done, None
            done.callback(None)

    # The spool's side

    async def _look(self) -> None:
        """Claim what is due, as far as there is room."""
        while not self._stopping:
            room = min(_BATCH, self._limits.messages - self._open_jobs)
            if room <= 0:
                return
            try:
                claimed = await self._spool.claim_due(self._now(), room)
            except SpoolUnavailable as problem:
                # Look again next time. A LoopingCall that raised never runs
                # again: mail would wait for ever behind open ports.
                self._events.emit(QUEUE_UNREADABLE, reason=str(problem))
                return
            except Exception as fault:  # noqa: BLE001
                self._events.failure(QUEUE_UNREADABLE, fault, reason="a local fault")
                return
            for spooled in claimed:
                self.take(spooled)
            if len(claimed) < room:
                return

    async def _release(self, job: Job, due_at: datetime | None = None) -> None:
        numbers = [one.number for one in job.recipients]
        await self._insist(
            lambda: self._spool.release(job.spooled.queue_id, numbers, due_at)
        )

    async def _insist(self, write: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Write until it is written: an outcome that is lost is mail sent twice."""
        wait = _AGAIN
        while True:
            try:
                return await write()
            except SpoolUnavailable as problem:
                self._events.emit(OUTCOME_UNRECORDED, reason=str(problem))
            if self._stopping:
                # The next start finds the lease void and tries again.
                return None
            await self._pause(wait)
            wait = min(wait * 2, _LONGEST_AGAIN)

    # Outcomes

    async def _record(self, job: Job, outcomes: Sequence[Outcome]) -> None:
        spooled, now = job.spooled, self._now()
        judged = [
            self._judge(spooled, recipient, outcome, now)
            for recipient, outcome in zip(job.recipients, outcomes, strict=True)
        ]
        reports = await self._reports(spooled, judged, now)
        if reports is None:
            # Who would go untold stays in the queue, and is tried again.
            untold = [one for one in judged if self._must_be_told(spooled, one)]
            judged = [one for one in judged if one not in untold]
            left = tuple(one.recipient for one in untold)
            if left:
                await self._release(Job(spooled, left), now + _LATER)
        if not judged:
            return
        results = [one.result for one in judged]
        entered = await self._insist(
            lambda: self._spool.record(spooled.queue_id, results, reports or ())
        )
        if entered is None:
            return
        for one in judged:
            self._tell(spooled, one)
        for fresh in entered:
            self._events.emit(
                REPORT_MADE,
                queue_id=fresh.queue_id,
                about=spooled.queue_id,
                recipient=fresh.envelope.forward_paths[0].mailbox,
            )
            self.take(fresh)

    async def _reports(
        self, spooled: Spooled, judged: Sequence[_Judged], now: datetime
    ) -> list[Report] | None:
        """What the sender is to hear; None: it cannot be made now."""
        news = [one.news for one in judged if one.news is not None]
        if not news:
            return []
        try:
            made: list[Report] | None = await self._insist(
                lambda: self._reporter.reports(spooled, news, now)
            )
        except Exception as fault:  # noqa: BLE001
            # It must not keep what was relayed from being recorded.
            self._events.failure(ATTEMPT_BROKE, fault, queue_id=spooled.queue_id)
            return None
        return made

    def _must_be_told(self, spooled: Spooled, one: _Judged) -> bool:
        """True where the outcome is not to be recorded without a report."""
        return (
            one.news is not None
            and one.result.state is not State.RELAYED
            and self._reporter.is_wanted(spooled, one.news)
        )

    def _judge(
        self, spooled: Spooled, recipient: Recipient, outcome: Outcome, now: datetime
    ) -> _Judged:
        """What to record of an outcome, and what to tell the sender."""
        status = outcome.status
        state, due_at = State.FAILED, now
        action: Action | None = Action.FAILED
        retry_until: datetime | None = None
        match outcome:
            case Relayed():
                state = State.RELAYED
                is_told = outcome.reports_itself and not outcome.is_owed
                action = None if is_told else Action.RELAYED
            case Failed():
                pass
            case Delayed():
                due = self._next_due(spooled, recipient, outcome, now)
                if due is None:
                    # X.4.7: delivery time expired. The last words stay.
                    status = EnhancedCode(5, 4, 7)
                else:
                    state, due_at = State.QUEUED, due
                    action = None
                    if self._is_delay_due(spooled, recipient, now):
                        action = Action.DELAYED
                        retry_until = (
                            spooled.envelope.sent_from + self._schedule.give_up
                        )
                        by = _deadline(spooled)
                        if by is not None and by.mode is ByMode.NOTIFY:
                            status = EnhancedCode(4, 4, 7)
        result = Result(
            number=recipient.number,
            state=state,
            at=now,
            due_at=due_at,
            status=status,
            diagnostic=outcome.diagnostic,
            host=outcome.host,
            delay_reported=action is Action.DELAYED,
            is_attempt=not (isinstance(outcome, Delayed) and not outcome.is_attempt),
        )
        news = None
        if action is not None:
            news = ReportedRecipient(
                forward_path=recipient.forward_path,
                action=action,
                status=status,
                diagnostic=outcome.diagnostic,
                is_reply=outcome.is_reply,
                host=outcome.host,
                attempted_at=now,
                retry_until=retry_until,
                is_owed=isinstance(outcome, Relayed) and outcome.is_owed,
            )
        return _Judged(recipient=recipient, outcome=outcome, result=result, news=news)

    def _next_due(
        self, spooled: Spooled, recipient: Recipient, outcome: Delayed, now: datetime
    ) -> datetime | None:
        """When to try again; None: never. At the deadline that the sender set, too."""
        if not outcome.is_attempt:
            return now
        due = self._schedule.next_due(
            spooled.envelope.sent_from,
            recipient.attempts + 1,
            now,
            self._chance.random(),
        )
        by = _deadline(spooled)
        if due is None or by is None:
            return due
        if by.at > now:
            return min(due, by.at)
        return None if by.mode is ByMode.RETURN else due

    def _is_delay_due(
        self, spooled: Spooled, recipient: Recipient, now: datetime
    ) -> bool:
        """True where the sender should hear now that it takes time.

        Once: by our schedule, or when the time is up that they set themselves.
        """
        if recipient.delay_reported:
            return False
        by = _deadline(spooled)
        if by is not None and by.mode is ByMode.NOTIFY:
            return by.at <= now
        return self._schedule.is_report_due(spooled.envelope.sent_from, now)

    def _tell(self, spooled: Spooled, one: _Judged) -> None:
        result, recipient = one.result, one.recipient
        self._metrics.outcomes.labels(result.state.value).inc()
        age = (result.at - spooled.envelope.sent_from).total_seconds()
        if result.state is State.RELAYED:
            self._metrics.delivery_seconds.observe(max(0.0, age))
        self._events.emit(
            _EVENTS[result.state],
            session=spooled.session,
            queue_id=spooled.queue_id,
            recipient=recipient.forward_path.mailbox,
            host=one.outcome.host or None,
            status=str(result.status),
            reply=result.diagnostic,
            attempts=recipient.attempts + result.is_attempt,
            age=round(age, 3),
        )

    def _run(self, job: Job, work: Coroutine[Any, Any, None]) -> None:
        """Write what a job came to; it is over then, well or not."""

        def over(result: Failure | None) -> None:
            self._open_jobs -= 1
            self._octets -= job.octets
            if isinstance(result, Failure):
                self._events.failure(
                    ATTEMPT_BROKE, result.value, queue_id=job.spooled.queue_id
                )
            self.lane_ended()

        Deferred.fromCoroutine(work).addBoth(over)

    async def _pause(self, seconds: float) -> None:
        waiting: Deferred[None] = Deferred()
        self._clock.callLater(seconds, waiting.callback, None)
        await waiting


_EVENTS: Final = {
    State.RELAYED: MESSAGE_RELAYED,
    State.QUEUED: MESSAGE_DELAYED,
    State.FAILED: MESSAGE_FAILED,
}


def _deadline(spooled: Spooled) -> DeliverBy | None:
    """The time that the sender set; not one that was over, and only to be told of.

    Who sends with BY=-60;N knows that it is late (RFC 2852 section 4).
    """
    by = spooled.envelope.deliver_by
    if by is None or by.mode is ByMode.RETURN:
        return by
    return by if by.at > spooled.envelope.accepted_at else None


def _late(one: Recipient, mode: ByMode) -> Outcome:
    """The time is up that the sender set (RFC 2852 section 4.1.3)."""
    words = "not delivered in the time that its sender set"
    if one.last_diagnostic:
        words += f"; so far: {one.last_diagnostic}"
    if mode is ByMode.RETURN:
        return Failed(EnhancedCode(5, 4, 7), words, one.last_host)
    return Delayed(EnhancedCode(4, 4, 7), words, one.last_host, is_attempt=False)
