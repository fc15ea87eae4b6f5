"""When those come again for whom there was no place."""

import pytest
from twisted.internet.task import Clock

from submitd.delivery.pace import Pace


def going(seconds: float, carried: int) -> tuple[Clock, Pace]:
    """A line that has moved by so many in so long."""
    clock = Clock()
    clock.advance(1_000_000)  # what came before this line says nothing of it
    pace = Pace(clock)
    pace.begin()
    clock.advance(seconds)
    for _ in range(carried):
        pace.carry()
    return clock, pace


def test_they_come_one_after_another_as_fast_as_the_line_moves() -> None:
    _, pace = going(2, carried=200)
    delays = [pace.delay(1000) for _ in range(3)]
    assert delays == pytest.approx([5, 5.005, 5.01], abs=0.001)


def test_who_comes_when_all_the_others_have_come_does_not_wait_behind_them() -> None:
    clock, pace = going(2, carried=200)
    for _ in range(1000):
        pace.delay(1000)
    clock.advance(30)
    for _ in range(3000):
        pace.carry()
    assert pace.delay(100) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("seconds", "carried"), [(0.0, 0), (0.4, 100)])
def test_while_nobody_knows_how_it_goes_it_is_a_few_seconds(
    seconds: float, carried: int
) -> None:
    _, pace = going(seconds, carried)
    assert [pace.delay(1000), pace.delay(1000)] == [5, 5]


@pytest.mark.parametrize(("seconds", "carried"), [(20.0, 0), (100.0, 1)])
def test_a_line_that_hardly_moves_is_looked_at_every_15_seconds(
    seconds: float, carried: int
) -> None:
    _, pace = going(seconds, carried)
    assert pace.delay(1000) == 15
