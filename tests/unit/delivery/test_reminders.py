"""Held mail that stays held: its submitter and the postmaster are reminded."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from submitd.delivery.reminders import HoldReminders
from submitd.mail.usage import Stored
from submitd.spool.store import Reminder, Report, SpoolUnavailable
from tests.support.recorded_events import RecordedEvents

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def due(login: str, messages: int) -> Reminder:
    return Reminder(
        login=login,
        told=None,
        told_at=NOW - timedelta(days=1),
        held=Stored(messages, 100),
    )


class Spool:
    """As `RemembersHeld`."""

    def __init__(self) -> None:
        self.found: list[Reminder] = []
        self.done: list[tuple[str, int]] = []
        self.fails = False
        self.looks = 0

    async def reminders(self, now: datetime) -> Sequence[Reminder]:
        assert now == NOW
        self.looks += 1
        if self.fails:
            raise SpoolUnavailable("disk")
        return self.found

    async def remind(
        self,
        due: Reminder,
        reports: Sequence[Report],
        now: datetime,  # noqa: ARG002
    ) -> None:
        if due.login == "locked up":
            raise ValueError("another fault of ours")
        self.done.append((due.login, len(reports)))


class Notices:
    """As `MakesReminders`."""

    def remind(self, due: Reminder, now: datetime) -> tuple[Report, ...]:
        assert due.held.messages, "there is nothing to say"
        if due.login == "nobody":
            raise ValueError("a fault of ours")
        assert now == NOW
        return (REPORT,)


REPORT: Report = object()  # type: ignore[assignment]


def test_they_are_reminded_in_turns_and_who_has_nothing_held_is_forgotten() -> None:
    clock, spool, events = Clock(), Spool(), RecordedEvents()
    spool.found = [due("alice", 2), due("bob", 0)]
    service = HoldReminders(clock, spool, Notices(), events, lambda: NOW)
    service.startService()
    assert spool.done == [("alice", 1), ("bob", 0)]
    clock.advance(600)
    assert len(spool.done) == 4
    service.stopService()
    clock.advance(6000)
    assert len(spool.done) == 4
    service.stopService()


def test_a_spool_that_cannot_tell_is_asked_again() -> None:
    clock, spool, events = Clock(), Spool(), RecordedEvents()
    spool.fails = True
    service = HoldReminders(clock, spool, Notices(), events, lambda: NOW)
    service.startService()
    clock.advance(600)
    assert spool.looks == 2
    assert events.names == ["reminder-failed"] * 2
    spool.fails = False
    clock.advance(600)
    assert spool.looks == 3
    service.stopService()


class ClosingSpool(Spool):
    """One that answers in time, and not before."""

    def __init__(self) -> None:
        super().__init__()
        self.answer: Deferred[None] = Deferred()

    async def reminders(self, now: datetime) -> Sequence[Reminder]:
        if not self.found:
            await self.answer
        return await super().reminders(now)

    async def remind(
        self, due: Reminder, reports: Sequence[Report], now: datetime
    ) -> None:
        await self.answer
        await super().remind(due, reports, now)


@pytest.mark.parametrize("found", [[], [due("alice", 1), due("bob", 1)]])
def test_a_stop_amidst_a_look_is_no_failure(found: list[Reminder]) -> None:
    """The next start looks, and finds who was not told."""
    clock, spool, events = Clock(), ClosingSpool(), RecordedEvents()
    spool.found = found
    service = HoldReminders(clock, spool, Notices(), events, lambda: NOW)
    service.startService()
    service.stopService()
    spool.answer.errback(SpoolUnavailable("the spool is closing"))
    assert events.names == []
    assert spool.done == []


def test_what_is_under_way_at_a_stop_is_done_and_the_rest_at_the_next_start() -> None:
    clock, spool, events = Clock(), ClosingSpool(), RecordedEvents()
    spool.found = [due("alice", 1), due("bob", 1)]
    service = HoldReminders(clock, spool, Notices(), events, lambda: NOW)
    service.startService()
    service.stopService()
    spool.answer.callback(None)
    assert spool.done == [("alice", 1)]
    spool.found = [due("bob", 1)]
    HoldReminders(clock, spool, Notices(), events, lambda: NOW).startService()
    assert spool.done == [("alice", 1), ("bob", 1)]
    assert events.names == []


def test_a_fault_with_one_of_them_keeps_no_other_from_being_told() -> None:
    clock, spool, events = Clock(), Spool(), RecordedEvents()
    spool.found = [due("nobody", 1), due("alice", 1)]
    service = HoldReminders(clock, spool, Notices(), events, lambda: NOW)
    service.startService()
    # It is put off, or it would stand before all others each time.
    assert spool.done == [("nobody", 0), ("alice", 1)]
    assert events.names == ["reminder-failed"]
    spool.found = [due("locked up", 0), due("bob", 1)]
    clock.advance(600)
    assert events.names == ["reminder-failed"] * 2
    assert spool.done[2:] == [("bob", 1)]
    clock.advance(600)
    assert spool.looks == 3
    service.stopService()
