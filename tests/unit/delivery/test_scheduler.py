"""What becomes of outcomes, where something of ours is in the way."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from submitd.delivery.backoff import RetrySchedule
from submitd.delivery.lanes import DeliveryLimits, Job
from submitd.delivery.outcome import Delayed, Failed, Outcome, Relayed
from submitd.delivery.route import Route, Routes, TlsPolicy
from submitd.delivery.scheduler import DeliveryScheduler
from submitd.mail.address import parse_mailbox
from submitd.mail.envelope import Envelope, ForwardPath, Notify
from submitd.mail.report import Action, ReportedRecipient
from submitd.mail.status import EnhancedCode
from submitd.observe.metrics import Metrics
from submitd.spool.store import (
    Needs,
    Recipient,
    Report,
    Result,
    Spooled,
    SpoolUnavailable,
    State,
)
from tests.support.recorded_events import RecordedEvents

NOW: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
OK: Final = Relayed(EnhancedCode(2, 0, 0), "mx", "250 ok")
NO: Final = Failed(EnhancedCode(5, 1, 1), "550 5.1.1 no", "mx", is_reply=True)
LATER: Final = Delayed(EnhancedCode(4, 2, 2), "452 full", "mx", is_reply=True)


def spooled(count: int = 1, notify: Notify | None = None, **changes: Any) -> Spooled:  # noqa: ANN401
    paths = tuple(
        ForwardPath(parse_mailbox(f"u{number}@example.net"), notify)
        for number in range(count)
    )
    facts: dict[str, Any] = {
        "queue_id": "q1",
        "envelope": Envelope(
            reverse_path=parse_mailbox("alice@example.org"),
            forward_paths=paths,
            accepted_at=NOW,
        ),
        "needs": Needs(),
        "submitter": None,
        "session": "s",
        "header_size": 2,
        "body_size": 0,
        "recipients": tuple(
            Recipient(number=number, forward_path=path, due_at=NOW)
            for number, path in enumerate(paths)
        ),
    }
    return Spooled(**(facts | changes))


class Site:
    """A scheduler; its spool and its reporter are the test."""

    def __init__(self, **limits: float) -> None:
        self.clock = Clock()
        self.events = RecordedEvents()
        self.recorded: list[list[Result]] = []
        self.released: list[tuple[list[int], datetime | None]] = []
        self.reported: list[list[ReportedRecipient]] = []
        self.record_with: Callable[[], None] = lambda: None
        self.report_with: Callable[[], None] = lambda: None
        self.claims: list[Any] = []
        self.taken: list[Spooled] = []
        defaults: dict[str, Any] = {
            "connections": 10,
            "connections_per_destination": 3,
            "messages_per_connection": 100,
            "idle_connection": 5.0,
        }
        self.scheduler = DeliveryScheduler(
            self.clock,
            self,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            Routes({}, 25, TlsPolicy.NONE),
            RetrySchedule(
                first=timedelta(minutes=5),
                longest=timedelta(hours=4),
                give_up=timedelta(days=5),
                report_delay_after=timedelta(hours=4),
                jitter=0,
            ),
            DeliveryLimits(**(defaults | limits)),
            self,
            self.events,
            Metrics(),
            chance=Random(1),
            now=lambda: NOW + timedelta(seconds=self.clock.seconds()),
        )

    def settle(self, message: Spooled, *outcomes: Outcome) -> None:
        job = Job(message, message.recipients)
        self.scheduler.begin(job)
        self.scheduler.settle(job, list(outcomes))

    # As a spool

    async def claim_due(self, now: datetime, limit: int) -> Sequence[Spooled]:  # noqa: ARG002
        claimed = self.claims.pop(0) if self.claims else []
        if isinstance(claimed, Exception):
            raise claimed
        found: list[Spooled] = claimed
        return found

    async def record(
        self,
        queue_id: str,  # noqa: ARG002
        results: Sequence[Result],
        reports: Sequence[Report] = (),  # noqa: ARG002
    ) -> Sequence[Spooled]:
        self.record_with()
        self.recorded.append(list(results))
        return []

    async def release(
        self,
        queue_id: str,  # noqa: ARG002
        numbers: Sequence[int],
        due_at: datetime | None = None,
    ) -> None:
        self.record_with()
        self.released.append((list(numbers), due_at))

    # As a courier that is never done, and the counts of the server

    async def reach(self, route: object) -> object:  # noqa: ARG002
        forever: Deferred[object] = Deferred()
        return await forever

    async def take(self, keys: object) -> bool:  # noqa: ARG002
        return True

    def give(self, keys: object) -> None:
        """Not before the lane ends."""

    # As a reporter

    def is_wanted(
        self,
        spooled: Spooled,  # noqa: ARG002
        path: ForwardPath,
        action: Action,  # noqa: ARG002
        *,
        is_owed: bool = False,  # noqa: ARG002
    ) -> bool:
        return path.notify is not Notify.NEVER

    async def reports(
        self,
        spooled: Spooled,  # noqa: ARG002
        recipients: Sequence[ReportedRecipient],
        now: datetime,  # noqa: ARG002
    ) -> list[Report]:
        self.report_with()
        self.reported.append(list(recipients))
        return []


def fails_with(problem: Exception, times: int = 1) -> Callable[[], None]:
    left = [problem] * times

    def fail() -> None:
        if left:
            raise left.pop()

    return fail


def states(results: list[Result]) -> list[State]:
    return [one.state for one in results]


def test_outcomes_are_told_when_they_are_recorded_and_not_before() -> None:
    site = Site()
    site.record_with = fails_with(SpoolUnavailable("disk full"), 2)
    site.settle(spooled(2), OK, LATER)
    assert site.events.names == ["outcome-unrecorded"]
    site.clock.pump([1, 2])
    assert [states(one) for one in site.recorded] == [[State.RELAYED, State.QUEUED]]
    assert site.events.names[-2:] == ["message-relayed", "message-delayed"]


def test_a_report_that_cannot_be_made_keeps_its_recipient_in_the_queue() -> None:
    """And nobody else: what was relayed must not be relayed again."""
    site = Site()
    site.report_with = fails_with(ValueError("a bug"))
    site.settle(spooled(3), OK, NO, LATER)
    assert [states(one) for one in site.recorded] == [[State.RELAYED, State.QUEUED]]
    ((numbers, due_at),) = site.released
    assert numbers == [1]
    assert due_at == NOW + timedelta(minutes=15)
    assert "attempt-broke" in site.events.names
    assert "message-failed" not in site.events.names


def test_where_nobody_wants_to_hear_a_failure_is_recorded_all_the_same() -> None:
    site = Site()
    site.report_with = fails_with(ValueError("a bug"))
    site.settle(spooled(1, Notify.NEVER), NO)
    assert [states(one) for one in site.recorded] == [[State.FAILED]]
    assert site.released == []


def test_where_nobody_wants_to_hear_that_it_went_well_no_report_is_prepared() -> None:
    site = Site()
    site.settle(spooled(1, Notify.NEVER), OK)
    assert [states(one) for one in site.recorded] == [[State.RELAYED]]
    assert site.reported == []


def test_a_failure_alone_that_cannot_be_told_of_is_not_recorded_at_all() -> None:
    site = Site()
    site.report_with = fails_with(ValueError("a bug"))
    site.settle(spooled(), NO)
    assert site.recorded == []


def test_a_stop_does_not_wait_for_a_spool_that_cannot_be_written() -> None:
    """The next start finds the lease void and tries again."""
    site = Site()
    site.record_with = fails_with(SpoolUnavailable("gone"), 100)
    site.settle(spooled(), OK)
    over: list[object] = []
    site.scheduler.startService()
    site.scheduler.stopService().addBoth(over.append)
    assert over == []
    site.clock.pump([1, 1])
    assert over == [None]
    assert site.recorded == []
    assert "message-relayed" not in site.events.names


def test_what_may_have_arrived_twice_is_not_sent_a_third_time() -> None:
    site = Site()
    message = spooled(2)
    first, second = message.recipients
    site.scheduler.take(
        evolve(
            message,
            recipients=(
                evolve(first, interruptions=2),
                evolve(second, interruptions=1),
            ),
        )
    )
    ((one,),) = site.recorded
    assert (one.number, one.state, str(one.status)) == (0, State.FAILED, "5.3.0")
    ((told,),) = site.reported
    assert "most likely arrived" in told.diagnostic
    assert not told.is_reply
    assert told.attempted_at is None
    # The other one waits for its host.
    assert site.released == []
    site.scheduler.stopService()
    assert site.released == [([1], None)]


def test_what_finds_no_place_is_due_again_after_the_others() -> None:
    site = Site(messages_per_destination=1, connections_per_destination=1)
    for _ in range(3):
        site.scheduler.take(spooled())
    assert len(site.released) == 2
    for numbers, due_at in site.released:
        assert numbers == [0]
        assert due_at is not None
        assert timedelta(seconds=2.5) <= due_at - NOW <= timedelta(seconds=5)


def test_beyond_the_bound_messages_stay_in_the_spool() -> None:
    site = Site(messages=1)
    for _ in range(2):
        site.scheduler.take(spooled())
    assert site.released == [([0], None)]


def test_beyond_the_bound_content_is_read_from_the_spool() -> None:
    site = Site(octets=10)
    put: list[Job] = []

    def keep(route: Route, job: Job) -> None:  # noqa: ARG001
        put.append(job)

    site.scheduler._lanes.put = keep  # type: ignore[method-assign]
    for _ in range(2):
        site.scheduler.take(spooled(header=b"A: b\r\n\r\n", body=(b"text\r\n",)))
    assert [one.octets for one in put] == [14, 0]
    site.scheduler.settle(put[0], [OK])
    assert site.scheduler._octets == 0


def test_a_look_at_the_spool_that_fails_is_not_the_last_one() -> None:
    site = Site()
    site.claims = [SpoolUnavailable("full"), ValueError("a bug"), [spooled()]]
    site.scheduler.startService()
    site.clock.pump([1, 1])
    assert site.events.names[:2] == ["queue-unreadable"] * 2
    assert site.scheduler._open_jobs == 1
