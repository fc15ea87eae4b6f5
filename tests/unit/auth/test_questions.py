"""Questions that nobody comes back to: some are borne, a flood of them is not."""

import pytest
from twisted.internet.task import Clock

from submitd.auth.questions import OpenQuestions
from submitd.auth.throttle import Attempt
from tests.support.recorded_events import RecordedEvents

HERE = "192.0.2.1"


class Site:
    """Open questions under a clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.events = RecordedEvents()
        self.failed: list[Attempt] = []
        self.open = OpenQuestions(self.clock, self.failed.append, self.events)
        self.number = 0

    def ask(self, times: int, client: str = HERE) -> list[Attempt]:
        asked = []
        for _ in range(times):
            self.number += 1
            asked.append(Attempt(client, f"user{self.number}", str(self.number)))
            self.open.opened(asked[-1])
        return asked


def test_so_many_are_borne_and_each_one_more_makes_the_oldest_a_failure() -> None:
    site = Site()
    asked = site.ask(20)
    site.clock.advance(31)
    asked += site.ask(3)
    # These may yet be come back to.
    assert site.failed == []
    site.clock.advance(31)
    site.ask(1)
    assert site.failed == asked[:3]


def test_an_office_that_comes_all_at_once_is_no_flood() -> None:
    site = Site()
    asked = site.ask(150)
    site.clock.advance(2)
    for one in asked:
        site.open.closed(one)
    site.clock.advance(60)
    site.ask(20)
    assert site.failed == []


def test_nobody_has_more_than_so_many_under_way() -> None:
    site = Site()
    asked = site.ask(203)
    assert site.failed == asked[:3]


def test_who_comes_back_is_never_a_failure_whatever_others_there_do() -> None:
    site = Site()
    others: list[Attempt] = []
    for _ in range(100):
        others += site.ask(1)
        (honest,) = site.ask(1)
        site.open.closed(honest)
        site.open.closed(honest)
        site.clock.advance(1)
    assert site.failed == others[:49]
    site.open.closed(Attempt("198.51.100.9", "nobody", "1"))


def test_who_breaks_off_now_and_then_is_not_hurt() -> None:
    site = Site()
    for _ in range(100):
        site.ask(1)
        site.clock.advance(60)
    assert site.failed == []


def test_each_address_has_its_own() -> None:
    site = Site()
    for number in range(1, 10):
        site.ask(200, f"192.0.2.{number}")
    assert site.failed == []
    # An IPv6 network of 64 bits is one.
    site.ask(101, "2001:db8::1")
    site.ask(100, "2001:db8::2")
    assert len(site.failed) == 1


def test_one_question_again_and_again_is_a_flood_too() -> None:
    """Until it is answered; and however long that takes."""
    site = Site()
    one = Attempt(HERE, "", "one token")
    for _ in range(60):
        site.open.opened(one)
        site.clock.advance(10)
    assert site.failed == [one] * 36
    site.open.closed(one)
    site.clock.advance(901)
    for _ in range(20):
        site.open.opened(one)
        site.clock.advance(901)
    assert site.failed == [one] * 36


def test_the_log_tells_it_once_for_each_flood() -> None:
    site = Site()
    site.ask(500)
    assert site.events.emitted == [("log-ins-abandoned", {"client": HERE})]
    site.clock.advance(901)
    site.ask(200)
    assert len(site.events.emitted) == 1
    site.ask(10)
    assert len(site.events.emitted) == 2


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("submitd.auth.questions._MOST_ADDRESSES", 2)
    site = Site()
    for number in range(1, 4):
        site.ask(200, f"192.0.2.{number}")
    site.ask(1, "192.0.2.1")
    assert site.failed == []
    site.ask(1, "192.0.2.3")
    assert len(site.failed) == 1
