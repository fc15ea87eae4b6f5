"""Ways to log in without a password: offered where they can be served, and proved."""

import hmac
from collections.abc import Sequence
from datetime import timedelta
from itertools import count
from typing import Final, TypeVar

import pytest
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from submitd.auth.addresses import AddressRules, Rule, Template
from submitd.auth.certificates import ByEmail
from submitd.auth.checkers import (
    DirectoryAccounts,
    DirectoryChecker,
    NotTheirs,
    StackedChecker,
)
from submitd.auth.errors import (
    AccountLocked,
    AskedAlready,
    DirectoryUnavailable,
    TooManyFailures,
)
from submitd.auth.known import KnownNetworks
from submitd.auth.passwords import ScramLook
from submitd.auth.portal import LoginPortal, SubmitterRealm
from submitd.auth.proofs import KnownKeys, MadeUpKeys, Proofs
from submitd.auth.submitter import Submitter
from submitd.auth.throttle import LocalLoginCounts, LoginLimits
from submitd.sasl.channel import CertificateNames, Channel
from submitd.sasl.mechanism import (
    MECHANISMS,
    Certificate,
    Digest,
    KeysProof,
    Proof,
    Token,
)
from submitd.sasl.scram_keys import ScramKeys
from tests.support.awaited import awaited
from tests.support.known_entries import KnownEntries, entry, people
from tests.support.mechanisms import PENCIL
from tests.support.recorded_events import RecordedEvents

T = TypeVar("T")

STORED: Final = (
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ=="
    "$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
    ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)


class Source:
    """A source with people, some of them locked."""

    def __init__(self, *known: str, locked: Sequence[str] = ()) -> None:
        self.known = known
        self.locked = locked
        self.also: dict[str, str] = {}
        """Canonical logins, by further names of people."""

        self.serves_keys = True
        self.serves_secrets = True
        self.looks: dict[ScramLook, int] = {}
        self.is_silent = False
        self.asked = 0

    async def account(self, login: str, *, by_others: bool) -> str:  # noqa: ARG002
        login = self.also.get(login.lower(), login)
        return await self._has(login, login.lower())

    async def keys(self, login: str) -> ScramKeys:
        return await self._has(login, PENCIL)

    async def secret(self, login: str) -> str:
        return await self._has(login, "pencil")

    async def _has(self, login: str, what: T) -> T:
        self.asked += 1
        if self.is_silent:
            raise DirectoryUnavailable("silent")
        if login.lower() not in self.known:
            raise NotTheirs("no")
        if login.lower() in self.locked and isinstance(what, str) and what != "pencil":
            raise AccountLocked("it is locked")
        return what


class Tokens:
    """An issuer whose tokens are their users' names."""

    scope = ""
    configuration = ""

    knows = False
    """The new key."""

    async def user_of(self, token: str) -> str:
        if token == "down":
            raise DirectoryUnavailable("down")
        if token.startswith("new "):
            if self.knows:
                return "alice"
            raise AskedAlready("a moment ago")
        if token == "bad":
            raise UnauthorizedLogin("not valid")
        return token


def channel(*emails: str) -> Channel:
    names = CertificateNames("CN=x", emails, (), "0123")
    return Channel({"tls-exporter": b"bound"}.get, names)


