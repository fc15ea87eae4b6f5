"""Networks from which accounts have logged in, within bounds."""

from datetime import timedelta

import pytest
from twisted.internet.task import Clock

from submitd.auth.known import KnownNetworks

DAY = timedelta(days=1)


def known(clock: Clock, kept: timedelta | None = DAY) -> KnownNetworks:
    return KnownNetworks(kept, clock.seconds)


def test_what_was_kept_is_known_again_after_a_start() -> None:
    clock = Clock()
    clock.advance(1_000_000)
    before = known(clock)
    before.saw("alice", "192.0.2.1")
    clock.advance(80_000)
    before.saw("alice", "192.0.2.2")
    before.saw("bob", "192.0.2.2")
    after = known(clock)
    after.take(before.snapshot())
    assert after.snapshot() == before.snapshot()
    assert after.knows("alice", "192.0.2.1")
    assert not after.knows("bob", "192.0.2.1")
    clock.advance(10_000)
    assert not after.knows("alice", "192.0.2.1")
    assert after.snapshot() == {
        "alice": {"192.0.2.2": 1_080_000},
        "bob": {"192.0.2.2": 1_080_000},
    }
    clock.advance(100_000)
    assert after.snapshot() == {}


def test_a_moment_to_come_is_taken_for_now() -> None:
    """The clock was wrong then; nothing is known for ever for that."""
    clock = Clock()
    clock.advance(1_000_000)
    after = known(clock)
    after.take({"alice": {"192.0.2.1": 9e12}})
    assert after.knows("alice", "192.0.2.1")
    clock.advance(86_401)
    assert not after.knows("alice", "192.0.2.1")


def test_one_that_sends_all_day_is_written_down_now_and_then() -> None:
    clock = Clock()
    clock.advance(1_000_000)
    one = known(clock)
    for _ in range(7200):
        one.saw("alice", "192.0.2.1")
        clock.advance(1)
    assert one.changes == 2


def test_who_has_a_password_and_many_networks_pushes_out_only_their_own() -> None:
    clock = Clock()
    clock.advance(1_000_000)
    one = known(clock)
    one.saw("bob", "192.0.2.1")
    for number in range(200):
        one.saw("alice", f"2001:db8:0:{number:x}::/64")
    assert one.knows("bob", "192.0.2.1")
    assert len(one.snapshot()["alice"]) == 32
    assert one.knows("alice", "2001:db8:0:c7::/64")


def test_there_is_a_bound_on_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("submitd.auth.known._MOST_ACCOUNTS", 3)
    clock = Clock()
    clock.advance(1_000_000)
    one = known(clock)
    for name in ("a", "b", "c", "a", "d"):
        one.saw(name, "192.0.2.1")
    assert sorted(one.snapshot()) == ["a", "c", "d"]


def test_where_nothing_is_to_be_kept_nothing_is() -> None:
    clock = Clock()
    clock.advance(1_000_000)
    one = known(clock)
    one.saw("alice", "192.0.2.1")
    one.kept = None
    one.saw("bob", "192.0.2.1")
    assert not one.knows("alice", "192.0.2.1")
    assert one.snapshot() == {}
