"""Destinations, and the connections that serve them."""

from bisect import insort
from collections import deque
from collections.abc import Iterator
from math import inf
from random import Random
from typing import Any, Final, Protocol

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut

from submitd.delivery.connection import ConnectionBroke
from submitd.delivery.courier import (
    CannotReach,
    Courier,
    FormWanted,
    Hop,
    may_carry,
)
from submitd.delivery.outcome import Delayed, Failed, Outcome
from submitd.delivery.pace import Pace
from submitd.delivery.route import Route
from submitd.delivery.slots import DestinationSlots
from submitd.delivery.turns import Turns
from submitd.mail.envelope import HEAD_START
from submitd.mail.rendition import Target
from submitd.mail.status import EnhancedCode
from submitd.observe.events import ATTEMPT_BROKE, DESTINATION_DOWN, Events
from submitd.observe.metrics import Metrics
from submitd.spool.store import Recipient, Spooled

_AGAIN: Final = 1.0
_FORGET: Final = 300.0
"""Seconds for which it is remembered that a destination bears no more connections."""

_PUT_OFF: Final = 15.0
"""Seconds until a message is due again whose form found no place to be made."""

_LOCAL_FAULT: Final = Delayed(EnhancedCode(4, 3, 0), "a local fault")


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

    messages_per_destination: int = 1500
    """Of these for one destination: a slow one leaves room for the others."""

    octets: int = 32 * 1024 * 1024
    """Content in memory; beyond, it is read from the spool."""


@frozen(eq=False)
class Job:
    """One message's recipients of one destination."""

    spooled: Spooled
    recipients: tuple[Recipient, ...]

    @property
    def octets(self) -> int:
        """Content that it holds in memory."""
        spooled = self.spooled
        return len(spooled.header or b"") + sum(map(len, spooled.body or ()))


class WaitingJobs:
    """Jobs in the order in which they are served.

    By priority, and by age within one: urgent ones overtake what has not
    waited for longer than their head start.
    """

    def __init__(self) -> None:
        # Sorted. Both ends are needed, and moving some thousand references
        # costs less than a second heap.
        self._ranked: list[tuple[float, int, Job]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._ranked)

    def __iter__(self) -> Iterator[Job]:
        return (job for _, _, job in self._ranked)

    def put(self, job: Job) -> None:
        """One more."""
        self._push(_rank(job), job)

    def put_back(self, job: Job) -> None:
        """It was taken, and is to be the next."""
        self._push(-inf, job)

    def _push(self, rank: float, job: Job) -> None:
        self._count += 1
        insort(self._ranked, (rank, self._count, job))

    @property
    def first(self) -> Job:
        """What `take` would give."""
        return self._ranked[0][2]

    def take(self) -> Job:
        """The next, which waits no more."""
        return self._ranked.pop(0)[2]

    def take_last(self, *, after: Job) -> Job | None:
        """The one that would be served last, if that is later than this new one."""
        if self._ranked[-1][0] <= _rank(after):
            return None
        return self._ranked.pop()[2]

    def clear(self) -> None:
        """None of them waits any more."""
        self._ranked.clear()


def _rank(job: Job) -> float:
    """Of the message's own age: however often it is put off, it is not forgotten."""
    envelope = job.spooled.envelope
    return envelope.sent_from.timestamp() - envelope.priority * HEAD_START


class Jobs(Protocol):
    """Where jobs come from and go back to."""

    def begin(self, job: Job) -> None:
        """One more job, of recipients that were another's."""

    def settle(self, job: Job, outcomes: list[Outcome]) -> None:
        """It was tried: an outcome for each of its recipients."""

    def give_back(self, job: Job) -> None:
        """It was not tried."""

    def put_off(self, job: Job, seconds: float) -> None:
        """It was not tried, and is not for so long: too many wait."""

    def in_time(self, job: Job) -> Job | None:
        """What of it is to be tried now; what becomes of the rest is settled."""

    def lane_ended(self) -> None:
        """There is one lane less."""


class Lane:
    """One connection to a destination, and what drives it."""

    def __init__(self) -> None:
        self.hop: Hop | None = None
        self.wake: Deferred[None] | None = None
        """Set while the lane is idle; fired to give it work, or its end."""


@define(eq=False)
class Destination:
    """What waits for one next hop, and the lanes that serve it."""

    route: Route
    pace: Pace
    jobs: WaitingJobs = field(factory=WaitingJobs)
    lanes: set[Lane] = field(factory=set)
    idle: deque[Lane] = field(factory=deque)
    most: int = 0
    """Lanes that it bears, since one more was refused, by it or by us …"""

    most_until: float = 0.0
    """… and how long that is believed. Asking for each message anew costs more
    than what it wins."""

    def enter(self, job: Job, *, is_next: bool = False) -> None:
        """One more waits."""
        if not self.jobs:
            self.pace.begin()
        if is_next:
            self.jobs.put_back(job)
        else:
            self.jobs.put(job)


@frozen
class _Unprepared:
    """A job whose message is to have another form first."""

    route: Route
    job: Job
    target: Target


