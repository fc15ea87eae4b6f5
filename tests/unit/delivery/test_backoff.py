"""How long to keep trying, and how often."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from submitd.delivery.backoff import RetrySchedule

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SCHEDULE = RetrySchedule(
    first=5 * MINUTE,
    longest=60 * MINUTE,
    give_up=timedelta(days=5),
    report_delay_after=timedelta(hours=4),
    jitter=0.1,
)


@pytest.mark.rfc("5321", "4.5.4.1")
def test_the_wait_doubles_up_to_the_longest() -> None:
    waits = [SCHEDULE.next_due(NOW, attempts, NOW, 0.5) for attempts in range(1, 7)]
    assert waits == [NOW + minutes * MINUTE for minutes in (5, 10, 20, 40, 60, 60)]


def test_messages_that_failed_together_do_not_come_back_together() -> None:
    assert SCHEDULE.next_due(NOW, 1, NOW, 0.0) == NOW + 4.5 * MINUTE
    assert SCHEDULE.next_due(NOW, 1, NOW, 1.0) == NOW + 5.5 * MINUTE


@pytest.mark.rfc("5321", "4.5.4.1")
def test_the_last_attempt_is_at_the_give_up_age() -> None:
    end = NOW + timedelta(days=5)
    assert SCHEDULE.next_due(NOW, 99, end - MINUTE, 0.5) == end
    assert SCHEDULE.next_due(NOW, 100, end, 0.5) is None


@given(
    attempts=st.integers(1, 10_000),
    age=st.timedeltas(timedelta(0), timedelta(days=6)),
    chance=st.floats(0, 1),
)
def test_the_next_attempt_is_later_and_never_beyond_the_end(
    attempts: int, age: timedelta, chance: float
) -> None:
    due = SCHEDULE.next_due(NOW, attempts, NOW + age, chance)
    if due is None:
        assert age >= SCHEDULE.give_up
    else:
        assert NOW + age < due <= NOW + SCHEDULE.give_up


def test_a_delay_is_reported_from_a_certain_age_on() -> None:
    assert not SCHEDULE.is_report_due(NOW, NOW + timedelta(hours=3))
    assert SCHEDULE.is_report_due(NOW, NOW + timedelta(hours=4))


def test_delay_reports_can_be_switched_off() -> None:
    silent = RetrySchedule(
        first=MINUTE,
        longest=MINUTE,
        give_up=60 * MINUTE,
        report_delay_after=None,
        jitter=0,
    )
    assert not silent.is_report_due(NOW, NOW + timedelta(days=4))
