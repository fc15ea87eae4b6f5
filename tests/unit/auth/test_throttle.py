"""Guessing is braked, and neither a forgotten password nor others lock one out."""

from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from submitd.auth.failures import Failures, Key
from submitd.auth.known import KnownNetworks
from submitd.auth.throttle import (
    Attempt,
    LocalLoginCounts,
    LoginLimits,
    Outcome,
    Place,
    as_account,
    fingerprint,
)

LIMITS = LoginLimits(
    per_account=3,
    per_address=5,
    per_network=8,
    window=timedelta(minutes=10),
    delay=timedelta(seconds=1),
    longest_delay=timedelta(seconds=6),
    refusal=timedelta(minutes=5),
    longest_refusal=timedelta(minutes=30),
)
HERE = "192.0.2.1"


class Site:
    """Counts under a clock."""

    def __init__(self, **limits: Any) -> None:  # noqa: ANN401
        self.clock = Clock()
        self.passwords = 0
        self.began: list[tuple[Key, int]] = []
        self.counts = LocalLoginCounts(
            self.clock,
            evolve(LIMITS, **limits),
            KnownNetworks(timedelta(days=30), self.clock.seconds),
            self._on_brake,
        )

    def _on_brake(self, key: Key, failures: Failures) -> None:
        assert failures.until is not None
        self.began.append((key, round(failures.until - failures.since)))

    def begin(
        self, password: str = "x", account: str = "alice", client: str = HERE
    ) -> tuple[Attempt, Place]:
        attempt = Attempt(client, account, f"{account} {password}")
        return attempt, self.counts.begin(attempt)

    def attempt(
        self,
        password: str = "x",
        account: str = "alice",
        client: str = HERE,
        outcome: Outcome = Outcome.WRONG,
    ) -> Place:
        """One that is over at once."""
        attempt, place = self.begin(password, account, client)
        if place.ticket:
            self.counts.ended(attempt, place, outcome)
        return place

    def is_braked(self, account: str = "alice", client: str = HERE) -> bool:
        """Whether a further password would be refused unseen."""
        attempt, place = self.begin("another", account, client)
        self.counts.ended(attempt, place, Outcome.CANNOT_TELL)
        return place.is_braked

    def fail(self, times: int, account: str = "alice", client: str = HERE) -> None:
        """So many different wrong passwords."""
        for _ in range(times):
            self.passwords += 1
            self.attempt(f"wrong {self.passwords}", account, client)


def test_each_failure_doubles_the_wait_up_to_a_bound() -> None:
    site = Site(per_account=None, per_address=None, per_network=None)
    waits = [site.attempt(str(number)).delay for number in range(100)]
    assert waits[:6] == [0.0, 1.0, 2.0, 4.0, 6.0, 6.0]
    assert set(waits[6:]) == {6.0}
    assert not site.is_braked()


def test_so_many_wrong_passwords_put_an_account_off_from_everywhere() -> None:
    site = Site()
    for number in range(3):
        site.attempt(str(number), client=f"192.0.2.{number}")
    assert site.is_braked(client="198.51.100.1")
    assert not site.is_braked("bob", "198.51.100.1")
    assert site.began == [(Key("account", "alice"), 300)]


def test_an_address_that_tries_many_accounts_is_put_off() -> None:
    site = Site()
    for number in range(5):
        site.attempt(account=f"user{number}")
    assert site.is_braked("bob")
    assert not site.is_braked("bob", "192.0.2.2")


@pytest.mark.parametrize(
    ("within", "outside"),
    [
        (["192.0.2.{}"], "192.0.3.1"),
        (["2001:db8:1:{}::1"], "2001:db8:2::1"),
    ],
)
def test_guesses_spread_over_a_network_count_together(
    within: list[str], outside: str
) -> None:
    """Who has a /24 or a /48 has as many addresses as they like."""
    site = Site()
    for number in range(8):
        assert not site.is_braked("bob", outside)
        site.attempt(account=f"user{number}", client=within[0].format(number))
    assert site.is_braked("bob", within[0].format(99))
    assert not site.is_braked("bob", outside)


