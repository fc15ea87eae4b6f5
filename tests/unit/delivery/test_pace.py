"""When those come again for whom there was no place."""

from random import Random

import pytest
from twisted.internet.task import Clock

from submitd.delivery.pace import Pace


class Line:
    """A line that moves as the test says."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)  # what came before it says nothing of it
        self.pace = Pace(self.clock, Random(1))
        self.pace.begin()

    def goes(self, seconds: float, carried: int) -> None:
        """For so long, so many."""
        self.clock.advance(seconds)
        for _ in range(carried):
            self.pace.carry()


def test_they_come_one_after_another_twice_as_fast_as_the_line_went() -> None:
    line = Line()
    line.goes(2, carried=200)
    delays = [line.pace.delay(1000) for _ in range(3)]
    assert delays == pytest.approx([5, 5.005, 5.01], abs=0.001)


def test_who_comes_when_all_the_others_have_come_does_not_wait_behind_them() -> None:
    line = Line()
    line.goes(2, carried=200)
    for _ in range(2000):
        line.pace.delay(1000)
    line.goes(30, carried=3000)
    assert line.pace.delay(100) == pytest.approx(0.5, abs=0.02)


def test_a_line_that_begins_anew_knows_nothing_of_the_one_before() -> None:
    line = Line()
    line.goes(2, carried=20)
    for _ in range(100):
        line.pace.delay(100)
    line.pace.begin()
    line.goes(1, carried=1000)
    assert line.pace.delay(1000) == pytest.approx(0.5, abs=0.02)


def test_how_it_went_lately_counts() -> None:
    line = Line()
    line.goes(3600, carried=360_000)
    line.pace.delay(1000)
    line.goes(10, carried=0)
    assert 10 <= line.pace.delay(1000) <= 20
    line.goes(10, carried=1000)
    assert line.pace.delay(1000) == pytest.approx(5, abs=0.1)


@pytest.mark.parametrize(("seconds", "carried"), [(0.0, 0), (0.4, 100)])
def test_while_nobody_knows_how_it_goes_it_is_a_few_seconds(
    seconds: float, carried: int
) -> None:
    line = Line()
    line.goes(seconds, carried)
    delays = [line.pace.delay(1000) for _ in range(9)]
    assert all(2.5 <= one <= 5 for one in delays)
    assert len(set(delays)) == 9


@pytest.mark.parametrize(("seconds", "carried"), [(1.0, 0), (20.0, 0), (100.0, 1)])
def test_a_line_that_hardly_moves_is_looked_at_now_and_then(
    seconds: float, carried: int
) -> None:
    line = Line()
    line.goes(seconds, carried)
    delays = [line.pace.delay(1000) for _ in range(9)]
    assert all(10 <= one <= 20 for one in delays)
    assert len(set(delays)) == 9


def test_a_backlog_books_no_further_than_it_may_wait() -> None:
    """Or nobody would come when the line is fast again."""
    line = Line()
    for _ in range(100):
        line.goes(1, carried=10)
        for _ in range(1000):
            line.pace.delay(1000)
    line.goes(10, carried=10_000)
    line.pace.delay(1000)
    line.goes(20, carried=20_000)
    assert line.pace.delay(1000) < 2
