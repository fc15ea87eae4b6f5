"""The way in: throttle, cache, portal, and the submitter at the end."""

import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any, Final, TypeVar

from attrs import evolve, frozen
from twisted.cred.credentials import ICredentials, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from submitd.auth.addresses import AddressRules
from submitd.auth.checkers import StackedChecker
from submitd.auth.directory import People, is_one_of, stripped
from submitd.auth.errors import (
    AccountLocked,
    AskedAlready,
    DirectoryUnavailable,
    TooManyFailures,
)
from submitd.auth.proofs import PASSWORDS, KnownKeys, ProofChecker, Proofs
from submitd.auth.questions import OpenQuestions
from submitd.auth.submitter import ISubmitter, Permission, Submitter
from submitd.auth.throttle import (
    Attempt,
    LoginCounts,
    Outcome,
    Place,
    as_account,
    fingerprint,
)
from submitd.mail.network import counted_as
from submitd.observe.events import ACCOUNT_LOCKED, Events
from submitd.sasl.channel import Channel
from submitd.sasl.mechanism import Mechanism, Proof

T = TypeVar("T")

_MOST_CACHED: Final = 20_000
_LONGEST: Final = 320
"""Characters of a user name: an address has 64 and 255 at most, and an @."""

_STEP: Final = 0.5
"""Seconds: every refusal comes at a multiple of this."""

_PATIENCE: Final = (0.5, 1.0, 2.0)
"""Seconds to wait for a place while as many log-ins as are borne are checked."""


@implementer(IRealm)
class SubmitterRealm:
    """A canonical login → `Submitter`."""

    def __init__(self, people: People | None, rules: AddressRules) -> None:
        self._people = people
        self._rules = rules

    def requestAvatar(
        self,
        avatarId: bytes | tuple[()],
        mind: object,  # noqa: ARG002
        *interfaces: object,
    ) -> Deferred[Any]:
        """As cred asks."""
        if ISubmitter not in interfaces:
            raise NotImplementedError("only submitters live here")
        return Deferred.fromCoroutine(self._avatar(bytes(avatarId).decode()))

    async def _avatar(self, login: str) -> tuple[Any, Submitter, Any]:
        return ISubmitter, await self.submitter(login), lambda: None

    async def submitter(self, login: str) -> Submitter:
        """Who this login is and what is theirs. Raises DirectoryUnavailable."""
        entry = None if self._people is None else await self._people.find(login)
        return Submitter(login, await self._rules.permissions(login, entry))


class Audience:
    """Whoever waits for an answer: it is put off for them, and for nobody else."""

    def __init__(self) -> None:
        self._is_gone = False
        self._waiting: tuple[Deferred[None], IDelayedCall] | None = None

    def leave(self) -> None:
        """They are gone: what they wait for need not wait."""
        self._is_gone = True
        if self._waiting is not None:
            waiting, alarm = self._waiting
            alarm.cancel()
            waiting.callback(None)

    async def pause(self, clock: IReactorTime, seconds: float) -> bool:
        """Have them wait; False: they are gone."""
        if seconds > 0 and not self._is_gone:
            waiting: Deferred[None] = Deferred()
            self._waiting = waiting, clock.callLater(seconds, waiting.callback, None)
            await waiting
            self._waiting = None
        return not self._is_gone


@frozen
class Explanation:
    """What ``submitctl whoami`` shows."""

    login: str
    entry: str
    """DN of the person's entry; empty: the directory has none."""

    lock: str
    """Why the account is locked; empty: it is not."""

    permissions: tuple[Permission, ...]


