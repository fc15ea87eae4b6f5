"""Due messages → lanes → outcomes, and back into the spool."""

from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

from attrs import define, field, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from submitd.delivery.backoff import RetrySchedule
from submitd.delivery.connection import ConnectionBroke
from submitd.delivery.courier import CannotReach, Courier, Hop
from submitd.delivery.outcome import Delayed, Failed, Outcome, Relayed
from submitd.delivery.reporter import Reporter
from submitd.delivery.route import Route, Routes
from submitd.delivery.slots import DestinationSlots
from submitd.mail.report import Action, ReportedRecipient
from submitd.mail.status import EnhancedCode
from submitd.observe.events import (
    ATTEMPT_BROKE,
    DESTINATION_DOWN,
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


@frozen(kw_only=True)
class DeliveryLimits:
    """How much goes on at once, in this process."""

    connections: int
    connections_per_destination: int
    messages_per_connection: int
    idle_connection: float
    """Seconds that a connection waits for the next message."""

    messages: int = 2000
    """Messages in memory; beyond, they wait in the spool."""


@frozen(eq=False)
class Job:
    """One message's recipients of one destination."""

    spooled: Spooled
    recipients: tuple[Recipient, ...]


@define(eq=False)
class Destination:
    """What waits for one next hop, and the lanes that serve it."""

    route: Route
    jobs: deque[Job] = field(factory=deque)
    lanes: "set[Lane]" = field(factory=set)
    idle: "deque[Lane]" = field(factory=deque)
    most: int | None = None
    """Lanes that it bears, once it has refused one more; None: not known."""


class Lane:
    """One connection to a destination, and what drives it."""

    def __init__(self) -> None:
        self.hop: Hop | None = None
        self.wake: Deferred[None] | None = None
        """Set while the lane is idle; fired to give it work, or its end."""


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
        self._courier = courier
        self._reporter = reporter
        self._routes = routes
        self._schedule = schedule
        self._limits = limits
        self._slots = slots
        self._events = events
        self._metrics = metrics
        self._chance = chance or Random()  # noqa: S311 - jitter, not secrets
        self._now = now
        self._destinations: dict[str, Destination] = {}
        self._lanes = 0
        self._in_memory = 0
        self._open_jobs = 0
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
        for destination in tuple(self._destinations.values()):
            while destination.jobs:
                self._give_back(destination.jobs.popleft())
            for lane in tuple(destination.idle):
                self._wake(destination, lane)
        done: Deferred[None] = Deferred()
        if self._lanes == 0 and self._open_jobs == 0:
            done.callback(None)
        else:
            self._all_done = done
        return done

    def take(self, spooled: Spooled) -> None:
        """A message that is leased to this process. Never raises, never waits."""
        groups: dict[str, tuple[Route, list[Recipient]]] = {}
        for one in spooled.recipients:
            route = self._routes.find(one.forward_path.mailbox.domain)
            groups.setdefault(route.key, (route, []))[1].append(one)
        full = self._stopping or self._in_memory >= self._limits.messages
        for key, (route, recipients) in groups.items():
            job = Job(spooled, tuple(recipients))
            self._open_jobs += 1
            self._in_memory += 1
            if full:
                self._give_back(job)
                continue
            destination = self._destinations.get(key)
            if destination is None or destination.route != route:
                destination = self._destinations[key] = Destination(route)
            destination.jobs.append(job)
            self._serve(destination)

    # The spool's side

    async def _look(self) -> None:
        """Claim what is due, as far as there is room."""
        while not self._stopping:
            room = min(_BATCH, self._limits.messages - self._in_memory)
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

    def _give_back(self, job: Job) -> None:
        self._run(self._release(job))

    async def _release(self, job: Job) -> None:
        numbers = [one.number for one in job.recipients]
        try:
            await self._insist(
                lambda: self._spool.release(job.spooled.queue_id, numbers)
            )
        finally:
            self._job_done()

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

    def _job_done(self) -> None:
        self._in_memory -= 1
        self._open_jobs -= 1
        self._check_done()

    def _check_done(self) -> None:
        if self._all_done is not None and self._lanes == 0 and self._open_jobs == 0:
            done, self._all_done = self._all_done, None
            done.callback(None)

    # Lanes

    def _serve(self, destination: Destination) -> None:
        """Wake an idle lane, or open one more where that is allowed."""
        if destination.idle:
            self._wake(destination, destination.idle.popleft())
            return
        limits = self._limits
        if (
            len(destination.lanes)
            < (destination.most or limits.connections_per_destination)
            and self._lanes < limits.connections
        ):
            lane = Lane()
            destination.lanes.add(lane)
            self._lanes += 1
            self._run(self._drive(destination, lane))

    def _wake(self, destination: Destination, lane: Lane) -> None:
        if lane in destination.idle:
            destination.idle.remove(lane)
        if lane.wake is not None:
            wake, lane.wake = lane.wake, None
            wake.callback(None)

    async def _drive(self, destination: Destination, lane: Lane) -> None:
        """A lane's life: jobs one after another, until none is left."""
        key = f"to {destination.route.key}"
        keys = [(key, self._limits.connections_per_destination)]
        taken = False
        try:
            taken = await self._slots.take(list(keys))
            while not taken and not self._stopping and len(destination.lanes) == 1:
                # Other workers have all the connections; jobs wait for one.
                await self._pause(_AGAIN)
                taken = await self._slots.take(list(keys))
            if taken:
                await self._work(destination, lane)
        except Exception as fault:  # noqa: BLE001
            # One lane's bug must not stop the others; its jobs go on in a new
            # lane, or at the latest after the next start.
            self._events.failure(ATTEMPT_BROKE, fault, destination=key)
        finally:
            if taken:
                self._slots.give([key])
            destination.lanes.discard(lane)
            self._lanes -= 1
            self._hang_up(lane)
        self._after_lane(destination)

    def _after_lane(self, destination: Destination) -> None:
        if destination.jobs and not self._stopping:
            if not destination.lanes:
                self._serve(destination)
        elif not destination.lanes:
            current = self._destinations.get(destination.route.key)
            if current is destination and not destination.jobs:
                del self._destinations[destination.route.key]
        self._start_starved()
        self._check_done()

    def _start_starved(self) -> None:
        """A lane ended: a destination without any may open one."""
        if self._stopping or self._lanes >= self._limits.connections:
            return
        for destination in self._destinations.values():
            if destination.jobs and not destination.lanes:
                self._serve(destination)
                return

    async def _work(self, destination: Destination, lane: Lane) -> None:
        carried = 0
        while await self._has_job(destination, lane):
            if lane.hop is not None and (
                not lane.hop.connection.is_usable
                or carried >= self._limits.messages_per_connection
            ):
                self._hang_up(lane)
            if lane.hop is None:
                carried = 0
                try:
                    lane.hop = await self._courier.reach(destination.route)
                except CannotReach as trouble:
                    self._cannot_reach(destination, trouble.outcome)
                    return
                self._metrics.deliveries_open.inc()
                continue  # the job may have been taken by another lane
            job = destination.jobs.popleft()
            carried += 1
            await self._attempt(destination, lane, lane.hop, job, reused=carried > 1)

    def _hang_up(self, lane: Lane) -> None:
        if lane.hop is not None:
            self._metrics.deliveries_open.dec()
            self._run(lane.hop.connection.quit())
            lane.hop = None

    async def _has_job(self, destination: Destination, lane: Lane) -> bool:
        """Wait for one for as long as an idle connection is kept."""
        if destination.jobs:
            return True
        if lane.hop is None or self._stopping or not lane.hop.connection.is_usable:
            return False
        waiting: Deferred[None] = Deferred()
        lane.wake = waiting
        destination.idle.append(lane)
        try:
            await waiting.addTimeout(self._limits.idle_connection, self._clock)
        except TimedOut:
            lane.wake = None
            if lane in destination.idle:
                destination.idle.remove(lane)
        return bool(destination.jobs)

    def _cannot_reach(
        self, destination: Destination, outcome: Delayed | Failed
    ) -> None:
        """All that waits shares the fate: a dead host is not tried for each.

        Unless other lanes serve it: then it only bears no more connections.
        """
        serving = sum(lane.hop is not None for lane in destination.lanes)
        if serving:
            destination.most = serving
            return
        jobs = list(destination.jobs)
        destination.jobs.clear()
        self._events.emit(
            DESTINATION_DOWN,
            destination=destination.route.key,
            reason=outcome.diagnostic,
            messages=len(jobs),
        )
        for job in jobs:
            self._run(self._settle(job, [outcome] * len(job.recipients)))

    async def _attempt(
        self,
        destination: Destination,
        lane: Lane,
        hop: Hop,
        job: Job,
        *,
        reused: bool,
    ) -> None:
        try:
            outcomes = await self._courier.carry(
                hop, job.spooled, job.recipients, reused=reused
            )
        except ConnectionBroke:
            # Closed while idle: nothing was said, so nothing was tried.
            self._hang_up(lane)
            destination.jobs.appendleft(job)
            return
        except LookupError:
            self._job_done()  # an operator removed it
            return
        except Exception as fault:  # noqa: BLE001
            # One message that trips a bug must not hold up the others. It
            # counts as an attempt, so that it is not tried without end.
            self._events.failure(ATTEMPT_BROKE, fault, queue_id=job.spooled.queue_id)
            hop.connection.abort()
            broke = Delayed(EnhancedCode(4, 3, 0), "a local fault", "")
            outcomes = [broke] * len(job.recipients)
        self._run(self._settle(job, outcomes))

    # Outcomes

    async def _settle(self, job: Job, outcomes: Sequence[Outcome]) -> None:
        try:
            await self._record(job, outcomes)
        finally:
            self._job_done()

    async def _record(self, job: Job, outcomes: Sequence[Outcome]) -> None:
        spooled, now = job.spooled, self._now()
        results: list[Result] = []
        reported: list[ReportedRecipient] = []
        for recipient, outcome in zip(job.recipients, outcomes, strict=True):
            result, news = self._judge(spooled, recipient, outcome, now)
            results.append(result)
            if news is not None:
                reported.append(news)
            self._tell(spooled, recipient, result, outcome)
        reports: list[Report] | None = []
        if reported:
            try:
                reports = await self._insist(
                    lambda: self._reporter.reports(spooled, reported, now)
                )
            except LookupError:
                return  # an operator removed it while we were at it
            if reports is None:
                # The spool closes on us. Who would go untold stays in the
                # queue: the next start tries again.
                untold = {one.forward_path for one in reported}
                results = [
                    result
                    for result, recipient in zip(results, job.recipients, strict=True)
                    if recipient.forward_path not in untold
                ]
        entered = await self._insist(
            lambda: self._spool.record(spooled.queue_id, results, reports or ())
        )
        for fresh in entered or ():
            self._events.emit(
                REPORT_MADE,
                queue_id=fresh.queue_id,
                about=spooled.queue_id,
                recipient=fresh.envelope.forward_paths[0].mailbox,
            )
            self.take(fresh)

    def _judge(
        self, spooled: Spooled, recipient: Recipient, outcome: Outcome, now: datetime
    ) -> tuple[Result, ReportedRecipient | None]:
        """What to record of an outcome, and what to tell the sender."""
        accepted_at = spooled.envelope.accepted_at
        path = recipient.forward_path
        status, diagnostic = outcome.status, outcome.diagnostic
        state, due_at = State.FAILED, now
        action: Action | None = Action.FAILED
        retry_until: datetime | None = None
        match outcome:
            case Relayed():
                state = State.RELAYED
                action = None if outcome.reports_itself else Action.RELAYED
            case Failed():
                pass
            case Delayed():
                due = self._schedule.next_due(
                    accepted_at, recipient.attempts + 1, now, self._chance.random()
                )
                if due is None:
                    # X.4.7: delivery time expired. The last words stay.
                    status = EnhancedCode(5, 4, 7)
                else:
                    state, due_at = State.QUEUED, due
                    action = None
                    if not recipient.delay_reported and self._schedule.is_report_due(
                        accepted_at, now
                    ):
                        action = Action.DELAYED
                        retry_until = accepted_at + self._schedule.give_up
        result = Result(
            number=recipient.number,
            state=state,
            at=now,
            due_at=due_at,
            status=status,
            diagnostic=diagnostic,
            host=outcome.host,
            delay_reported=action is Action.DELAYED,
        )
        if action is None:
            return result, None
        return result, ReportedRecipient(
            forward_path=path,
            action=action,
            status=status,
            diagnostic=diagnostic,
            host=outcome.host,
            attempted_at=now,
            retry_until=retry_until,
        )

    def _tell(
        self, spooled: Spooled, recipient: Recipient, result: Result, outcome: Outcome
    ) -> None:
        event = _EVENTS[result.state]
        self._metrics.outcomes.labels(result.state.value).inc()
        age = (result.at - spooled.envelope.accepted_at).total_seconds()
        if isinstance(outcome, Relayed):
            self._metrics.delivery_seconds.observe(max(0.0, age))
        self._events.emit(
            event,
            session=spooled.session,
            queue_id=spooled.queue_id,
            recipient=recipient.forward_path.mailbox,
            host=outcome.host or None,
            status=str(result.status),
            reply=result.diagnostic,
            attempts=recipient.attempts + 1,
            age=round(age, 3),
        )

    def _run(self, work: Any) -> None:  # noqa: ANN401
        running: Deferred[Any] = Deferred.fromCoroutine(work)
        running.addErrback(self._broke)

    def _broke(self, failure: Failure) -> None:
        self._events.failure(ATTEMPT_BROKE, failure.value)

    async def _pause(self, seconds: float) -> None:
        waiting: Deferred[None] = Deferred()
        self._clock.callLater(seconds, waiting.callback, None)
        await waiting


_EVENTS: Final = {
    State.RELAYED: MESSAGE_RELAYED,
    State.QUEUED: MESSAGE_DELAYED,
    State.FAILED: MESSAGE_FAILED,
}
