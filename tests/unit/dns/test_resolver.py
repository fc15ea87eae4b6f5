"""The resolver as others see it."""

from ipaddress import ip_address

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.names import dns
from twisted.python.failure import Failure

from submitd.dns.answer import Answer, NameNotFound, ResolverUnavailable
from submitd.dns.cache import AnswerCache
from submitd.dns.message import (
    AddressRecord,
    BadName,
    ExchangerRecord,
    Question,
    RecordType,
)
from submitd.dns.resolver import CachingResolver
from submitd.dns.servers import ConfiguredServers, NameServer
from tests.support.awaited import awaited
from tests.support.dns_network import ORG, StagedNetwork, a, cname, mx, reply_to, soa

MX = RecordType.MX


class FixedServers:
    """`NameServers` of which not all need be believed."""

    def __init__(self, *servers: NameServer) -> None:
        self.servers = servers

    async def current(self) -> tuple[NameServer, ...]:
        return self.servers


class Desk:
    """A resolver between a staged network and those who ask."""

    def __init__(
        self,
        *servers: NameServer,
        most_in_flight: int = 200,
        most_waiting: int = 10_000,
    ) -> None:
        self.clock = Clock()
        self.network = StagedNetwork()
        self.resolver = CachingResolver(
            self.clock,
            self.network,
            FixedServers(*servers)
            if servers
            else ConfiguredServers([("127.0.0.1", 53)]),
            AnswerCache(self.clock.seconds),
            time_out=4.0,
            most_in_flight=most_in_flight,
            most_waiting=most_waiting,
        )
        self.heard: list[Answer | BaseException] = []

    def ask(self, name: str = "example.org", kind: RecordType = MX) -> Deferred[None]:
        asked = Deferred.fromCoroutine(self.resolver.query(name, kind))
        return asked.addCallbacks(self.heard.append, self._failed)

    def _failed(self, failure: Failure) -> None:
        assert failure.value is not None
        self.heard.append(failure.value)

    def unavailable(self) -> ResolverUnavailable:
        problem = self.heard[-1]
        assert isinstance(problem, ResolverUnavailable)
        return problem


def test_an_answer_holds_the_records_their_ttl_and_who_vouches() -> None:
    desk = Desk()
    desk.ask("Example.ORG.")
    desk.network.last.answer(mx(10, b"MX.example.org", ttl=60), authenticated=True)

    assert desk.heard == [
        Answer(
            name="example.org",
            records=(ExchangerRecord(10, "mx.example.org"),),
            authenticated=True,
            ttl=60,
        )
    ]


def test_what_is_remembered_needs_no_turn_of_the_reactor() -> None:
    desk = Desk()
    desk.ask()
    desk.network.last.answer(mx(10, b"mx.example.org", ttl=60))

    desk.clock.advance(10)
    again = awaited(desk.resolver.query("example.org", MX))
    spelled_otherwise = awaited(desk.resolver.query("EXAMPLE.org.", MX))

    assert again.ttl == 50
    assert spelled_otherwise == again
    assert len(desk.network.sent) == 1


def test_a_stale_answer_is_asked_for_again() -> None:
    desk = Desk()
    desk.ask()
    desk.network.last.answer(mx(10, b"old.example.org", ttl=60))
    desk.clock.advance(60)

    desk.ask()
    desk.network.last.answer(mx(10, b"new.example.org", ttl=60))

    assert len(desk.network.sent) == 2
    assert desk.heard[1] == Answer(
        name="example.org",
        records=(ExchangerRecord(10, "new.example.org"),),
        authenticated=False,
        ttl=60,
    )


@pytest.mark.rfc("2308", "5")
def test_a_missing_name_is_remembered_as_missing() -> None:
    desk = Desk()
    desk.ask()
    desk.network.last.receive(
        reply_to(
            desk.network.last.octets,
            authority=[soa(60)],
            code=dns.ENAME,
            authenticated=True,
        )
    )
    for _ in range(2):
        problem = desk.heard[-1]
        assert isinstance(problem, NameNotFound)
        assert problem.name == "example.org"
        assert problem.authenticated
        assert str(problem) == "there is no example.org in the DNS"
        desk.ask()

    assert len(desk.network.sent) == 1


@pytest.mark.rfc("2308", "5")
def test_no_records_are_an_answer_and_remembered_as_one() -> None:
    desk = Desk()
    desk.ask()
    desk.network.last.receive(reply_to(desk.network.last.octets, authority=[soa(60)]))
    desk.ask()

    empty = Answer(name="example.org", records=(), authenticated=False, ttl=60)
    assert desk.heard == [empty, empty]
    assert len(desk.network.sent) == 1