class Lanes:
    """Carries jobs to their destinations."""

    def __init__(
        self,
        clock: Any,  # noqa: ANN401 - IReactorTime
        courier: Courier,
        limits: DeliveryLimits,
        slots: DestinationSlots,
        jobs: Jobs,
        events: Events,
        metrics: Metrics,
    ) -> None:
        self._clock = clock
        self._courier = courier
        self._limits = limits
        self._slots = slots
        self._jobs = jobs
        self._events = events
        self._metrics = metrics
        self._chance = Random()  # noqa: S311 - jitter, not secrets
        self._destinations: dict[str, Destination] = {}
        self._unprepared = Turns(self._prepare)
        self._stopping = False
        self.count = 0
        """Lanes that there are."""

    def put(self, route: Route, job: Job) -> None:
        """Have it carried.

        Where too many wait for its destination already it is put off; or another
        one, which is younger or less urgent.
        """
        destination = self._destination(route)
        waiting = len(destination.jobs)
        if waiting >= self._limits.messages_per_destination:
            last = destination.jobs.take_last(after=job)
            self._jobs.put_off(last or job, destination.pace.delay(waiting))
            if last is None:
                return
        destination.enter(job)
        self._serve(destination)

    def _destination(self, route: Route) -> Destination:
        destination = self._destinations.get(route.key)
        if destination is None:
            destination = Destination(route, Pace(self._clock, self._chance))
            self._destinations[route.key] = destination
        return destination

    def stop(self) -> None:
        """Begin no more attempts."""
        self._stopping = True
        for one in self._unprepared.take_back():
            self._jobs.give_back(one.job)
        for destination in tuple(self._destinations.values()):
            while destination.jobs:
                self._jobs.give_back(destination.jobs.take())
            for lane in tuple(destination.idle):
                self._wake(destination, lane)

    # Who serves whom

    def _serve(self, destination: Destination) -> None:
        """Wake an idle lane, or open one more where that is allowed."""
        if destination.idle:
            self._wake(destination, destination.idle[0])
            return
        most = self._limits.connections_per_destination
        if self._clock.seconds() < destination.most_until:
            most = min(most, destination.most)
        if len(destination.lanes) >= most:
            return
        if self._is_full:
            if not destination.lanes:
                self._make_room()
            return
        lane = Lane()
        destination.lanes.add(lane)
        self.count += 1
        running: Deferred[None] = Deferred.fromCoroutine(self._drive(destination, lane))
        running.addErrback(self._broke)

    def _make_room(self) -> None:
        """End a lane that has nothing to do; the next one is for who starves."""
        for destination in self._destinations.values():
            if destination.idle:
                self._wake(destination, destination.idle[0])
                return

    def _wake(self, destination: Destination, lane: Lane) -> None:
        destination.idle.remove(lane)
        wake, lane.wake = lane.wake, None
        assert wake is not None, "an idle lane waits"  # noqa: S101
        wake.callback(None)

    @property
    def _is_full(self) -> bool:
        return self.count >= self._limits.connections

    def _starved(self) -> Destination | None:
        """A destination that waits for the first of its lanes."""
        return next(
            (one for one in self._destinations.values() if one.jobs and not one.lanes),
            None,
        )

    # A lane's life

    async def _drive(self, destination: Destination, lane: Lane) -> None:
        """Jobs one after another, until none is left."""
        key = f"to {destination.route.key}"
        taken = False
        try:
            taken = await self._take_slot(destination, key)
            if taken:
                await self._work(destination, lane)
        except Exception as fault:  # noqa: BLE001
            # A bug must not stop the other lanes. It counts as an attempt: what
            # trips it is not tried without end.
            self._events.failure(ATTEMPT_BROKE, fault, destination=key)
            self._cannot_reach(destination, _LOCAL_FAULT)
        finally:
            # A host that bears one connection must have seen its end before
            # it is given the next.
            await self._hang_up(lane)
            if taken:
                self._slots.give([key])
            destination.lanes.discard(lane)
            self.count -= 1
        self._after_lane(destination)

    async def _take_slot(self, destination: Destination, key: str) -> bool:
        wanted = [(key, self._limits.connections_per_destination)]
        while not await self._slots.take(list(wanted)):
            if self._stopping:
                return False
            if len(destination.lanes) > 1:
                self._bears_no_more(destination, _AGAIN)
                return False
            # Other workers have all the connections; jobs wait for one.
            await self._pause(_AGAIN)
        return True

    def _after_lane(self, destination: Destination) -> None:
        key = destination.route.key
        del self._destinations[key]
        if destination.jobs or destination.lanes:
            # To the end: others come first.
            self._destinations[key] = destination
        while not (self._is_full or self._stopping) and (starved := self._starved()):
            self._serve(starved)
        self._jobs.lane_ended()

    async def _work(self, destination: Destination, lane: Lane) -> None:
        carried = 0
        most = self._limits.messages_per_connection
        while await self._has_job(destination, lane):
            if lane.hop is None:
                carried = 0
                trouble = await self._reach(destination, lane)
                if trouble is not None:
                    self._cannot_reach(destination, trouble)
                    return
            elif carried >= most or not may_carry(
                lane.hop, destination.jobs.first.recipients
            ):
                await self._hang_up(lane)
                if self._is_full:
                    return  # who starves comes first
            else:
                job = self._jobs.in_time(destination.jobs.take())
                destination.pace.carry()
                if job is not None:
                    carried += 1
                    await self._attempt(destination, lane.hop, job, reused=carried > 1)

    async def _reach(
        self, destination: Destination, lane: Lane
    ) -> Delayed | Failed | None:
        """Connect the lane; or why that cannot be."""
        try:
            hop = await self._courier.reach(destination.route)
        except CannotReach as trouble:
            return trouble.outcome
        if not hop.connection.is_usable:
            hop.connection.abort()
            words = "the host closed the connection at once"
            return Delayed(EnhancedCode(4, 4, 2), words, hop.host)
        lane.hop = hop
        self._metrics.deliveries_open.inc()
        return None

    async def _hang_up(self, lane: Lane) -> None:
        hop, lane.hop = lane.hop, None
        if hop is not None:
            self._metrics.deliveries_open.dec()
            await hop.connection.quit()

    async def _has_job(self, destination: Destination, lane: Lane) -> bool:
        """Wait for one for as long as an idle connection is kept."""
        if destination.jobs:
            return True
        if lane.hop is None or self._stopping or not lane.hop.connection.is_usable:
            return False
        if self._is_full and self._starved() is not None:
            return False
        waiting: Deferred[None] = Deferred()
        lane.wake = waiting
        destination.idle.append(lane)
        try:
            await waiting.addTimeout(self._limits.idle_connection, self._clock)
        except TimedOut:
            if lane.wake is not None:
                lane.wake = None
                destination.idle.remove(lane)
        return bool(destination.jobs)

    def _cannot_reach(
        self, destination: Destination, outcome: Delayed | Failed
    ) -> None:
        """All that waits shares the fate: a dead host is not tried for each.

        Unless other lanes serve it, or still try to: then it only bears no more
        connections, and the last of them decides.
        """
        if len(destination.lanes) > 1:
            self._bears_no_more(destination, _FORGET)
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
            self._jobs.settle(job, [outcome] * len(job.recipients))

    def _bears_no_more(self, destination: Destination, seconds: float) -> None:
        """One lane less than there are now is what it bears, for a while."""
        now = self._clock.seconds()
        if now + seconds > destination.most_until:
            destination.most = len(destination.lanes) - 1
            destination.most_until = now + seconds

    async def _attempt(
        self, destination: Destination, hop: Hop, job: Job, *, reused: bool
    ) -> None:
        try:
            outcomes = await self._courier.carry(
                hop, job.spooled, job.recipients, reused=reused
            )
        except ConnectionBroke:
            # Closed while idle: nothing was said, so nothing was tried.
            self._put_back(destination, job)
            return
        except FormWanted as wanted:
            # The connection is for those that can be sent now.
            self._put_aside(_Unprepared(destination.route, job, wanted.target))
            return
        except Exception as fault:  # noqa: BLE001
            # One message that trips a bug must not hold up the others. It
            # counts as an attempt, so that it is not tried without end.
            self._events.failure(ATTEMPT_BROKE, fault, queue_id=job.spooled.queue_id)
            hop.connection.abort()
            outcomes = [_LOCAL_FAULT] * len(job.recipients)
        tried, left = job.recipients[: len(outcomes)], job.recipients[len(outcomes) :]
        if left:
            # The host hung up between two transactions.
            rest = Job(job.spooled, left)
            self._jobs.begin(rest)
            self._put_back(destination, rest)
        self._jobs.settle(Job(job.spooled, tried), outcomes)

    def _put_aside(self, one: _Unprepared) -> None:
        """Out of all lanes, until its form is made."""
        if self._stopping:
            self._jobs.give_back(one.job)
        elif not self._unprepared.put(one.job.spooled.submitter, one):
            self._jobs.put_off(one.job, _PUT_OFF)

    async def _prepare(self, one: _Unprepared) -> None:
        job = one.job
        try:
            trouble = await self._courier.prepare(job.spooled, one.target)
        except Exception as fault:  # noqa: BLE001
            self._events.failure(ATTEMPT_BROKE, fault, queue_id=job.spooled.queue_id)
            trouble = _LOCAL_FAULT
        if trouble is not None:
            self._jobs.settle(job, [trouble] * len(job.recipients))
        elif self._stopping:
            self._jobs.give_back(job)
        else:
            destination = self._destination(one.route)
            destination.enter(job, is_next=True)
            self._serve(destination)

    def _put_back(self, destination: Destination, job: Job) -> None:
        if self._stopping:
            self._jobs.give_back(job)
        else:
            destination.enter(job, is_next=True)

    def _broke(self, failure: Any) -> None:  # noqa: ANN401
        self._events.failure(ATTEMPT_BROKE, failure.value)

    async def _pause(self, seconds: float) -> None:
        waiting: Deferred[None] = Deferred()
        self._clock.callLater(seconds, waiting.callback, None)
        await waiting