def test_an_ipv6_64_counts_as_one_client() -> None:
    site = Site()
    for number in range(5):
        site.attempt(account=f"user{number}", client=f"2001:db8::{number}")
    assert site.is_braked("bob", "2001:db8::ffff")
    assert not site.is_braked("bob", "2001:db8:0:1::1")


def test_one_wrong_password_again_and_again_counts_once() -> None:
    """A telephone with the old one asks every minute; its owner can still log in."""
    site = Site()
    for _ in range(100):
        assert site.attempt("the old one").delay == 0.0
    assert not site.is_braked()


def test_failures_are_forgotten_after_the_window() -> None:
    site = Site()
    site.fail(2)
    site.clock.advance(601)
    assert site.attempt("x").delay == 0.0
    site.fail(1)
    assert not site.is_braked()


# At the same time


def test_guesses_made_at_the_same_time_pass_no_limit() -> None:
    """Each takes its place before anybody is asked."""
    site = Site()
    begun = [site.begin(str(number)) for number in range(60)]
    asked = [one for one in begun if one[1].ticket]
    assert len(asked) == 3
    assert all(place.is_busy for _, place in begun[3:])
    for attempt, place in asked:
        site.counts.ended(attempt, place, Outcome.WRONG)
    assert site.is_braked()


@pytest.mark.parametrize("outcome", [Outcome.RIGHT, Outcome.CANNOT_TELL])
def test_a_place_is_given_back_by_who_was_right_or_could_not_be_told(
    outcome: Outcome,
) -> None:
    site = Site()
    for number in range(20):
        begun = [site.begin(f"{number} {one}") for one in range(3)]
        assert all(place.ticket for _, place in begun)
        for attempt, place in begun:
            site.counts.ended(attempt, place, outcome)
    assert not site.is_braked()
    assert site.counts._checking == {}


def test_one_password_at_the_same_time_takes_one_place() -> None:
    """A program that opens four connections at once is no guesser."""
    site = Site()
    begun = [site.begin("wonderland") for _ in range(30)]
    assert all(place.ticket for _, place in begun)
    for attempt, place in begun:
        site.counts.ended(attempt, place, Outcome.WRONG)
    assert not site.is_braked()
    assert site.counts._checking == {}


def test_the_places_of_a_dead_worker_are_free() -> None:
    site = Site()
    for number in range(3):
        site.counts.begin(Attempt(HERE, "alice", str(number)), "worker-1")
    kept = site.counts.begin(Attempt(HERE, "bob", "x"), "worker-2")
    assert site.begin()[1].is_busy
    site.counts.forget("worker-1")
    assert site.begin()[1].ticket
    site.counts.ended(Attempt(HERE, "bob", "x"), kept, Outcome.WRONG)
    site.counts.ended(Attempt(HERE, "bob", "x"), kept, Outcome.WRONG)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["alice", "bob", "carol"]),
            st.sampled_from([HERE, "192.0.2.2", "198.51.100.1"]),
            st.integers(0, 8),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_no_order_of_attempts_has_more_checked_than_the_limits_allow(
    steps: list[tuple[str, str, int, bool]],
) -> None:
    """Different passwords of an account that are asked about, none being right."""
    site = Site()
    asked: dict[str, set[int]] = {}
    clients: dict[str, set[tuple[str, int]]] = {}
    open_: list[tuple[Attempt, Place]] = []
    for account, client, password, ends in steps:
        attempt, place = site.begin(str(password), account, client)
        if place.ticket:
            asked.setdefault(account, set()).add(password)
            clients.setdefault(client, set()).add((account, password))
            open_.append((attempt, place))
        if ends and open_:
            site.counts.ended(*open_.pop(0), Outcome.WRONG)
    assert all(len(one) <= 3 for one in asked.values())
    assert all(len(one) <= 5 for one in clients.values())
    near = clients.get(HERE, set()) | clients.get("192.0.2.2", set())
    assert len(near) <= 8