class Site:
    """A portal with some ways to log in."""

    def __init__(
        self,
        *sources: Source,
        mechanisms: Sequence[str] = MECHANISMS,
        tokens: bool = True,
        certificates: bool = True,
    ) -> None:
        self.clock = Clock()
        self.events = RecordedEvents()
        numbers = count()
        self.proofs = Proofs(
            mechanisms,
            sources,
            made_up=MadeUpKeys(b"of this server", ScramLook(4096, 16)),
            tokens=Tokens() if tokens else None,
            certificates=ByEmail() if certificates else None,
            login_domains=frozenset({"example.org"}),
            nonce=lambda: f"nonce{next(numbers)}",
            hostname="submit.example.org",
        )
        rules = AddressRules(
            [Rule(name="own", kind=Template("{login}@example.org"))],
            subaddresses=False,
            events=self.events,
        )
        limits = LoginLimits(
            per_account=4,
            per_address=100,
            per_network=None,
            window=timedelta(minutes=10),
            delay=timedelta(0),
            longest_delay=timedelta(0),
            refusal=timedelta(minutes=5),
            longest_refusal=timedelta(hours=1),
        )
        self.networks = KnownNetworks(timedelta(days=1), self.clock.seconds)
        self.portal = LoginPortal(
            self.clock,
            StackedChecker([]),
            SubmitterRealm(None, rules),
            LocalLoginCounts(self.clock, limits, self.networks),
            people=None,
            rules=rules,
            login_domains=frozenset({"example.org"}),
            cache=timedelta(minutes=1),
            cache_failures=timedelta(seconds=10),
            time_out=timedelta(seconds=5),
            events=self.events,
            secret=b"of this start",
            proofs=self.proofs,
        )

    def offered(self, channel: Channel | None = None) -> str:
        return " ".join(one.name for one in self.portal.mechanisms(channel))

    def prove(
        self,
        proof: Proof,
        known: KnownKeys | None = None,
        channel: Channel | None = None,
    ) -> str:
        outcome: list[Submitter | Failure] = []
        asked = self.portal.prove(proof, "192.0.2.1", known=known, channel=channel)
        Deferred.fromCoroutine(asked).addBoth(outcome.append)
        for _ in range(20):
            if not outcome:
                self.clock.advance(0.5)
        (result,) = outcome
        if isinstance(result, Failure):
            result.raiseException()
        assert isinstance(result, Submitter)
        return result.login

    def keys(self, name: str) -> KnownKeys:
        return awaited(self.portal.keys(name, "192.0.2.1"))


# What is offered


def test_all_ways_are_offered_in_the_order_that_devices_expect() -> None:
    site = Site(Source("alice"))
    assert site.offered(channel("alice@example.org")) == " ".join(MECHANISMS)
    for kind in ("tls-exporter", "tls-server-end-point"):
        assert site.offered(Channel({kind: b"bound"}.get)) == (
            "PLAIN LOGIN SCRAM-SHA-256-PLUS SCRAM-SHA-256 OAUTHBEARER XOAUTH2 CRAM-MD5"
        )
    # Before TLS nothing can be bound, or shown.
    assert site.offered() == ("PLAIN LOGIN SCRAM-SHA-256 OAUTHBEARER XOAUTH2 CRAM-MD5")


@pytest.mark.rfc("5802", "6")
def test_plus_is_not_offered_where_nothing_can_be_bound() -> None:
    """As under TLS 1.2 with an Ed25519 certificate. Who says "y" is right there."""
    site = Site(Source("alice"))
    bare = Channel(lambda _: None)
    assert site.offered(bare).startswith("PLAIN LOGIN SCRAM-SHA-256 OAUTHBEARER")
    for where, is_refused in ((bare, False), (channel(), True)):
        offered = {one.name: one for one in site.portal.mechanisms(where)}
        exchange = offered["SCRAM-SHA-256"].start()
        step = exchange.respond(b"y,,n=alice,r=abc")
        assert isinstance(step, KeysProof) is is_refused


def test_only_what_is_wanted_is_offered_whatever_its_order() -> None:
    site = Site(Source("alice"), mechanisms=("XOAUTH2", "PLAIN"))
    assert site.offered(channel("alice@example.org")) == "PLAIN XOAUTH2"


def test_what_nobody_can_serve_is_not_offered() -> None:
    source, other = Source("alice"), Source("bob")
    source.serves_keys = source.serves_secrets = other.serves_secrets = False
    site = Site(source, other, tokens=False, certificates=False)
    assert site.offered(channel("alice@example.org")) == "PLAIN LOGIN"
    # All sources must have keys: the client would not try another way.
    source.serves_keys = True
    assert "SCRAM-SHA-256" in site.offered()
    # One that has passwords in the clear is enough for who asks for CRAM-MD5.
    other.serves_secrets = True
    assert site.offered().endswith("CRAM-MD5")
    assert Site(tokens=False).offered() == "PLAIN LOGIN"


# SCRAM


def right(name: str = "alice", authzid: str = "") -> KeysProof:
    return KeysProof(name, authzid, "")


def test_a_right_proof_gives_the_source_s_own_spelling() -> None:
    site = Site(Source("alice"))
    known = site.keys("Alice")
    assert known.keys == PENCIL
    assert site.prove(right("Alice"), known) == "alice"
    assert site.prove(right("Alice", "alice@example.org"), known) == "alice"


