"""Times that senders set: when to send, and by when (RFC 4865, RFC 2852)."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve

from submitd.delivery.lanes import Job
from submitd.delivery.outcome import Failed, Relayed
from submitd.mail.envelope import ByMode, DeliverBy, Notify
from submitd.mail.report import Action
from submitd.mail.status import EnhancedCode
from submitd.spool.store import Result, Spooled, State
from tests.unit.delivery.test_scheduler import LATER, NOW, OK, Site, spooled

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def with_deadline(
    after: timedelta,
    mode: ByMode = ByMode.RETURN,
    notify: Notify | None = None,
    was_over: bool = False,
    **recipient: Any,  # noqa: ANN401
) -> Spooled:
    message = spooled(1, notify)
    by = DeliverBy(NOW + after, mode, was_over=was_over)
    (one,) = message.recipients
    return evolve(
        message,
        envelope=evolve(message.envelope, deliver_by=by),
        recipients=(evolve(one, **recipient),),
    )


def at(seconds: float) -> Site:
    """A site so many seconds after `NOW`."""
    site = Site()
    site.clock.advance(seconds)
    return site


def recorded(site: Site) -> Result:
    ((result,),) = site.recorded
    return result


@pytest.mark.rfc("2852", "4.1.3")
def test_what_is_late_and_to_come_back_is_not_attempted() -> None:
    site = at(60)
    site.scheduler.take(
        with_deadline(MINUTE, last_diagnostic="452 full", last_host="mx")
    )
    result = recorded(site)
    assert (result.state, str(result.status)) == (State.FAILED, "5.4.7")
    assert not result.is_attempt
    ((news,),) = site.reported
    assert news.action is Action.FAILED
    assert news.attempted_at is None
    assert news.is_senders_time
    assert news.host == "mx"
    assert not news.is_reply
    assert news.diagnostic == (
        "not delivered in the time that its sender set; so far: 452 full"
    )
    assert site.scheduler._lanes.count == 0


@pytest.mark.rfc("2852", "4.1.3")
def test_who_wants_to_know_of_lateness_hears_it_before_the_next_attempt() -> None:
    site = at(60)
    site.scheduler.take(with_deadline(MINUTE, ByMode.NOTIFY))
    result = recorded(site)
    assert (result.state, str(result.status)) == (State.QUEUED, "4.4.7")
    assert result.due_at == NOW + MINUTE
    assert result.delay_reported
    assert not result.is_attempt
    ((news,),) = site.reported
    assert news.action is Action.DELAYED
    assert news.attempted_at is None
    assert news.is_senders_time
    assert site.scheduler._lanes.count == 0


@pytest.mark.rfc("2852", "4.1.3")
@pytest.mark.parametrize(
    "message",
    [
        with_deadline(MINUTE, ByMode.NOTIFY, delay_reported=True),
        with_deadline(MINUTE, ByMode.NOTIFY, Notify.NEVER),
        # It was over when it was set: the sender knows.
        with_deadline(-MINUTE, ByMode.NOTIFY, was_over=True),
        with_deadline(HOUR, ByMode.RETURN),
    ],
)
def test_everything_else_is_attempted(message: Spooled) -> None:
    site = at(60)
    site.scheduler.take(message)
    assert site.recorded == []
    assert site.scheduler._lanes.count == 1


@pytest.mark.rfc("2852", "4.1.3")
def test_content_that_took_longer_than_the_delivery_may_comes_back() -> None:
    site = at(0)
    site.scheduler.take(with_deadline(-MINUTE, ByMode.RETURN))
    assert str(recorded(site).status) == "5.4.7"


@pytest.mark.rfc("2852", "4.1.3")
def test_who_only_wants_to_know_hears_of_content_that_took_longer_too() -> None:
    site = at(0)
    site.scheduler.take(with_deadline(-MINUTE, ByMode.NOTIFY))
    assert recorded(site).delay_reported
    assert len(site.reported) == 1


def test_an_attempt_that_there_was_is_not_forgotten() -> None:
    site = at(60)
    site.scheduler.take(
        with_deadline(MINUTE, last_attempt_at=NOW + timedelta(seconds=5))
    )
    ((news,),) = site.reported
    assert news.attempted_at == NOW + timedelta(seconds=5)


@pytest.mark.parametrize(
    ("interruptions", "status", "words"),
    [
        (1, "5.4.7", "it may have arrived"),
        (2, "5.3.0", "it has most likely arrived"),
    ],
)
def test_of_what_was_sent_whole_nobody_says_that_it_has_not_arrived(
    interruptions: int, status: str, words: str
) -> None:
    site = at(60)
    site.scheduler.take(with_deadline(MINUTE, interruptions=interruptions))
    assert str(recorded(site).status) == status
    ((news,),) = site.reported
    assert words in news.diagnostic


@pytest.mark.rfc("2852", "4.1.3")
@pytest.mark.parametrize(
    ("mode", "state"), [(ByMode.RETURN, State.FAILED), (ByMode.NOTIFY, State.QUEUED)]
)
def test_what_waited_for_its_turn_beyond_its_deadline_is_told_of(
    mode: ByMode, state: State
) -> None:
    site = at(0)
    message = with_deadline(MINUTE, mode)
    job = Job(message, message.recipients)
    site.scheduler.begin(job)
    assert site.scheduler.in_time(job) is job
    site.clock.advance(60)
    assert site.scheduler.in_time(job) is None
    assert recorded(site).state is state
    assert len(site.reported) == 1
    assert site.scheduler._open_jobs == 0


def test_who_of_a_late_message_need_not_be_told_is_tried() -> None:
    site = at(60)
    two = spooled(2)
    first, second = two.recipients
    message = evolve(
        two,
        envelope=evolve(two.envelope, deliver_by=DeliverBy(NOW, ByMode.NOTIFY)),
        recipients=(first, evolve(second, delay_reported=True)),
    )
    job = Job(message, message.recipients)
    site.scheduler.begin(job)
    rest = site.scheduler.in_time(job)
    assert rest is not None
    assert [one.number for one in rest.recipients] == [1]
    assert recorded(site).number == 0
    assert site.scheduler._open_jobs == 1


@pytest.mark.parametrize("mode", ByMode)
def test_the_deadline_is_a_time_to_look_at_the_message(mode: ByMode) -> None:
    site = at(0)
    site.settle(with_deadline(MINUTE, mode), LATER)
    assert recorded(site).due_at == NOW + MINUTE
    assert site.reported == []


def test_a_later_deadline_changes_no_retry() -> None:
    site = at(0)
    site.settle(with_deadline(HOUR), LATER)
    assert recorded(site).due_at == NOW + timedelta(minutes=5)


@pytest.mark.rfc("2852", "4.1.3")
@pytest.mark.parametrize(
    ("mode", "state", "status"),
    [
        (ByMode.RETURN, State.FAILED, "5.4.7"),
        (ByMode.NOTIFY, State.QUEUED, "4.4.7"),
    ],
)
def test_a_deadline_that_passes_during_an_attempt_is_not_overlooked(
    mode: ByMode, state: State, status: str
) -> None:
    site = at(120)
    site.settle(with_deadline(MINUTE, mode), LATER)
    result = recorded(site)
    assert (result.state, str(result.status)) == (state, status)
    ((news,),) = site.reported
    assert (str(news.status), news.diagnostic) == (status, "452 full")
    assert news.attempted_at == NOW + timedelta(seconds=120)
    assert news.is_senders_time


def test_who_set_a_time_hears_of_a_delay_then_and_not_by_our_schedule() -> None:
    site = at(5 * 3600)
    site.settle(with_deadline(6 * HOUR, ByMode.NOTIFY), LATER)
    assert site.reported == []
    assert recorded(site).due_at == NOW + 5 * HOUR + timedelta(minutes=5)


def test_who_wants_a_late_message_back_hears_of_a_delay_before() -> None:
    site = at(4 * 3600)
    site.settle(with_deadline(6 * HOUR, ByMode.RETURN), LATER)
    ((news,),) = site.reported
    assert (news.action, str(news.status)) == (Action.DELAYED, "4.2.2")


@pytest.mark.parametrize("mode", ByMode)
def test_a_deadline_keeps_no_message_beyond_the_age_of_giving_up(
    mode: ByMode,
) -> None:
    """RFC 2852 section 4: it does not extend what is usual here."""
    site = at(5 * 86400)
    site.settle(with_deadline(6 * 24 * HOUR, mode), LATER)
    assert recorded(site).state is State.FAILED
    ((news,),) = site.reported
    assert not news.is_senders_time


def test_that_a_host_gave_up_is_not_said_to_be_the_time_that_the_sender_set() -> None:
    site = at(0)
    expired = Failed(EnhancedCode(5, 4, 7), "554 5.4.7 expired", "mx", is_reply=True)
    site.settle(with_deadline(HOUR), expired)
    ((news,),) = site.reported
    assert not news.is_senders_time


@pytest.mark.rfc("4865", "4.2")
def test_retries_delays_and_giving_up_count_from_the_release() -> None:
    def later(seconds: float) -> Result:
        site = at(seconds)
        message = spooled()
        released = evolve(message.envelope, release_at=NOW + 24 * HOUR)
        site.settle(evolve(message, envelope=released), LATER)
        return recorded(site)

    day = 86400
    assert not later(day + 3 * 3600).delay_reported
    assert later(day + 4 * 3600).delay_reported
    assert later(5 * day).state is State.QUEUED
    assert later(6 * day).state is State.FAILED


@pytest.mark.rfc("2852", "4.1.4")
@pytest.mark.parametrize(
    "change", [lambda one: one, lambda one: evolve(one, is_owed=True)]
)
def test_who_reports_itself_leaves_nothing_to_tell_but_what_is_owed(
    change: Callable[[Relayed], Relayed],
) -> None:
    site = at(0)
    relayed = change(evolve(OK, reports_itself=True))
    site.settle(spooled(), relayed)
    told = [one for news in site.reported for one in news]
    assert [one.action for one in told] == [Action.RELAYED] * relayed.is_owed
    assert all(one.is_owed and one.may_confirm for one in told)
    assert recorded(site).status == EnhancedCode(2, 0, 0)