# How long


def test_each_refusal_is_twice_as_long_up_to_a_bound() -> None:
    site = Site(per_address=None, per_network=None)
    for _ in range(5):
        site.fail(3)
        assert site.is_braked()
        site.clock.advance(site.began[-1][1] - 1)
        assert site.is_braked()
        site.clock.advance(1)
        assert not site.is_braked()
    assert [seconds for _, seconds in site.began] == [300, 600, 1200, 1800, 1800]


def test_refusals_are_forgotten_a_day_after_the_last() -> None:
    site = Site()
    site.fail(3)
    site.clock.advance(300 + 86_000)
    site.fail(3)
    site.clock.advance(600 + 86_401)
    site.fail(3)
    assert [seconds for _, seconds in site.began] == [300, 600, 300]


def test_what_fails_while_it_is_refused_makes_no_refusal_longer() -> None:
    """A worker that had counted alone may tell of it late."""
    site = Site()
    site.fail(3)
    late = Attempt("192.0.2.9", "alice", "late")
    site.counts.ended(late, Place(0), Outcome.WRONG)
    (braked,) = site.counts.braked()
    assert (braked.failures, braked.client) == (3, "192.0.2.9")
    assert len(site.began) == 1


# Who is spared


def test_who_has_logged_in_before_is_not_shut_out_by_others() -> None:
    """Neither by guesses at the account nor by the network that it is in."""
    site = Site()
    site.attempt(client="2001:db8::1", outcome=Outcome.RIGHT)
    for number in range(4):
        site.attempt(str(number), client=f"192.0.2.{number}")
    assert site.is_braked(client="198.51.100.1")
    assert not site.is_braked(client="2001:db8::2")
    for number in range(5):
        site.attempt(account=f"user{number}", client="2001:db8::1")
    assert site.is_braked("bob", "2001:db8::1")
    assert not site.is_braked(client="2001:db8::2")


def test_a_known_network_is_no_licence_to_guess() -> None:
    site = Site()
    site.attempt(outcome=Outcome.RIGHT)
    site.attempt(account="bob", outcome=Outcome.RIGHT)
    site.fail(3)
    assert site.is_braked()
    assert Key("way", "alice", HERE) in dict(site.began)
    assert not site.is_braked("bob")
    # It counted for the account and for the address, too.
    assert site.is_braked(client="198.51.100.1")
    site.fail(2, "carol")
    assert site.is_braked("dave")


def unguessable(account: str, client: str, number: int = 0) -> Attempt:
    return Attempt(client, account, f"token {number}", is_guessable=False)


def tried(site: Site, attempt: Attempt, outcome: Outcome = Outcome.WRONG) -> bool:
    """Whether it was put off; else it is over at once."""
    place = site.counts.begin(attempt)
    site.counts.ended(attempt, place, outcome)
    return place.is_braked


def test_guesses_at_a_password_shut_out_no_token() -> None:
    """It cannot be guessed, and who has it comes from changing addresses."""
    site = Site()
    site.fail(3, client="198.51.100.1")
    assert site.is_braked(client="203.0.113.7")
    assert not tried(site, unguessable("alice", "203.0.113.7"), Outcome.RIGHT)


def test_a_wrong_token_counts_for_its_address_and_not_for_the_account() -> None:
    site = Site()
    for number in range(5):
        assert not tried(site, unguessable("alice", HERE, number))
    assert tried(site, unguessable("bob", HERE, 9))
    assert site.is_braked("bob")
    assert not site.is_braked("alice", "203.0.113.7")


def test_a_token_is_let_in_where_its_owner_is_known_whatever_others_do_there() -> None:
    site = Site()
    tried(site, unguessable("alice", HERE), Outcome.RIGHT)
    site.fail(8, "carol")
    site.fail(3, "alice")
    assert site.is_braked("carol")
    assert site.is_braked("alice")
    assert not tried(site, unguessable("alice", HERE), Outcome.RIGHT)
    for number in range(3):
        assert not tried(site, unguessable("alice", HERE, number))
    assert tried(site, unguessable("alice", HERE), Outcome.RIGHT)
    name = "alice by token or certificate from 192.0.2.1"
    assert name in [one.name for one in site.counts.braked()]
    assert name in site.counts.unblock("alice")