@pytest.mark.rfc("4954", "9")
def test_made_up_keys_are_always_the_same_for_a_name() -> None:
    site = Site(Source("alice"))
    ghost = site.keys("ghost")
    assert ghost.source is None
    assert site.keys("GHOST@example.org").keys == ghost.keys
    assert site.keys("other").keys != ghost.keys
    assert (len(ghost.keys.salt), ghost.keys.iterations) == (16, 4096)
    # Other workers have the same secret, and so has the next start.
    assert Site(Source("alice")).keys("ghost").keys == ghost.keys


def test_made_up_keys_look_as_those_do_that_there_are() -> None:
    """Keys of other years than most must not stand out either."""
    file, directory = Source("alice"), Source("bob")
    old, new = ScramLook(4096, 100), ScramLook(65536, 12)
    file.looks = {old: 30, new: 10}
    site = Site(file)

    def look(name: str) -> ScramLook:
        made = awaited(site.proofs.keys(name, name)).keys
        return ScramLook(made.iterations, len(made.salt))

    names = [f"ghost{number}" for number in range(400)]
    seen = [look(name) for name in names]
    assert set(seen) == {old, new}
    assert 240 < seen.count(old) < 360
    assert [look(name) for name in names] == seen
    # A few more people, and nearly all stay as they were.
    file.looks = {old: 31, new: 10}
    changed = [name for name, one in zip(names, seen, strict=True) if look(name) != one]
    assert len(changed) < 12
    # Where one cannot tell it is as configured.
    site = Site(file, directory)
    assert {look(name) for name in names} == {ScramLook(4096, 16)}


def test_no_proof_by_made_up_keys_is_right() -> None:
    site = Site(Source("alice"))
    for known in (site.keys("ghost"), None):
        with pytest.raises(UnauthorizedLogin):
            site.prove(right("ghost"), known)


def test_a_wrong_proof_is_counted_and_then_put_off_before_anybody_is_asked() -> None:
    source = Source("alice")
    site = Site(source)
    known = site.keys("alice")
    for _ in range(4):
        with pytest.raises(UnauthorizedLogin, match="wrong"):
            site.prove(KeysProof("alice", "", "wrong password"), known)
    source.asked = 0
    with pytest.raises(TooManyFailures):
        site.prove(right(), known)
    with pytest.raises(TooManyFailures):
        site.keys("alice")
    assert source.asked == 0


def test_a_lock_shows_only_after_a_right_proof() -> None:
    site = Site(Source("alice", locked=["alice"]))
    known = site.keys("alice")
    with pytest.raises(UnauthorizedLogin) as refusal:
        site.prove(KeysProof("alice", "", "wrong password"), known)
    assert not isinstance(refusal.value, AccountLocked)
    with pytest.raises(AccountLocked):
        site.prove(right(), known)
    assert site.events.names == ["account-locked"]


def test_who_asks_for_keys_and_shows_nothing_is_put_off_in_the_end() -> None:
    source = Source("alice")
    site = Site(source)
    for number in range(300):
        site.keys(f"user{number}")
    source.asked = 0
    with pytest.raises(TooManyFailures):
        site.keys("alice")
    assert source.asked == 0
    assert site.events.names == ["log-ins-abandoned"]


def test_who_shows_a_proof_has_left_no_question_open() -> None:
    site = Site(Source("alice"))
    for _ in range(200):
        assert site.prove(right(), site.keys("alice")) == "alice"
    assert site.events.names == []


def test_tokens_made_up_while_their_issuer_is_not_asked_again_are_no_free_try() -> None:
    """It cannot be told, and still somebody may make them up without end."""
    site = Site(Source("alice"))
    for number in range(150):
        with pytest.raises(AskedAlready):
            site.prove(Token("", f"new {number}"))
    # Each has taken half a second, too.
    assert site.clock.seconds() >= 75
    for number in range(50):
        with pytest.raises((AskedAlready, TooManyFailures)):
            site.prove(Token("", f"new one {number}"))
    with pytest.raises(TooManyFailures):
        site.prove(Token("", "alice"))


def test_a_token_that_turns_out_right_has_left_no_question_open() -> None:
    """An office comes with tokens of a new key before anybody may ask for it."""
    site = Site(Source("alice"))
    token = Token("", "new key's")
    for _ in range(60):
        with pytest.raises(AskedAlready):
            site.prove(token)
        site.proofs._tokens.knows = True  # type: ignore[union-attr]
        assert site.prove(token) == "alice"
        site.proofs._tokens.knows = False  # type: ignore[union-attr]
    assert site.events.names == []


