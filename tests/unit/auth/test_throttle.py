"""Guessing is slowed down, and a forgotten password locks nobody out."""

from datetime import timedelta

import pytest
from twisted.internet.task import Clock

from submitd.auth.throttle import LocalLoginCounts, LoginLimits, fingerprint


def counts(clock: Clock, **limits: int | None) -> LocalLoginCounts:
    return LocalLoginCounts(
        clock,
        LoginLimits(
            per_address=limits.get("per_address", 5),
            per_account=limits.get("per_account", 3),
            window=timedelta(minutes=10),
            delay=timedelta(seconds=1),
            longest_delay=timedelta(seconds=6),
        ),
    )


def test_each_failure_doubles_the_wait_up_to_a_bound() -> None:
    known = counts(Clock(), per_account=None, per_address=None)
    assert known.standing("192.0.2.1", "alice") == (0.0, False)
    waits = [known.failed("192.0.2.1", "alice", str(one))[0] for one in range(40)]
    assert waits[:6] == [0.0, 1.0, 2.0, 4.0, 6.0, 6.0]
    assert set(waits[6:]) == {6.0}
    assert known.standing("192.0.2.1", "alice")[1] is False


def test_so_many_wrong_passwords_put_an_account_off_from_everywhere() -> None:
    known = counts(Clock())
    for number in range(3):
        known.failed(f"192.0.2.{number}", "alice", str(number))
    assert known.standing("198.51.100.1", "alice") == (2.0, True)
    assert known.standing("198.51.100.1", "bob") == (0.0, False)


def test_an_address_that_tries_many_accounts_is_put_off() -> None:
    known = counts(Clock())
    for number in range(5):
        known.failed("192.0.2.1", f"user{number}", "x" + str(number))
    assert known.standing("192.0.2.1", "bob")[1] is True
    assert known.standing("192.0.2.2", "bob") == (0.0, False)


def test_an_ipv6_network_counts_as_one_client() -> None:
    """Who has a /64 has as many addresses as they like."""
    known = counts(Clock())
    for number in range(5):
        known.failed(f"2001:db8::{number}", f"user{number}", str(number))
    assert known.standing("2001:db8::ffff", "bob")[1] is True
    assert known.standing("2001:db8:0:1::1", "bob")[1] is False


def test_one_wrong_password_again_and_again_counts_once() -> None:
    """A telephone with the old one asks every minute; its owner can still log in."""
    known = counts(Clock())
    for _ in range(100):
        known.failed("192.0.2.1", "alice", "the old one")
    assert known.standing("192.0.2.1", "alice") == (0.0, False)


def test_failures_are_forgotten_after_the_window() -> None:
    clock = Clock()
    known = counts(clock)
    for number in range(3):
        known.failed("192.0.2.1", "alice", str(number))
    clock.advance(601)
    assert known.standing("192.0.2.1", "alice") == (0.0, False)
    assert known.failed("192.0.2.1", "alice", "x") == (0.0, False)


def test_who_has_logged_in_before_is_not_shut_out_by_guesses_of_others() -> None:
    known = counts(Clock())
    known.succeeded("2001:db8::1", "alice")
    for number in range(4):
        known.failed(f"192.0.2.{number}", "alice", str(number))
    assert known.standing("198.51.100.1", "alice") == (4.0, True)
    assert known.standing("2001:db8::2", "alice") == (0.0, False)
    # That is no licence to guess at others from there.
    for number in range(5):
        known.failed("2001:db8::1", f"user{number}", "x" + str(number))
    assert known.standing("2001:db8::1", "alice")[1] is True


def test_a_right_password_does_not_clear_what_others_guessed() -> None:
    """Else an owner at work would let a guesser go on for ever."""
    known = counts(Clock())
    for number in range(3):
        known.failed("192.0.2.1", "alice", str(number))
    known.succeeded("198.51.100.1", "alice")
    assert known.standing("203.0.113.1", "alice")[1] is True


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("submitd.auth.throttle._MOST_KEYS", 10)
    known = counts(Clock())
    for number in range(3):
        known.failed("192.0.2.1", "alice", str(number))
    for number in range(20):
        known.failed("192.0.2.1", f"user{number}", "x" + str(number))
    assert known.standing("198.51.100.1", "alice") == (0.0, False)
    assert known.standing("192.0.2.1", "bob")[1] is True


def test_fingerprints_tell_passwords_apart_and_nothing_more() -> None:
    one = fingerprint(b"secret", "alice", "wonderland")
    assert one == fingerprint(b"secret", "alice", "wonderland")
    assert len(one) == 32
    others = {
        fingerprint(b"other", "alice", "wonderland"),
        fingerprint(b"secret", "alicew", "onderland"),
        fingerprint(b"secret", "alice", "Wonderland"),
    }
    assert len(others | {one}) == 4