class LoginPortal:
    """Log in, or hear why not."""

    def __init__(
        self,
        clock: IReactorTime,
        checker: StackedChecker,
        realm: SubmitterRealm,
        counts: LoginCounts,
        *,
        people: People | None,
        rules: AddressRules,
        login_domains: frozenset[str],
        cache: timedelta | None,
        cache_failures: timedelta | None,
        time_out: timedelta,
        events: Events,
        secret: bytes,
        proofs: Proofs | None = None,
    ) -> None:
        """``cache``, ``cache_failures``: how long; None: not at all.

        ``time_out``: for one log-in in all. ``secret``: random octets, the
        same in all workers, that fingerprints are keyed with.
        ``proofs``: ways without a password; None: there are none.
        """
        self._clock = clock
        self._portal = Portal(realm, [checker, ProofChecker()])
        self._proofs = proofs
        self._realm = realm
        self._counts = counts
        self._people = people
        self._rules = rules
        self._domains = login_domains
        self._keep = cache.total_seconds() if cache else 0.0
        self._keep_failures = cache_failures.total_seconds() if cache_failures else 0.0
        self._time_out = time_out.total_seconds()
        self._events = events
        self._secret = secret
        self._cache: OrderedDict[str, tuple[float, Submitter]] = OrderedDict()
        self._questions = OpenQuestions(
            clock,
            lambda attempt: counts.ended(attempt, Place(0), Outcome.WRONG),
            events,
        )
        self._refused: OrderedDict[str, float] = OrderedDict()
        """Until when a password is refused without asking."""

    async def login(
        self,
        authcid: str,
        authzid: str,
        password: str,
        client: str,
        audience: Audience | None = None,
    ) -> Submitter:
        """The submitter that these credentials prove.

        ``audience``: who is told; None: somebody who stays.

        Raises:
            UnauthorizedLogin: no (535); AccountLocked is one of these.
            TooManyFailures: put off; nobody was asked (454).
            DirectoryUnavailable: cannot tell (454).
        """
        mark = fingerprint(self._secret, authcid, password)
        # Remembered for the client that proved it: to others, who may be guessing,
        # it would tell a right password whatever their standing.
        proved = f"{counted_as(client)} {mark}"
        if (known := self._cached(proved)) is not None:
            # Who may not act so is refused below, and counted.
            with contextlib.suppress(UnauthorizedLogin):
                return self._acting_as(known, authcid, authzid)

        async def ask() -> Submitter:
            submitter = await self._ask_unless_refused(mark, authcid, password)
            return self._acting_as(submitter, authcid, authzid)

        attempt = Attempt(client, self._account(authcid), mark)
        submitter = await self._attempt(attempt, ask, audience)
        self._store(proved, submitter, self._keep)
        return submitter

    def mechanisms(self, channel: Channel | None) -> tuple[Mechanism, ...]:
        """What a client can be offered now; ``channel`` None: TLS is still to come."""
        return PASSWORDS if self._proofs is None else self._proofs.mechanisms(channel)

    async def keys(
        self, authcid: str, client: str, audience: Audience | None = None
    ) -> KnownKeys:
        """The stored keys of a name for SCRAM, or what looks like some.

        Raises:
            TooManyFailures: put off; nobody was asked (454).
            DirectoryUnavailable: cannot tell (454).
        """
        assert self._proofs is not None, "nobody else asks for keys"  # noqa: S101
        account = self._account(authcid)
        attempt = Attempt(client, account, fingerprint(self._secret, account, "keys"))
        place = await self._place(attempt, audience or Audience())
        try:
            # Nobody has such a long name, nor the one that it begins with.
            name = authcid if len(authcid) <= _LONGEST else ""
            known = await self._in_time(self._proofs.keys(name, account))
        finally:
            # Who has asked has not guessed yet: the proof takes a place of its own.
            self._counts.ended(attempt, place, Outcome.CANNOT_TELL)
        mark = fingerprint(self._secret, account, self._proofs.nonce())
        question = evolve(attempt, fingerprint=mark)
        self._questions.opened(question)
        return evolve(known, question=question)

    async def prove(
        self,
        proof: Proof,
        client: str,
        *,
        known: KnownKeys | None = None,
        channel: Channel | None = None,
        audience: Audience | None = None,
    ) -> Submitter:
        """The submitter that this proof, which is no password, is one of.

        ``known``: what `keys` gave before, for a proof by SCRAM.

        Raises: as `login`.
        """
        assert self._proofs is not None, "nothing else is offered"  # noqa: S101
        if known is not None and known.question is not None:
            self._questions.closed(known.question)
        shown = self._proofs.shown(proof, known, channel)

        attempt = Attempt(
            client,
            self._account(shown.account),
            fingerprint(self._secret, shown.account, shown.tells_apart),
            is_guessable=shown.is_guessable,
        )
        return await self._attempt(attempt, lambda: self._ask(shown), audience)

    def _account(self, authcid: str) -> str:
        """What failures are counted for."""
        return as_account(stripped(authcid, self._domains))

    async def _attempt(
        self,
        attempt: Attempt,
        ask: Callable[[], Awaitable[Submitter]],
        audience: Audience | None,
    ) -> Submitter:
        """Brake, proof, lock and realm: it has a place, or nobody is asked.

        ``ask`` refuses who would act as another, too: of what it lets pass the
        network is remembered.

        Raises: as `login`.
        """
        began = self._clock.seconds()
        audience = audience or Audience()
        place = await self._place(attempt, audience)
        outcome, costs_time = Outcome.CANNOT_TELL, False
        try:
            submitter = await ask()
            outcome = Outcome.RIGHT
            if not attempt.is_guessable:
                # The same token may have come while its issuer was not asked.
                self._questions.closed(attempt)
            if not attempt.account:
                attempt = evolve(attempt, account=self._account(submitter.login))
            return submitter
        except UnauthorizedLogin as refusal:
            outcome, costs_time = Outcome.WRONG, True
            if isinstance(refusal, AccountLocked):
                self._events.emit(
                    ACCOUNT_LOCKED, login=attempt.account, reason=str(refusal)
                )
            raise
        except AskedAlready:
            costs_time = True
            self._questions.opened(attempt)
            raise
        finally:
            self._counts.ended(attempt, place, outcome)
            if costs_time:
                # How long a directory takes to say no tells whether it knows the
                # name. And nobody is to ask as fast as they can.
                taken = self._clock.seconds() - began
                wait = _STEP - taken % _STEP + place.delay
                await audience.pause(self._clock, wait)

    async def _place(self, attempt: Attempt, audience: Audience) -> Place:
        """A place among the attempts that are borne. Raises TooManyFailures."""
        for patience in (*_PATIENCE, None):
            asked = self._counts.begin(attempt)
            place = asked if isinstance(asked, Place) else await asked
            if place.is_braked:
                await audience.pause(self._clock, place.delay)
                break
            if not place.is_busy:
                return place
            if patience is None or not await audience.pause(self._clock, patience):
                break
        raise TooManyFailures(attempt.account)

    async def _ask_unless_refused(
        self, mark: str, authcid: str, password: str
    ) -> Submitter:
        """Raises as `login`."""
        if len(authcid) > _LONGEST:
            raise UnauthorizedLogin("nobody has such a long name")
        if mark in self._refused:
            until = self._refused[mark]
            if self._clock.seconds() < until:
                raise UnauthorizedLogin("refused a moment ago")
            del self._refused[mark]
        try:
            return await self._ask(
                UsernamePassword(authcid.encode(), password.encode())
            )
        except UnauthorizedLogin:
            if self._keep_failures > 0:
                self._refused[mark] = self._clock.seconds() + self._keep_failures
                while len(self._refused) > _MOST_CACHED:
                    self._refused.popitem(last=False)
            raise

    async def trusted(self, login: str) -> Submitter:
        """Who a trusted listener's submissions count as (cached).

        Raises:
            DirectoryUnavailable: cannot tell.
        """
        key = f"trusted {login}"
        if (known := self._cached(key)) is not None:
            return known
        submitter = await self._realm.submitter(login)
        self._store(key, submitter, self._keep)
        return submitter

    async def explain(self, login: str) -> Explanation:
        """Who this is, and which rule and entry grants what.

        Raises:
            DirectoryUnavailable: cannot tell.
        """
        entry = None if self._people is None else await self._people.find(login)
        name = stripped(login, self._domains)
        lock = ""
        if entry is not None and self._people is not None:
            name = self._people.uid(entry)
            lock = await self._people.lock_of(entry)
        return Explanation(
            name,
            entry.dn if entry is not None else "",
            lock,
            await self._rules.permissions(name, entry),
        )

    async def _ask(self, credentials: ICredentials) -> Submitter:
        _, submitter, _ = await self._in_time(
            self._portal.login(credentials, None, ISubmitter)
        )
        assert isinstance(submitter, Submitter)  # noqa: S101
        return submitter

    async def _in_time(self, asked: Coroutine[Any, Any, T] | Deferred[T]) -> T:
        """Raises DirectoryUnavailable where it takes too long."""
        asking = asked if isinstance(asked, Deferred) else Deferred.fromCoroutine(asked)
        try:
            return await asking.addTimeout(self._time_out, self._clock)
        except TimedOut:
            raise DirectoryUnavailable("the log-in took too long") from None

    def _acting_as(self, submitter: Submitter, authcid: str, authzid: str) -> Submitter:
        """Nobody acts as another (RFC 4616 section 2)."""
        names = (authcid, submitter.login)
        if authzid and not is_one_of(authzid, names, self._domains):
            raise UnauthorizedLogin("may not act as another")
        return submitter

    def _cached(self, key: str) -> Submitter | None:
        found = self._cache.get(key)
        if found is None:
            return None
        until, submitter = found
        if until <= self._clock.seconds():
            del self._cache[key]
            return None
        return submitter

    def _store(self, key: str, submitter: Submitter, keep: float) -> None:
        if keep > 0:
            self._cache[key] = self._clock.seconds() + keep, submitter
            self._cache.move_to_end(key)
            while len(self._cache) > _MOST_CACHED:
                self._cache.popitem(last=False)