def test_keys_that_cannot_be_looked_up_are_no_refusal() -> None:
    source = Source("alice")
    source.is_silent = True
    site = Site(source)
    with pytest.raises(DirectoryUnavailable):
        site.keys("alice")
    known = KnownKeys(PENCIL, source)
    for _ in range(10):
        with pytest.raises(DirectoryUnavailable):
            site.prove(right(), known)


def test_keys_that_take_too_long_are_given_up() -> None:
    source = Source("alice")
    site = Site(source)

    async def never(login: str) -> ScramKeys:  # noqa: ARG001
        await Deferred()
        return PENCIL

    source.keys = never  # type: ignore[method-assign]
    failures: list[object] = []
    asked = Deferred.fromCoroutine(site.portal.keys("alice", "192.0.2.1"))
    asked.addErrback(lambda reason: failures.append(reason.type))
    site.clock.advance(5.1)
    assert failures == [DirectoryUnavailable]


# CRAM-MD5


def digest(secret: str, name: str = "alice") -> Digest:
    made = hmac.new(secret.encode(), b"<1@x>", "md5").hexdigest()
    return Digest(name, b"<1@x>", made)


@pytest.mark.rfc("2195", "2")
def test_a_digest_is_compared_with_the_stored_password_s() -> None:
    site = Site(Source("alice", "late", locked=["late"]))
    assert site.prove(digest("pencil")) == "alice"
    for wrong in (digest("pen"), digest("pencil", "ghost"), digest("pencil", "")):
        with pytest.raises(UnauthorizedLogin):
            site.prove(wrong)
    with pytest.raises(AccountLocked):
        site.prove(digest("pencil", "late"))


# Tokens


def test_a_token_s_user_must_be_somebody_here() -> None:
    site = Site(Source("alice", "late", locked=["late"]))
    assert site.prove(Token("", "Alice")) == "alice"
    assert site.prove(Token("alice", "Alice")) == "alice"
    assert site.prove(Token("ALICE@example.org", "alice")) == "alice"
    with pytest.raises(AccountLocked):
        site.prove(Token("", "late"))
    for authzid, token in (("", "bad"), ("", ""), ("", "ghost"), (" ", "alice")):
        with pytest.raises(UnauthorizedLogin):
            site.prove(Token(authzid, token))


@pytest.mark.rfc("7628", "3.1")
def test_nobody_acts_as_another_by_a_token_or_a_certificate() -> None:
    site = Site(Source("alice", "bob"))
    with pytest.raises(UnauthorizedLogin, match="another"):
        site.prove(Token("bob", "alice"))
    with pytest.raises(UnauthorizedLogin, match="another"):
        site.prove(Certificate("bob"), channel=channel("alice"))
    with pytest.raises(UnauthorizedLogin, match="another"):
        site.prove(right(authzid="bob"), site.keys("alice"))


@pytest.mark.rfc("4422", "2")
def test_who_is_proved_by_an_address_may_be_called_by_it() -> None:
    """XOAUTH2 must say a name, and mail programs say the address."""
    source = Source("asmith", "bob")
    source.also = {"alice.smith@corp.example": "asmith"}
    site = Site(source)
    address = "alice.smith@corp.example"
    shown = channel("bob", address)
    for wanted in ("", address, "Alice.Smith@corp.example", "asmith"):
        assert site.prove(Token(wanted, address)) == "asmith"
        alone = channel(address)
        assert site.prove(Certificate(wanted), channel=alone) == "asmith"
        # A certificate of several people's is for whom it is asked.
        login = site.prove(Certificate(wanted), channel=shown)
        assert login == ("asmith" if wanted else "bob")
    with pytest.raises(UnauthorizedLogin, match="another"):
        site.prove(Token("alice.smith@other.example", address))


def test_only_who_has_logged_in_is_known_from_there() -> None:
    """Or an insider makes networks of his own known for others."""
    site = Site(Source("alice", "bob"))
    for _ in range(3):
        with pytest.raises(UnauthorizedLogin, match="another"):
            site.prove(Token("bob", "alice"))
    assert not site.networks.knows("bob", "192.0.2.1")
    site.prove(Token("", "alice"))
    assert site.networks.knows("alice", "192.0.2.1")


