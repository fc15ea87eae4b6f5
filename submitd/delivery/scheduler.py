"""Due messages → lanes → outcomes, and back into the spool."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
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
_MOST_INTERRUPTIONS: Final = 2
"""Attempts cut off behind the final dot by our own death, which may each have
arrived. A further one might be the third copy; its sender hears of it instead."""

_CUT_OFF: Final = Failed(
    EnhancedCode(5, 3, 0),
    "sent whole to its host twice, and both times this server died before the "
    "answer was kept: it has most likely arrived, and is not sent once more",
    is_attempt=False,
)
_TIME_OVER: Final = EnhancedCode(5, 4, 7)
_TIME_OVER_SO_FAR: Final = EnhancedCode(4, 4, 7)
"""Delivery time expired (RFC 3463 section 3.5); further attempts are made."""

_LATER: Final = timedelta(minutes=15)
"""Until an outcome that could not be told of is looked for again."""


@frozen
class _Fate:
    """What an outcome means: the state to record, and what the sender hears."""

    state: State
    status: EnhancedCode
    action: Action | None
    due_at: datetime | None = None
    """Of what stays queued."""

    retry_until: datetime | None = None
    is_senders_time: bool = False
    """It is so because of the time that the sender set."""


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
        known = self._known(spooled, spooled.recipients)
        groups: dict[str, tuple[Route, list[Recipient]]] = {}
        for one in spooled.recipients:
            if one.number not in known:
                route = self._routes.find(one.forward_path.mailbox.domain)
                groups.setdefault(route.key, (route, []))[1].append(one)
        if known:
            self.begin(Job(spooled, spooled.recipients))
            self._settle_known(spooled, known)
        is_full = self._stopping or self._open_jobs >= self._limits.messages
        if self._octets >= self._limits.octets:
            spooled = evolve(spooled, header=None, body=None)
        for route, recipients in groups.values():
            job = Job(spooled, tuple(recipients))
            self.begin(job)
            if is_full:
                self.give_back(job)
            else:
                self._lanes.put(route, job)

    def _known(
        self, spooled: Spooled, recipients: Sequence[Recipient]
    ) -> dict[int, Outcome]:
        """Outcomes that need no attempt, by the number of the recipient.

        When time is up (RFC 2852 section 4.1.3) a message comes back, or its
        sender hears that it is late before it is tried again.
        """
        by = _deadline(spooled)
        is_late = by is not None and by.at <= self._now()
        known: dict[int, Outcome] = {}
        for one in recipients:
            if one.interruptions >= _MOST_INTERRUPTIONS:
                known[one.number] = _CUT_OFF
            elif by is not None and is_late and self._matters(spooled, one, by.mode):
                known[one.number] = _late(one, by.mode)
        return known

    def _matters(self, spooled: Spooled, one: Recipient, mode: ByMode) -> bool:
        """True where lateness ends the delivery, or its sender is to hear of it."""
        return mode is ByMode.RETURN or (
            not one.delay_reported
            and self._reporter.is_wanted(spooled, one.forward_path, Action.DELAYED)
        )

    def _settle_known(self, spooled: Spooled, known: Mapping[int, Outcome]) -> None:
        """Settle a job of the recipients whose outcome is known."""
        some = tuple(one for one in spooled.recipients if one.number in known)
        self.settle(Job(spooled, some), [known[one.number] for one in some])

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

    def put_off(self, job: Job, seconds: float) -> None:
        """As `Jobs.put_off`: those of other destinations come first."""
        self._run(job, self._release(job, self._now() + timedelta(seconds=seconds)))

    def in_time(self, job: Job) -> Job | None:
        """As `Jobs.in_time`."""
        known = self._known(job.spooled, job.recipients)
        if not known:
            return job
        left = tuple(one for one in job.recipients if one.number not in known)
        rest = Job(job.spooled, left) if left else None
        if rest is not None:
            self.begin(rest)
        self._settle_known(job.spooled, known)
        return rest

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
            and self._reporter.is_wanted(
                spooled, one.news.forward_path, one.news.action
            )
        )

    def _judge(
        self, spooled: Spooled, recipient: Recipient, outcome: Outcome, now: datetime
    ) -> _Judged:
        """What to record of an outcome, and what to tell the sender."""
        fate = self._fate(spooled, recipient, outcome, now)
        is_attempt = isinstance(outcome, Relayed) or outcome.is_attempt
        result = Result(
            number=recipient.number,
            state=fate.state,
            at=now,
            due_at=fate.due_at or now,
            status=fate.status,
            diagnostic=outcome.diagnostic,
            host=outcome.host,
            delay_reported=fate.action is Action.DELAYED,
            is_attempt=is_attempt,
        )
        news = None
        if fate.action is not None:
            news = ReportedRecipient(
                forward_path=recipient.forward_path,
                action=fate.action,
                status=fate.status,
                diagnostic=outcome.diagnostic,
                is_reply=outcome.is_reply,
                host=outcome.host,
                attempted_at=now if is_attempt else recipient.last_attempt_at,
                retry_until=fate.retry_until,
                is_owed=isinstance(outcome, Relayed) and outcome.is_owed,
                may_confirm=isinstance(outcome, Relayed) and outcome.reports_itself,
                is_senders_time=fate.is_senders_time,
            )
        return _Judged(recipient=recipient, outcome=outcome, result=result, news=news)

    def _fate(
        self, spooled: Spooled, recipient: Recipient, outcome: Outcome, now: datetime
    ) -> _Fate:
        """What an outcome means for its recipient."""
        match outcome:
            case Relayed(status):
                is_ours = outcome.is_owed or not outcome.reports_itself
                # Of nearly all mail nobody wants to hear that it went well.
                is_told = is_ours and self._reporter.is_wanted(
                    spooled,
                    recipient.forward_path,
                    Action.RELAYED,
                    is_owed=outcome.is_owed,
                )
                action = Action.RELAYED if is_told else None
                return _Fate(State.RELAYED, status, action)
            case Failed(status):
                # Of our own words, only those about a deadline have this status.
                is_late = status == _TIME_OVER and not outcome.is_reply
                return _Fate(
                    State.FAILED, status, Action.FAILED, is_senders_time=is_late
                )
            case Delayed():
                return self._fate_of_delayed(spooled, recipient, outcome, now)

    def _fate_of_delayed(
        self, spooled: Spooled, recipient: Recipient, outcome: Delayed, now: datetime
    ) -> _Fate:
        by = _deadline(spooled)
        due = self._next_due(spooled, recipient, outcome, now)
        if due is None:
            # The last words stay.
            is_late = by is not None and by.mode is ByMode.RETURN and by.at <= now
            return _Fate(
                State.FAILED, _TIME_OVER, Action.FAILED, is_senders_time=is_late
            )
        if not self._is_delay_due(spooled, recipient, now):
            return _Fate(State.QUEUED, outcome.status, None, due)
        is_late = by is not None and by.mode is ByMode.NOTIFY
        return _Fate(
            State.QUEUED,
            _TIME_OVER_SO_FAR if is_late else outcome.status,
            Action.DELAYED,
            due,
            spooled.envelope.sent_from + self._schedule.give_up,
            is_senders_time=is_late,
        )

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
    return None if by is None or by.was_over else by


def _late(one: Recipient, mode: ByMode) -> Outcome:
    """The time is up that the sender set (RFC 2852 section 4.1.3)."""
    words = "not delivered in the time that its sender set"
    if one.interruptions:
        words += (
            ", as far as is known: it was sent whole to its host, and this server "
            "died before the answer was kept, so it may have arrived"
        )
    if one.last_diagnostic:
        words += f"; so far: {one.last_diagnostic}"
    if mode is ByMode.RETURN:
        return Failed(_TIME_OVER, words, one.last_host, is_attempt=False)
    return Delayed(_TIME_OVER_SO_FAR, words, one.last_host, is_attempt=False)
