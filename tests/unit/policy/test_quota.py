"""How much may one submitter send, and when again?"""

import pytest

from submitd.mail.status import EnhancedCode
from submitd.mail.usage import Span, Spent, Stored, Usage
from submitd.policy.quota import (
    Quota,
    Quotas,
    Room,
    as_stored,
    as_wait,
    check_held,
    check_later,
    check_quota,
)

NOW = 1_800_000_000.0


def used(span: Span, *spent: tuple[float, int, int], new: int = 0) -> Usage:
    """``spent``: seconds from now until it counts no more, messages, recipients."""
    return Usage(
        spent={
            span: tuple(
                Spent(
                    until=NOW + seconds,
                    messages=messages,
                    recipients=recipients,
                    new_recipients=recipients,
                )
                for seconds, messages, recipients in spent
            )
        },
        new_recipients=new,
    )


def test_who_is_within_all_limits_may_send() -> None:
    quota = Quota(burst=2, messages_per_hour=10, recipients_per_day=100)
    assert check_quota(quota, Usage(), 100, NOW) is None
    assert check_quota(quota, used(Span.MINUTE, (30, 1, 1)), 1, NOW) is None


@pytest.mark.parametrize(
    ("quota", "usage", "recipients", "says"),
    [
        (
            Quota(burst=2),
            used(Span.MINUTE, (12, 1, 1), (50, 1, 1)),
            1,
            "The limit is 2 messages a minute (2 used); possible again in 12 s",
        ),
        (
            Quota(messages_per_hour=3),
            used(Span.HOUR, (120, 1, 1), (1000, 2, 2)),
            1,
            "The limit is 3 messages an hour (3 used); possible again in 2 min",
        ),
        (
            Quota(messages_per_day=3),
            used(Span.DAY, (7200, 3, 3)),
            1,
            "The limit is 3 messages a day (3 used); possible again in 2 h",
        ),
        (
            Quota(recipients_per_hour=10),
            used(Span.HOUR, (60, 1, 4), (600, 1, 4), (3600, 1, 1)),
            7,
            "The limit is 10 recipients an hour (9 used); possible again in 10 min",
        ),
        (
            Quota(recipients_per_day=10),
            used(Span.DAY, (9000, 1, 10)),
            10,
            "The limit is 10 recipients a day (10 used); possible again in 2 h 30 min",
        ),
        (
            Quota(new_recipients_per_day=5),
            used(Span.DAY, (9, 1, 4), new=5),
            20,
            (
                "The limit is 5 first-time recipients a day (4 used); "
                "possible again in 9 s"
            ),
        ),
    ],
)
def test_a_refusal_says_which_limit_and_when_again(
    quota: Quota, usage: Usage, recipients: int, says: str
) -> None:
    refusal = check_quota(quota, usage, recipients, NOW)
    assert refusal is not None
    assert (refusal.code, refusal.enhanced) == (451, EnhancedCode(4, 7, 1))
    assert refusal.text == says


def test_of_several_limits_the_one_that_lasts_longest_is_named() -> None:
    quota = Quota(burst=1, messages_per_hour=1)
    usage = Usage(
        spent={
            Span.MINUTE: (Spent(until=NOW + 40, messages=1),),
            Span.HOUR: (Spent(until=NOW + 1800, messages=1),),
        }
    )
    refusal = check_quota(quota, usage, 1, NOW)
    assert refusal is not None
    assert "1 message an hour" in refusal.text
    assert "30 min" in refusal.text


def test_what_can_never_be_sent_is_not_to_be_tried_again() -> None:
    """A program would, for days, and its user would learn of it at the end."""
    refusal = check_quota(Quota(recipients_per_hour=10, burst=1), Usage(), 11, NOW)
    assert refusal is not None
    assert (refusal.code, refusal.enhanced) == (550, EnhancedCode(5, 5, 3))
    assert refusal.text == (
        "The limit is 10 recipients an hour, and this message has 11"
    )


def test_recipients_that_are_known_are_free_of_that_limit() -> None:
    quota = Quota(new_recipients_per_day=5)
    full = used(Span.DAY, (100, 1, 5), new=0)
    assert check_quota(quota, full, 500, NOW) is None


def test_what_is_held_has_a_limit_too() -> None:
    quota = Quota(messages_per_hour=1, holds=True, held=Room(messages=3, octets=1000))
    assert quota.spans == {Span.HOUR}
    assert check_held(quota, Usage(held=Stored(2, 900)), 100) is None
    for stored, size in ((Stored(3, 900), 0), (Stored(2, 900), 101)):
        refusal = check_held(quota, Usage(held=stored), size)
        assert refusal is not None
        assert (refusal.code, refusal.enhanced) == (452, EnhancedCode(4, 2, 2))
        assert refusal.text == (
            f"Too much of your mail is held already: {stored.messages} messages, 1 kB"
        )
    assert check_held(Quota(holds=True), Usage(held=Stored(9, 10**12)), 10**12) is None


@pytest.mark.rfc("4865", "6")
def test_what_waits_for_later_has_a_limit_and_a_code_of_its_own() -> None:
    quota = Quota(later=Room(messages=3, octets=1000))
    assert check_later(quota, Usage(later=Stored(2, 900)), 100) is None
    for stored, size in ((Stored(3, 900), 0), (Stored(2, 900), 101)):
        refusal = check_later(quota, Usage(later=stored), size)
        assert refusal is not None
        assert (refusal.code, refusal.enhanced) == (552, EnhancedCode(5, 7, 16))
    assert check_later(Quota(), Usage(later=Stored(9, 10**12)), 10**12) is None


@pytest.mark.parametrize(
    ("octets", "words"),
    [(0, "0 kB"), (1, "1 kB"), (9_999_000, "9999 kB"), (9_999_001, "10 MB")],
)
def test_sizes_are_rounded_up(octets: int, words: str) -> None:
    assert as_stored(Stored(1, octets)) == f"1 message, {words}"


def test_each_login_has_its_own_limits_or_those_of_all() -> None:
    everybody, few = Quota(burst=1), Quota(burst=9)
    free = Quota()
    quotas = Quotas(everybody, {"newsletter": few, "free": free})
    assert quotas.of("Newsletter") is few
    assert quotas.of("alice") is everybody
    assert quotas.of("free") is free
    assert not free.limits
    assert Quotas().of("alice") == Quota()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "1 s"),
        (0.2, "1 s"),
        (59, "59 s"),
        (60, "1 min"),
        (61, "2 min"),
        (7199, "2 h"),
        (7201, "2 h 1 min"),
    ],
)
def test_waits_are_rounded_up(seconds: float, words: str) -> None:
    assert as_wait(seconds) == words