def test_a_known_network_is_forgotten_after_its_time() -> None:
    site = Site()
    site.attempt(outcome=Outcome.RIGHT)
    site.fail(3, client="198.51.100.1")
    assert not site.is_braked()
    site.clock.advance(30 * 86400 + 1)
    site.fail(3, client="198.51.100.1")
    assert site.is_braked()


def test_a_right_password_does_not_clear_what_others_guessed() -> None:
    """Else an owner at work would let a guesser go on for ever."""
    site = Site()
    site.fail(2)
    site.attempt(client="198.51.100.1", outcome=Outcome.RIGHT)
    site.fail(1)
    assert site.is_braked(client="203.0.113.1")


# Bounds


def test_a_flood_of_invented_names_pushes_out_no_account_under_attack(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("submitd.auth.failures._MOST_OF_A_LEVEL", 10)
    site = Site(per_address=None, per_network=None)
    site.fail(2)
    for number in range(1000):
        site.attempt(account=f"invented{number}")
    site.fail(1)
    assert site.is_braked()
    for number in range(1000):
        site.attempt(account=f"invented{number}")
    assert site.is_braked()
    # Who is new is counted all the same, however full it is.
    site.fail(3, "bob")
    assert site.is_braked("bob")
    assert len(list(site.counts._failures)) <= 10 * 8


def test_long_names_are_kept_short() -> None:
    long = as_account("a" * 10_000)
    assert len(long) < 100
    assert long != as_account("a" * 9_999)


@pytest.mark.rfc("4518", "2.6.1")
@pytest.mark.parametrize("spelling", ["ALICE", " alice ", "\uff41lice", "Alice\u00a0"])
def test_spellings_that_a_directory_takes_for_one_are_counted_as_one(
    spelling: str,
) -> None:
    """Or each would have as many guesses as the account itself."""
    assert as_account(spelling) == "alice"
    assert as_account("alice b") == as_account("Alice  B") != as_account("aliceb")


# What an operator sees and does


def test_an_operator_sees_who_is_put_off() -> None:
    site = Site()
    site.attempt(outcome=Outcome.RIGHT)
    site.fail(3)
    site.clock.advance(60)
    listed = {(one.kind, one.name): one for one in site.counts.braked()}
    assert set(listed) == {("account", "alice"), ("way", f"alice from {HERE}")}
    one = listed["account", "alice"]
    assert (one.since, one.left, one.failures) == (60, 240, 3)
    assert (one.refusals, one.client) == (1, HERE)
    site.clock.advance(240)
    assert site.counts.braked() == []


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("ALICE", ["alice", f"alice from {HERE}"]),
        ("192.0.2.1", [HERE, f"alice from {HERE}"]),
        ("192.0.2.0/24", [HERE, f"alice from {HERE}"]),
        ("198.51.100.1", []),
        ("2001:db8::/32", []),
        ("bob", []),
        ("", []),
        (None, ["alice", HERE, f"alice from {HERE}"]),
    ],
)
def test_an_operator_ends_it(name: str | None, ends: list[str]) -> None:
    site = Site(per_address=4)
    site.attempt(outcome=Outcome.RIGHT)
    site.fail(4)
    site.attempt(account="bob")
    assert sorted(site.counts.unblock(name)) == sorted(ends)
    assert site.is_braked(client="203.0.113.1") is ("alice" not in ends)
    assert site.is_braked() is (f"alice from {HERE}" not in ends)


def test_a_worker_that_counts_alone_keeps_to_its_share() -> None:
    limits = evolve(LIMITS, per_network=None).share(4)
    assert (limits.per_account, limits.per_address, limits.per_network) == (1, 1, None)


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
