"""Asks the DNS, and remembers (RFC 1034 section 5.3)."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.interfaces import IReactorThreads, IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from submitd.dns.answer import (
    ENDLESS,
    Absence,
    Alias,
    Answer,
    Fault,
    NameNotFound,
    ResolverUnavailable,
    Unanswered,
    interpret,
)
from submitd.dns.cache import AnswerCache, Settled
from submitd.dns.inquiry import Inquiry
from submitd.dns.message import (
    LONGEST_TTL,
    BadName,
    Question,
    RecordType,
    canonical_name,
)
from submitd.dns.servers import (
    ConfiguredServers,
    NameServer,
    NameServers,
    SystemServers,
)
from submitd.dns.transport import Network, ReactorNetwork

_MOST_RESTARTS: Final = 8
"""Questions asked for one, where a server leaves following aliases to us."""

_REST: Final = 30.0
"""Seconds for which a silent server is asked last."""

_NO_TIME: Final = "no answer in time"


class Resolver(Protocol):
    """Answers questions about names."""

    async def query(self, name: str, kind: RecordType) -> Answer:
        """Look up ``name``, in A-labels, any case, with or without a last dot.

        Raises:
            NameNotFound: there is no such name.
            ResolverUnavailable: nobody could tell.
            BadName: the name cannot be asked for.
        """


class CachingResolver:
    """Asks recursive resolvers. One question is asked once, however many want it."""

    def __init__(
        self,
        clock: IReactorTime,
        network: Network,
        servers: NameServers,
        cache: AnswerCache,
        *,
        time_out: float = 5.0,
        most_in_flight: int = 200,
        most_waiting: int = 10_000,
    ) -> None:
        """``time_out`` is for one question in all, in seconds.

        Of the questions ``most_in_flight`` are on their way at once, and
        ``most_waiting`` wait or are on their way.
        """
        self._clock = clock
        self._network = network
        self._servers = servers
        self._cache = cache
        self._time_out = time_out
        self._most_waiting = most_waiting
        self._slots = DeferredSemaphore(most_in_flight)
        self._under_way: dict[Question, Deferred[Settled]] = {}
        self._waiters: dict[Question, list[Deferred[Settled]]] = {}
        self._resting: dict[NameServer, float] = {}
        self._is_closed = False

    async def query(self, name: str, kind: RecordType) -> Answer:
        # What is remembered is found under the canonical name only, so most
        # answers need neither a look at the name nor a turn of the reactor.
        settled = self._cache.get(name, kind)
        if settled is None:
            question = Question(canonical_name(name), kind)
            settled = self._cache.get(question.name, kind)
            if settled is None:
                settled = await self._settle(question)
        match settled:
            case Answer():
                return settled
            case Absence():
                raise NameNotFound(settled.name, authenticated=settled.authenticated)
            case Fault():
                question = Question(canonical_name(name), kind)
                raise ResolverUnavailable(question, settled.reason, settled.detail)

    def close(self) -> None:
        """End all questions under way; those who wait hear that nobody can tell."""
        self._is_closed = True
        for inquiry in list(self._under_way.values()):
            inquiry.cancel()

    def _settle(self, question: Question) -> Deferred[Settled]:
        # Each has a Deferred of its own: one that is cancelled leaves the
        # question, and the others, alone.
        waiter: Deferred[Settled] = Deferred()
        if question in self._waiters:
            self._waiters[question].append(waiter)
        elif self._is_closed:
            waiter.callback(Fault("the server is stopping", ""))
        elif len(self._waiters) >= self._most_waiting:
            waiter.callback(Fault("too many questions at once", ""))
        else:
            self._waiters[question] = [waiter]
            inquiry = Deferred.fromCoroutine(self._find(question))
            self._under_way[question] = inquiry
            inquiry.addTimeout(self._time_out, self._clock)
            inquiry.addBoth(self._tell, question)
        return waiter

    def _tell(self, result: Settled | Failure, question: Question) -> None:
        del self._under_way[question]
        for waiter in self._waiters.pop(question):
            if isinstance(result, Failure):  # a bug: for those who asked to report
                waiter.errback(result)
            else:
                waiter.callback(result)

    async def _find(self, question: Question) -> Settled:
        settled: Settled
        try:
            async with self._slots:
                settled = await self._follow(question)
        except Unanswered as no:
            settled = Fault(no.reason, no.detail)
        except CancelledError:
            settled = Fault(_NO_TIME, "no name server was asked")
        return self._cache.put(question.name, question.kind, settled)

    async def _follow(self, question: Question) -> Answer | Absence:
        """Ask, and ask for the target where the answer ends at an alias."""
        asked = question
        authenticated = True
        ttl = LONGEST_TTL
        for _ in range(_MOST_RESTARTS):
            found = await self._ask(asked)
            # No better vouched for, and no longer, than the weakest step.
            authenticated = authenticated and found.authenticated
            ttl = min(ttl, found.ttl)
            if not isinstance(found, Alias):
                return evolve(found, authenticated=authenticated, ttl=ttl)
            asked = Question(_askable(found.target), question.kind)
        raise Unanswered(ENDLESS)

    async def _ask(self, question: Question) -> Answer | Absence | Alias:
        servers = self._in_order(await self._servers.current())
        inquiry = Inquiry(self._clock, self._network, question, servers, self._time_out)
        try:
            response, server = await inquiry.start()
        except CancelledError:
            raise Unanswered(_NO_TIME, inquiry.detail) from None
        finally:
            for silent in inquiry.silent:
                self._resting[silent] = self._clock.seconds() + _REST
        if not server.trusted:
            response = evolve(response, authenticated=False)
        return interpret(question, response)

    def _in_order(self, servers: Sequence[NameServer]) -> list[NameServer]:
        """Those that were silent of late come last: one dead server in the
        list must not cost every question its share of the time.
        """
        now = self._clock.seconds()
        self._resting = {
            server: until for server, until in self._resting.items() if until > now
        }
        return sorted(servers, key=self._resting.__contains__)


def _askable(target: str) -> str:
    """Raises: Unanswered."""
    try:
        return canonical_name(target)
    except BadName:
        raise Unanswered("an alias leads to what cannot be asked for") from None


def make_resolver(
    reactor: Any,  # noqa: ANN401 - several interfaces at once
    servers: Iterable[tuple[str, int]],
    time_out: float,
) -> CachingResolver:
    """A resolver on this reactor.

    Without ``servers``, addresses with their ports, it asks those of
    ``/etc/resolv.conf``. ``time_out`` is in seconds.
    """
    clock = IReactorTime(reactor)
    pool = IReactorThreads(reactor).getThreadPool()
    configured = tuple(servers)
    source: NameServers = (
        ConfiguredServers(configured)
        if configured
        else SystemServers(clock, lambda look: deferToThreadPool(reactor, pool, look))
    )
    return CachingResolver(
        clock,
        ReactorNetwork(reactor),
        source,
        AnswerCache(clock.seconds),
        time_out=time_out,
    )