def test_one_question_is_asked_once_however_many_want_the_answer() -> None:
    desk = Desk()
    desk.ask("example.org")
    desk.ask("EXAMPLE.ORG")
    desk.ask("example.org", RecordType.A)
    assert [query.question for query in desk.network.sent] == [
        ("example.org", dns.MX),
        ("example.org", dns.A),
    ]

    desk.network.sent[0].answer(mx(10, b"mx.example.org", ttl=0))
    assert len(desk.heard) == 2
    assert desk.heard[0] == desk.heard[1]

    desk.ask()
    assert len(desk.network.sent) == 3


def test_who_gives_up_waiting_takes_nothing_from_the_others() -> None:
    desk = Desk()
    impatient = desk.ask()
    desk.ask()

    impatient.cancel()
    assert isinstance(desk.heard[0], CancelledError)
    assert not desk.network.last.is_closed

    desk.network.last.answer(mx(10, b"mx.example.org"))
    assert isinstance(desk.heard[1], Answer)
    assert len(desk.heard) == 2


def test_without_an_answer_in_time_nobody_can_tell() -> None:
    desk = Desk()
    desk.ask()
    desk.clock.pump([1.0] * 4)

    problem = desk.unavailable()
    assert str(problem) == "MX example.org: no answer in time"
    assert problem.question == Question("example.org", MX)
    assert problem.detail == "127.0.0.1:53: no answer"
    assert not desk.clock.getDelayedCalls()
    assert all(query.is_closed for query in desk.network.sent)


@pytest.mark.rfc("9520", "3.2")
def test_a_failure_is_remembered_for_a_moment_only() -> None:
    """A thousand messages to a dead domain ask once; a second later again."""
    desk = Desk()
    desk.ask()
    desk.network.last.fail(dns.ESERVER)
    desk.ask()
    assert str(desk.unavailable()) == (
        "MX example.org: the name server failed: SERVFAIL"
    )
    assert len(desk.network.sent) == 1

    desk.clock.advance(1.0)
    desk.ask()
    desk.network.last.answer(mx(10, b"mx.example.org"))
    assert isinstance(desk.heard[-1], Answer)


def test_a_contradictory_answer_is_nobody_can_tell() -> None:
    desk = Desk()
    desk.ask()
    desk.network.last.answer(cname(ORG, ORG))

    assert desk.unavailable().reason == "its aliases do not end"


def test_a_bad_name_is_not_asked_for() -> None:
    desk = Desk()
    with pytest.raises(BadName):
        awaited(desk.resolver.query("a..example", MX))

    assert desk.network.sent == []


def test_an_alias_without_its_target_is_followed_by_asking() -> None:
    """RFC 1034 section 5.3.3 step 4c; the least TTL and no false AD bit."""
    desk = Desk()
    desk.ask("www.example.org", RecordType.A)
    desk.network.last.answer(
        cname(b"www.example.org", b"host.example.net", 30), authenticated=True
    )
    assert desk.network.last.question == ("host.example.net", dns.A)
    desk.network.last.answer(a("192.0.2.1", b"host.example.net"))

    assert desk.heard == [
        Answer(
            name="host.example.net",
            records=(AddressRecord(ip_address("192.0.2.1")),),
            authenticated=False,
            ttl=30,
        )
    ]


def test_an_alias_of_nothing_is_a_missing_name() -> None:
    desk = Desk()
    desk.ask("www.example.org", RecordType.A)
    desk.network.last.answer(cname(b"www.example.org", b"gone.example.net"))
    desk.network.last.fail(dns.ENAME)

    problem = desk.heard[0]
    assert isinstance(problem, NameNotFound)
    assert problem.name == "gone.example.net"


def test_aliases_are_followed_a_few_steps_only() -> None:
    desk = Desk()
    desk.ask("0.example.org", RecordType.A)
    for step in range(8):
        desk.network.last.answer(
            cname(f"{step}.example.org".encode(), f"{step + 1}.example.org".encode())
        )

    assert desk.unavailable().reason == "its aliases do not end"
    assert len(desk.network.sent) == 8


def test_an_alias_to_what_cannot_be_asked_for_is_nobody_can_tell() -> None:
    desk = Desk()
    desk.ask()
    desk.network.last.answer(cname(ORG, b"a b.example"))

    assert desk.unavailable().reason == "an alias leads to what cannot be asked for"


