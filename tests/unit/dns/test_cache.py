"""Answers are kept while they are fresh, and no longer."""

import pytest
from twisted.internet.task import Clock

from submitd.dns.answer import Absence, Answer, Fault
from submitd.dns.cache import AnswerCache
from submitd.dns.message import ExchangerRecord, RecordType

MX = RecordType.MX


def answer(ttl: int) -> Answer:
    return Answer(
        name="example.org",
        records=(ExchangerRecord(10, "mx.example"),),
        authenticated=True,
        ttl=ttl,
    )


def none(ttl: int) -> Answer:
    return Answer(name="example.org", records=(), authenticated=False, ttl=ttl)


def absence(ttl: int) -> Absence:
    return Absence(name="example.org", authenticated=False, ttl=ttl)


def test_an_answer_is_given_with_the_time_that_is_left_until_there_is_none() -> None:
    clock = Clock()
    cache = AnswerCache(clock.seconds)
    cache.put("example.org", MX, answer(60))

    assert cache.get("example.org", MX) == answer(60)
    assert cache.get("example.org", RecordType.A) is None
    assert cache.get("example.net", MX) is None
    clock.advance(20.5)
    assert cache.get("example.org", MX) == answer(39)
    clock.advance(39.5)
    assert cache.get("example.org", MX) is None
    assert len(cache) == 0


@pytest.mark.rfc("1035", "3.2.1")
@pytest.mark.parametrize("settled", [answer(0), none(0), absence(0)])
def test_what_has_no_time_to_live_is_not_kept(settled: Answer | Absence) -> None:
    cache = AnswerCache(Clock().seconds)

    cache.put("example.org", MX, settled)

    assert len(cache) == 0


@pytest.mark.rfc("2308", "5")
def test_no_ttl_is_longer_than_its_bound() -> None:
    cache = AnswerCache(Clock().seconds, longest=1000, longest_negative=100)

    assert cache.put("a.example", MX, answer(5000)) == answer(1000)
    assert cache.put("b.example", MX, none(5000)) == none(100)
    assert cache.put("c.example", MX, absence(5000)) == absence(100)
    assert cache.put("d.example", MX, absence(50)) == absence(50)


@pytest.mark.rfc("9520", "3.2")
def test_a_failure_is_remembered_for_a_second() -> None:
    clock = Clock()
    cache = AnswerCache(clock.seconds)
    cache.put("example.org", MX, Fault("no answer in time", ""))

    clock.advance(0.9)
    assert cache.get("example.org", MX) == Fault("no answer in time", "")
    clock.advance(0.1)
    assert cache.get("example.org", MX) is None


def test_a_full_cache_forgets_what_was_not_used_for_longest() -> None:
    cache = AnswerCache(Clock().seconds, most_entries=2)
    cache.put("a.example", MX, answer(60))
    cache.put("b.example", MX, answer(60))
    cache.get("a.example", MX)

    cache.put("c.example", MX, answer(60))

    assert len(cache) == 2
    assert cache.get("b.example", MX) is None
    assert cache.get("a.example", MX) is not None


def test_a_newer_answer_takes_the_place_of_the_older() -> None:
    cache = AnswerCache(Clock().seconds, most_entries=2)
    cache.put("a.example", MX, answer(60))
    cache.put("b.example", MX, answer(60))
    cache.put("a.example", MX, answer(90))

    cache.put("c.example", MX, answer(60))

    assert cache.get("a.example", MX) == answer(90)


def test_a_clock_that_is_put_back_makes_nothing_fresh_again() -> None:
    """Or an answer of a minute could stay for as long as the clock was wrong."""
    now = 1000.0
    cache = AnswerCache(lambda: now)
    cache.put("example.org", MX, answer(60))

    now = 10.0

    assert cache.get("example.org", MX) is None
