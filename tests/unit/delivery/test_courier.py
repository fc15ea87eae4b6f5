"""What a courier says to a host of a message's wishes, and to which hosts it goes."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from submitd.delivery.courier import Courier, Hop, may_carry
from submitd.delivery.outcome import Failed, Outcome, Relayed
from submitd.mail.address import parse_mailbox
from submitd.mail.envelope import (
    ByMode,
    DeliverBy,
    Envelope,
    ForwardPath,
    Notify,
    SubmittedBy,
)
from submitd.smtp.client import Outgoing, Settled, TimeLeft
from submitd.smtp.reply import Reply
from submitd.spool.store import Needs, Recipient, Spooled
from tests.support.recorded_events import RecordedEvents

NOW: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
OK: Final = Reply(250, None, "ok")
MINUTE: Final = timedelta(minutes=1)


class Connection:
    """A connection to a host that takes everything."""

    def __init__(self, offered: dict[str, str]) -> None:
        self.offered = offered
        self.is_usable = True
        self.took: list[Outgoing] = []
        self.domains: set[str] = set()
        self.at_once = 100

    def takes(self, domain: str) -> bool:
        return domain not in self.domains

    async def deliver(self, outgoing: Outgoing, content: object) -> Settled:  # noqa: ARG002
        self.took.append(outgoing)
        return Settled((OK,) * min(self.at_once, len(outgoing.forward_paths)), 0)


def message(*to: ForwardPath | str, **wishes: Any) -> Spooled:  # noqa: ANN401
    paths = tuple(
        ForwardPath(parse_mailbox(one)) if isinstance(one, str) else one
        for one in to or ("bob@example.net",)
    )
    return Spooled(
        queue_id="q",
        envelope=Envelope(
            reverse_path=parse_mailbox("alice@example.org"),
            forward_paths=paths,
            accepted_at=NOW,
            **wishes,
        ),
        needs=Needs(),
        submitter=None,
        session="s",
        header_size=2,
        body_size=0,
        recipients=tuple(
            Recipient(number=number, forward_path=path, due_at=NOW)
            for number, path in enumerate(paths)
        ),
    )


class SlowConnection(Connection):
    """One recipient at a time, and each takes 40 s."""

    def __init__(self, clock: Clock) -> None:
        super().__init__({"DELIVERBY": ""})
        self.at_once = 1
        self.clock = clock

    async def deliver(self, outgoing: Outgoing, content: object) -> Settled:
        self.clock.advance(40)
        return await super().deliver(outgoing, content)


def carry(
    connection: Connection,
    spooled: Spooled,
    after: timedelta = timedelta(0),
    clock: Clock | None = None,
) -> list[Outcome]:
    clock = clock or Clock()
    courier = Courier(
        clock,
        None,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        RecordedEvents(),
        Random(1),
        now=lambda: NOW + after + timedelta(seconds=clock.seconds()),
    )
    hop = Hop(connection, "mx")  # type: ignore[arg-type]
    carrying = Deferred.fromCoroutine(
        courier.carry(hop, spooled, spooled.recipients, reused=False)
    )
    outcomes: list[Outcome] = carrying.result  # type: ignore[assignment]
    return outcomes


def within(time: timedelta, mode: ByMode = ByMode.RETURN, trace: bool = False) -> Any:  # noqa: ANN401
    return {"deliver_by": DeliverBy(NOW + time, mode, trace)}


@pytest.mark.rfc("2852", "4.1.4.1")
@pytest.mark.parametrize(
    ("offered", "after", "status"),
    [
        ({}, 0.0, "5.3.3"),
        ({"DELIVERBY": "61"}, 0.0, "5.4.7"),
        ({"DELIVERBY": "60,FUTURE"}, 0.5, "5.4.7"),
        ({"DELIVERBY": ""}, 60.0, "5.4.7"),
    ],
)
def test_what_is_to_come_back_in_time_goes_to_no_host_that_does_not_promise_that(
    offered: dict[str, str], after: float, status: str
) -> None:
    connection = Connection(offered)
    (outcome,) = carry(connection, message(**within(MINUTE)), timedelta(seconds=after))
    assert isinstance(outcome, Failed)
    assert str(outcome.status) == status
    assert connection.took == []


@pytest.mark.rfc("2852", "4.1.3")
def test_of_many_recipients_those_whose_turn_comes_too_late_are_not_tried() -> None:
    clock = Clock()
    connection = SlowConnection(clock)
    spooled = message("a@x.example", "b@x.example", "c@x.example", **within(MINUTE))
    outcomes = carry(connection, spooled, clock=clock)
    assert [one.by and one.by.parameter for one in connection.took] == [
        "BY=60;R",
        "BY=20;R",
    ]
    assert [type(one) for one in outcomes] == [Relayed, Relayed, Failed]
    assert str(outcomes[-1].status) == "5.4.7"


@pytest.mark.rfc("2852", "4.1.4")
@pytest.mark.parametrize("least", ["", "30", "x"])
def test_a_host_that_promises_it_is_told_what_is_left(least: str) -> None:
    connection = Connection({"DELIVERBY": least})
    (outcome,) = carry(connection, message(**within(MINUTE)), timedelta(seconds=21.5))
    assert isinstance(outcome, Relayed)
    assert not outcome.is_owed
    assert connection.took[0].by == TimeLeft(38, ByMode.RETURN, False)


@pytest.mark.rfc("2852", "4.1.4.2")
def test_a_host_without_it_is_asked_to_tell_of_delays_and_the_sender_hears_so() -> None:
    bob, carol, dora = (parse_mailbox(f"{one}@example.net") for one in "bcd")
    paths = (
        ForwardPath(bob),
        ForwardPath(carol, Notify.SUCCESS),
        ForwardPath(dora, Notify.NEVER),
    )
    connection = Connection({"DSN": ""})
    outcomes = carry(connection, message(*paths, **within(MINUTE, ByMode.NOTIFY)))
    assert [one.notify for one in connection.took[0].forward_paths] == [
        Notify.FAILURE | Notify.DELAY,
        Notify.SUCCESS | Notify.DELAY,
        Notify.NEVER,
    ]
    for outcome in outcomes:
        assert isinstance(outcome, Relayed)
        assert outcome.is_owed
        assert outcome.reports_itself


@pytest.mark.rfc("3461", "5.2.1")
def test_where_the_time_is_over_the_wishes_are_the_senders_own() -> None:
    connection = Connection({"DSN": ""})
    carry(connection, message(**within(-MINUTE, ByMode.NOTIFY)))
    assert [one.notify for one in connection.took[0].forward_paths] == [None]


@pytest.mark.rfc("2852", "4.1.4")
@pytest.mark.parametrize(
    ("wishes", "after", "offered", "is_owed"),
    [
        # The time is over: the sender has heard of the delay.
        (within(MINUTE, ByMode.NOTIFY), 60.0, {}, False),
        (within(MINUTE, ByMode.NOTIFY), 0.0, {"DELIVERBY": ""}, False),
        (within(MINUTE, ByMode.NOTIFY), 0.0, {}, True),
        (within(MINUTE, ByMode.NOTIFY, trace=True), 90.0, {}, True),
        (within(MINUTE, ByMode.RETURN, trace=True), 0.0, {"DELIVERBY": ""}, True),
        ({}, 0.0, {}, False),
    ],
)
def test_a_sender_hears_of_hosts_that_promise_nothing_and_of_all_by_trace(
    wishes: dict[str, Any], after: float, offered: dict[str, str], is_owed: bool
) -> None:
    (outcome,) = carry(Connection(offered), message(**wishes), timedelta(seconds=after))
    assert isinstance(outcome, Relayed)
    assert outcome.is_owed is is_owed


def test_priority_and_submitter_go_along() -> None:
    alice = SubmittedBy(parse_mailbox("alice@example.org"))
    connection = Connection({})
    carry(connection, message(priority=-2, submitted_by=alice))
    (took,) = connection.took
    assert (took.priority, took.submitted_by, took.by) == (-2, alice, None)


@pytest.mark.rfc("9422", "4.1")
@pytest.mark.rfc("9422", "4.3")
def test_where_a_limit_is_reached_the_others_wait_for_a_new_connection() -> None:
    connection = Connection({})
    connection.at_once = 1
    connection.domains = {"b.example"}
    spooled = message("a@a.example", "c@a.example", "b@b.example")
    assert len(carry(connection, spooled)) == 2
    assert len(connection.took) == 2
    assert may_carry(Hop(connection, "mx"), spooled.recipients)  # type: ignore[arg-type]
    connection.is_usable = False
    assert not may_carry(Hop(connection, "mx"), spooled.recipients)  # type: ignore[arg-type]