def test_who_guesses_at_a_password_keeps_no_token_and_no_certificate_out() -> None:
    site = Site(Source("alice"))
    known = site.keys("alice")
    for _ in range(4):
        with pytest.raises(UnauthorizedLogin):
            site.prove(KeysProof("alice", "", "wrong password"), known)
    with pytest.raises(TooManyFailures):
        site.prove(digest("pencil"))
    assert site.prove(Token("alice", "alice")) == "alice"
    assert site.prove(Certificate("alice"), channel=channel("alice")) == "alice"


def test_the_keys_of_a_name_are_not_those_of_one_that_is_too_long() -> None:
    site = Site(Source("alice"))
    longer = site.keys("alice" + " " * 400 + "7")
    assert longer.source is None
    assert site.keys("alice").source is not None


def test_an_issuer_that_is_down_refuses_nobody() -> None:
    site = Site(Source("alice"))
    for _ in range(10):
        with pytest.raises(DirectoryUnavailable):
            site.prove(Token("alice", "down"))


def test_an_old_token_that_is_tried_again_and_again_counts_once() -> None:
    site = Site(Source("alice"))
    for _ in range(10):
        with pytest.raises(UnauthorizedLogin):
            site.prove(Token("alice", "bad"))
    assert site.prove(Token("alice", "alice")) == "alice"


def test_tokens_without_a_name_are_not_counted_together() -> None:
    site = Site(Source("alice"))
    for number in range(10):
        with pytest.raises(UnauthorizedLogin):
            site.prove(Token("", f"ghost{number}"))
    assert site.prove(Token("", "alice")) == "alice"


def test_a_token_is_asked_about_each_time() -> None:
    """Its issuer may have taken it back a moment ago."""
    source = Source("alice")
    site = Site(source)
    for number in range(1, 4):
        site.prove(Token("", "alice"))
        assert source.asked == number


def test_without_an_issuer_no_token_is_right() -> None:
    with pytest.raises(UnauthorizedLogin, match="no token"):
        Site(Source("alice"), tokens=False).prove(Token("", "alice"))


# Certificates


@pytest.mark.rfc("4422", "A")
def test_the_first_known_name_of_a_certificate_logs_in() -> None:
    source = Source("alice", "late", locked=["late"])
    site = Site(source)
    assert site.prove(Certificate(""), channel=channel("ghost", "alice")) == "alice"
    assert site.prove(Certificate("alice"), channel=channel("alice")) == "alice"
    with pytest.raises(AccountLocked):
        site.prove(Certificate(""), channel=channel("late", "alice"))
    # Whose other name is locked may still be called by their login of this one.
    source.also["al"] = "alice"
    both = channel("late", "al")
    assert site.prove(Certificate("alice"), channel=both) == "alice"
    for wanted in ("late", "nobody"):
        with pytest.raises(AccountLocked):
            site.prove(Certificate(wanted), channel=both)
    for shown in (channel("ghost"), channel(), Channel(lambda _: None), None):
        with pytest.raises(UnauthorizedLogin, match="nobody"):
            site.prove(Certificate(""), channel=shown)
    odd = channel("\uff41lice", "al\u00adice")
    with pytest.raises(UnauthorizedLogin, match="nobody"):
        site.prove(Certificate(""), channel=odd)
    unruled = Site(Source("alice"), certificates=False)
    with pytest.raises(UnauthorizedLogin, match="nobody"):
        unruled.prove(Certificate(""), channel=channel("alice"))


# Sources


def test_a_directory_has_keys_and_locks() -> None:
    alice = entry("Alice", authPassword=("{SSHA}x", STORED))
    known = KnownEntries([alice, entry("Late", accountStatus="inactive")])
    source = DirectoryChecker(people(known), "authPassword")
    assert source.serves_keys
    assert not source.serves_secrets
    assert awaited(source.keys("alice@example.org".replace("a", "A", 1))) == PENCIL
    assert awaited(source.account("Alice", by_others=True)) == "Alice"
    with pytest.raises(AccountLocked):
        awaited(source.account("Late", by_others=True))
    for ask in (
        source.keys("Late"),
        source.keys("Ghost"),
        source.account("Ghost", by_others=True),
    ):
        with pytest.raises(NotTheirs):
            awaited(ask)
    with pytest.raises(NotTheirs):
        awaited(source.secret("Alice"))


def test_a_directory_without_such_an_attribute_is_not_asked() -> None:
    known = KnownEntries([entry("Alice", authPassword=STORED)])
    source = DirectoryAccounts(people(known))
    assert not source.serves_keys
    with pytest.raises(NotTheirs):
        awaited(source.keys("Alice"))
    assert known.asked == []