def test_the_ad_bit_of_a_server_that_we_do_not_trust_is_nothing() -> None:
    """RFC 4035 section 4.9.3: anybody on the way could have set it."""
    desk = Desk(NameServer("192.0.2.53", trusted=False))
    desk.ask()
    desk.network.last.answer(mx(10, b"mx.example.org"), authenticated=True)

    answer = desk.heard[0]
    assert isinstance(answer, Answer)
    assert not answer.authenticated


def test_a_server_that_was_silent_is_asked_last_for_a_while() -> None:
    """One dead server in the list must not slow down every question."""
    dead, alive = NameServer("192.0.2.1"), NameServer("192.0.2.2")
    desk = Desk(dead, alive)
    desk.ask("a.example")
    desk.clock.advance(1.0)
    desk.network.last.answer(mx(10, b"mx.example.org", b"a.example"))

    desk.ask("b.example")
    assert desk.network.last.server == alive
    desk.network.last.answer(mx(10, b"mx.example.org", b"b.example"))

    desk.clock.advance(30.0)
    desk.ask("c.example")
    assert desk.network.last.server == dead


def test_questions_wait_their_turn_where_many_are_under_way() -> None:
    desk = Desk(most_in_flight=2)
    for name in ("a.example", "b.example", "c.example"):
        desk.ask(name)
    assert [query.question[0] for query in desk.network.sent] == [
        "a.example",
        "b.example",
    ]

    desk.network.sent[0].answer(mx(10, b"mx", b"a.example"))

    assert desk.network.last.question[0] == "c.example"


def test_a_question_that_never_had_its_turn_ends_in_time_too() -> None:
    desk = Desk(most_in_flight=1)
    desk.ask("a.example")
    desk.clock.advance(1.0)
    desk.ask("b.example")
    desk.clock.pump([1.0] * 3)
    desk.network.last.answer(mx(10, b"mx", b"b.example"))

    assert len(desk.heard) == 2
    assert isinstance(desk.heard[1], Answer)

    desk.ask("c.example")
    desk.ask("d.example")
    desk.clock.pump([1.0] * 4)
    problems = desk.heard[2:]
    assert [str(problem) for problem in problems] == [
        "MX c.example: no answer in time",
        "MX d.example: no answer in time",
    ]


def test_more_questions_than_can_wait_are_put_off() -> None:
    desk = Desk(most_waiting=1)
    desk.ask("a.example")
    desk.ask("a.example")

    desk.ask("b.example")

    assert desk.unavailable().reason == "too many questions at once"
    assert len(desk.heard) == 1


def test_a_stop_ends_what_is_under_way_and_takes_no_more() -> None:
    desk = Desk()
    desk.ask("a.example")
    desk.ask("b.example")

    desk.resolver.close()
    assert len(desk.heard) == 2
    assert isinstance(desk.unavailable(), ResolverUnavailable)
    assert not desk.clock.getDelayedCalls()

    desk.ask("c.example")
    assert desk.unavailable().reason == "the server is stopping"
    assert len(desk.network.sent) == 2


class SlowServers:
    """`NameServers` that are still being read."""

    async def current(self) -> tuple[NameServer, ...]:
        await Deferred()
        return ()


def test_a_list_of_servers_that_does_not_come_is_nobody_can_tell() -> None:
    clock = Clock()
    resolver = CachingResolver(
        clock, StagedNetwork(), SlowServers(), AnswerCache(clock.seconds)
    )
    failures: list[Failure] = []
    Deferred.fromCoroutine(resolver.query("example.org", MX)).addErrback(
        failures.append
    )
    clock.advance(5.0)

    problem = failures[0].value
    assert isinstance(problem, ResolverUnavailable)
    assert problem.detail == "no name server was asked"


class BrokenServers:
    """`NameServers` with a bug."""

    async def current(self) -> tuple[NameServer, ...]:
        raise RuntimeError("a bug")


def test_a_bug_reaches_everybody_who_asked() -> None:
    """And is no delay that hides it for ever."""
    clock = Clock()
    resolver = CachingResolver(
        clock, StagedNetwork(), BrokenServers(), AnswerCache(clock.seconds)
    )

    with pytest.raises(RuntimeError, match="a bug"):
        awaited(resolver.query("example.org", MX))
    assert not clock.getDelayedCalls()
