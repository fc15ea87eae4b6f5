"""From credentials to a submitter: cache, delays, time-out, nobody as another."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import pytest
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from submitd.auth.addresses import AddressRules, Attributes, Rule, Template
from submitd.auth.checkers import Proves, StackedChecker
from submitd.auth.errors import AccountLocked, DirectoryUnavailable, TooManyFailures
from submitd.auth.known import KnownNetworks
from submitd.auth.portal import Audience, LoginPortal, SubmitterRealm
from submitd.auth.submitter import Submitter
from submitd.auth.throttle import LocalLoginCounts, LoginLimits
from tests.support.awaited import awaited
from tests.support.known_entries import KnownEntries, entry, people
from tests.support.recorded_events import RecordedEvents

ALICE: Final = entry("Alice", mail="alice@example.org")


class Asked:
    """A source that knows one password and counts who asks."""

    def __init__(self, password: str = "wonderland") -> None:
        self.password = password
        self.times = 0
        self.raises: Exception | None = None
        self.waits: Deferred[None] | None = None

    async def prove(self, login: str, password: str) -> str:
        self.times += 1
        if self.waits is not None:
            await self.waits
        if self.raises is not None:
            raise self.raises
        if password != self.password:
            raise UnauthorizedLogin("no")
        return login.partition("@")[0].capitalize()


class Site:
    """A portal with a clock and one source."""

    def __init__(
        self,
        *,
        cache: timedelta | None = timedelta(seconds=60),
        cache_failures: timedelta | None = timedelta(seconds=10),
    ) -> None:
        self.clock = Clock()
        self.source = Asked()
        self.known = KnownEntries([ALICE])
        self.events = RecordedEvents()
        sources: Sequence[Proves] = [self.source]
        folk = people(self.known)
        rules = AddressRules(
            [
                Rule(name="mail", kind=Attributes(("mail",))),
                Rule(name="own", kind=Template("{login}@example.net")),
            ],
            subaddresses=False,
            events=self.events,
        )
        self.portal = LoginPortal(
            self.clock,
            StackedChecker(sources),
            SubmitterRealm(folk, rules),
            LocalLoginCounts(
                self.clock,
                LoginLimits(
                    per_account=4,
                    per_address=100,
                    per_network=None,
                    window=timedelta(minutes=10),
                    delay=timedelta(seconds=1),
                    longest_delay=timedelta(seconds=10),
                    refusal=timedelta(minutes=5),
                    longest_refusal=timedelta(hours=1),
                ),
                KnownNetworks(timedelta(days=1), self.clock.seconds),
            ),
            people=folk,
            rules=rules,
            login_domains=frozenset({"example.org"}),
            cache=cache,
            cache_failures=cache_failures,
            time_out=timedelta(seconds=5),
            events=self.events,
            secret=b"of this start",
        )

    def begin(
        self, password: str, login: str = "alice", authzid: str = ""
    ) -> Deferred[Submitter]:
        return Deferred.fromCoroutine(
            self.portal.login(login, authzid, password, "192.0.2.1")
        )

    def log_in(
        self, password: str, login: str = "alice", authzid: str = ""
    ) -> Submitter:
        outcome: list[Submitter | Failure] = []
        self.begin(password, login, authzid).addBoth(outcome.append)
        for _ in range(20):
            if not outcome:
                self.clock.advance(0.5)
        (result,) = outcome
        if isinstance(result, Failure):
            result.raiseException()
        assert isinstance(result, Submitter)
        return result


def test_the_right_password_gives_a_submitter_with_what_is_theirs() -> None:
    who = Site().log_in("wonderland")
    assert who.login == "Alice"
    assert [one.rule for one in who.permissions] == ["mail", "own"]


def test_a_proved_log_in_is_remembered_for_a_while() -> None:
    site = Site()
    for _ in range(3):
        site.log_in("wonderland")
    assert site.source.times == 1
    site.clock.advance(60)
    site.log_in("wonderland")
    assert site.source.times == 2


def test_a_cached_log_in_is_of_that_password_alone() -> None:
    site = Site()
    site.log_in("wonderland")
    with pytest.raises(UnauthorizedLogin):
        site.log_in("Wonderland")
    assert site.source.times == 2


def test_a_refused_log_in_is_remembered_for_less_long() -> None:
    site = Site()
    for _ in range(3):
        with pytest.raises(UnauthorizedLogin):
            site.log_in("wrong")
    assert site.source.times == 1
    site.source.password = "wrong"
    site.clock.advance(10)
    assert site.log_in("wrong").login == "Alice"


def test_without_a_cache_every_log_in_is_asked() -> None:
    site = Site(cache=None, cache_failures=None)
    for _ in range(2):
        site.log_in("wonderland")
        with pytest.raises(UnauthorizedLogin):
            site.log_in("wrong")
    assert site.source.times == 4


def test_the_answer_to_a_second_wrong_password_waits() -> None:
    site = Site()
    with pytest.raises(UnauthorizedLogin):
        site.log_in("wrong 0")
    failures: list[object] = []
    second = site.begin("wrong 1")
    second.addErrback(lambda reason: failures.append(reason.type))
    site.clock.advance(1.4)
    assert not failures
    site.clock.advance(0.2)
    assert failures == [UnauthorizedLogin]


@pytest.mark.parametrize("taken", [0.0, 0.01, 0.3, 0.49, 0.6])
def test_how_long_the_source_took_does_not_show_in_a_refusal(taken: float) -> None:
    """A directory hashes a password only where it knows the name."""
    site = Site()
    site.source.waits = Deferred()
    answered: list[float] = []
    site.begin("wrong").addErrback(lambda _: answered.append(site.clock.seconds()))
    site.clock.advance(taken)
    site.source.waits.callback(None)
    assert answered == []
    for _ in range(200):
        site.clock.advance(0.01)
    assert answered[0] == pytest.approx(0.5 if taken < 0.5 else 1.0, abs=0.02)


def test_a_remembered_log_in_helps_nobody_who_guesses_elsewhere() -> None:
    """Who is put off must not learn that a guess was right."""
    site = Site()
    site.log_in("wonderland")
    for number in range(4):
        guess = site.portal.login("alice", "", f"wrong {number}", "198.51.100.9")
        Deferred.fromCoroutine(guess).addErrback(lambda _: None)
        site.clock.advance(10)
    right: list[object] = []
    guess = site.portal.login("alice", "", "wonderland", "198.51.100.9")
    Deferred.fromCoroutine(guess).addErrback(lambda reason: right.append(reason.type))
    assert right == []
    site.clock.advance(10)
    assert right == [TooManyFailures]
    # She herself is not shut out where she was already.
    assert site.log_in("wonderland").login == "Alice"


def test_who_is_gone_is_not_waited_for_and_has_guessed_all_the_same() -> None:
    """Or those who come, guess and go by the thousand are kept for the delay."""
    site = Site()
    refused: list[object] = []

    def guess(number: int, audience: Audience) -> None:
        asked = site.portal.login("alice", "", f"{number}", "198.51.100.9", audience)
        Deferred.fromCoroutine(asked).addErrback(lambda why: refused.append(why.type))

    for number in range(4):
        audience = Audience()
        guess(number, audience)
        assert len(refused) == number
        audience.leave()
        assert refused == [UnauthorizedLogin] * (number + 1)
    gone = Audience()
    gone.leave()
    guess(5, gone)
    assert refused[-1] is TooManyFailures
    assert site.clock.getDelayedCalls() == []


def test_who_is_gone_waits_for_no_place_either() -> None:
    """As many of this account as are borne are under way."""
    site = Site()
    site.source.waits = Deferred()
    guesses = [site.begin(f"{number}") for number in range(4)]
    audience = Audience()
    last = site.portal.login("alice", "", "x", "198.51.100.9", audience)
    refused: list[object] = []
    Deferred.fromCoroutine(last).addErrback(lambda why: refused.append(why.type))
    assert refused == []
    audience.leave()
    assert refused == [TooManyFailures]
    for guess in guesses:
        guess.addErrback(lambda _: None)
    site.source.waits.callback(None)


def test_a_remembered_refusal_ends_though_the_client_asks_again_and_again() -> None:
    """A telephone retries every few seconds; an administrator unlocks meanwhile."""
    site = Site()
    with pytest.raises(UnauthorizedLogin):
        site.log_in("new")
    site.source.password = "new"
    for _ in range(3):
        site.clock.advance(3)
        try:
            site.log_in("new")
        except UnauthorizedLogin:
            continue
        break
    else:
        raise AssertionError("still refused")


def test_who_guessed_too_often_is_put_off_before_anybody_is_asked() -> None:
    site = Site()
    for number in range(4):
        site.begin(f"wrong {number}").addErrback(lambda _: None)
        site.clock.advance(10)
    with pytest.raises(TooManyFailures):
        site.log_in("wonderland")
    with pytest.raises(TooManyFailures):
        site.log_in("wonderland", "ALICE@Example.org")
    assert site.source.times == 4


def test_guesses_made_at_the_same_time_are_asked_about_no_more_often() -> None:
    """A place is taken before anybody is asked; who finds none is put off."""
    site = Site()
    site.source.waits = Deferred()
    failures: list[object] = []
    for number in range(60):
        site.begin(f"wrong {number}").addErrback(
            lambda reason: failures.append(reason.type)
        )
    assert site.source.times == 4
    site.clock.pump([0.5] * 7)
    assert failures == [TooManyFailures] * 56
    site.source.waits.callback(None)
    site.clock.pump([0.5] * 30)
    assert failures[56:] == [UnauthorizedLogin] * 4
    assert site.source.times == 4


def test_many_who_come_at_once_with_the_right_password_only_wait() -> None:
    """An office in the morning, behind one address: nobody is turned away."""
    site = Site(cache=None)
    site.source.waits = Deferred()
    logged_in: list[object] = []
    for number in range(6):
        site.source.password = "wonderland"
        site.begin("wonderland" if number < 3 else f"wrong {number}").addBoth(
            logged_in.append
        )
    site.source.waits.callback(None)
    site.source.waits = None
    site.clock.pump([0.5] * 20)
    assert sum(isinstance(one, Submitter) for one in logged_in) == 3
    assert site.log_in("wonderland").login == "Alice"


@pytest.mark.rfc("4616", "2")
@pytest.mark.parametrize(
    ("authzid", "may"),
    [
        ("", True),
        ("alice", True),
        ("ALICE", True),
        ("alice@example.org", True),
        ("bob", False),
        ("alice@example.net", False),
        ("alice\0", False),
        (" ", False),
    ],
)
def test_nobody_acts_as_another(authzid: str, may: bool) -> None:
    site = Site()
    for _ in ("asked", "remembered"):
        if may:
            assert site.log_in("wonderland", authzid=authzid).login == "Alice"
        else:
            with pytest.raises(UnauthorizedLogin):
                site.log_in("wonderland", authzid=authzid)


def test_a_name_that_nobody_can_have_is_not_asked_for() -> None:
    site = Site()
    with pytest.raises(UnauthorizedLogin):
        site.log_in("wonderland", "a" * 321)
    assert site.source.times == 0


def test_a_directory_that_is_silent_is_no_refusal() -> None:
    """It is not counted, nor remembered: the next one is asked again."""
    site = Site()
    site.source.waits = Deferred()
    failures: list[object] = []
    site.begin("wonderland").addErrback(lambda reason: failures.append(reason.type))
    site.clock.advance(4.9)
    assert not failures
    site.clock.advance(0.2)
    assert failures == [DirectoryUnavailable]
    site.source.waits = None
    site.source.raises = DirectoryUnavailable("down")
    for _ in range(10):
        with pytest.raises(DirectoryUnavailable):
            site.log_in("wonderland")
    site.source.raises = None
    assert site.log_in("wonderland").login == "Alice"


def test_a_locked_account_is_told_in_the_log_alone() -> None:
    site = Site()
    site.source.raises = AccountLocked("accountStatus is inactive")
    with pytest.raises(UnauthorizedLogin):
        site.log_in("wonderland")
    assert site.events.emitted == [
        ("account-locked", {"login": "alice", "reason": "accountStatus is inactive"})
    ]


def test_a_trusted_listeners_submitter_needs_no_password() -> None:
    site = Site()
    for _ in range(2):
        assert awaited(site.portal.trusted("Alice")).login == "Alice"
    assert site.known.asked == ["filter"]
    site.known.answers = False
    site.clock.advance(60)
    with pytest.raises(DirectoryUnavailable):
        awaited(site.portal.trusted("Alice"))


def test_an_explanation_names_entry_lock_and_sources() -> None:
    site = Site()
    told = awaited(site.portal.explain("Alice@example.org"))
    assert told.login == "Alice"
    assert told.entry == ALICE.dn
    assert told.lock == ""
    assert [one.source for one in told.permissions] == [
        f"{ALICE.dn} (mail)",
        "{login}@example.net",
    ]
    unknown = awaited(site.portal.explain("nobody"))
    assert (unknown.entry, unknown.lock) == ("", "")
    site.known.entries = [entry("Alice", accountStatus="inactive")]
    assert awaited(site.portal.explain("Alice")).lock == "accountStatus is inactive"


def test_the_cache_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("submitd.auth.portal._MOST_CACHED", 2)
    site = Site()
    for login in ("a", "b", "c"):
        site.log_in("wonderland", login)
    site.log_in("wonderland", "c")
    assert site.source.times == 3
    site.log_in("wonderland", "a")
    assert site.source.times == 4
