"""Connections through a proxy, under a clock."""

from typing import Final

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from submitd.observe.metrics import Metrics
from submitd.server.factory import SubmissionFactory
from submitd.server.limits import Room, Strangers
from submitd.server.submission import TimeLimits
from submitd.smtp.server import ServerSession
from tests.support.recorded_events import RecordedEvents
from tests.support.session_peer import make_session
from tests.unit.server.test_submission import Desk, Wire

HEADER: Final = b"PROXY TCP4 198.51.100.7 192.0.2.1 51234 587\r\n"
GREETING: Final = b"220 submit.example.org ESMTP submitd\r\n"


class Counts:
    """Places: so many in all, so many from one address."""

    def __init__(self, in_all: int = 10, each: int = 10) -> None:
        self.in_all, self.each = in_all, each
        self.all = 0
        self.taken: list[str] = []
        self.asked: list[str] = []
        self.later: list[Deferred[None]] = []
        self.is_slow = False

    def answer(self) -> None:
        """All that was asked while it was slow."""
        waiting, self.later = self.later, []
        for one in waiting:
            one.callback(None)

    async def opened(self, address: str | None) -> Room:
        self.asked.append("opened")
        await self._time()
        if address is not None and self._is_crowded(address):
            return Room.CROWDED
        if self.all >= self.in_all:
            return Room.FULL
        self.all += 1
        if address is not None:
            self.taken.append(address)
        return Room.FOUND

    async def named(self, address: str) -> bool:
        self.asked.append("named")
        await self._time()
        if self._is_crowded(address):
            return False
        self.taken.append(address)
        return True

    def unnamed(self, address: str) -> None:
        self.taken.remove(address)

    def closed(self, address: str | None) -> None:
        self.all -= 1
        assert self.all >= 0, "given back twice"
        if address is not None:
            self.taken.remove(address)

    def _is_crowded(self, address: str) -> bool:
        return self.taken.count(address) >= self.each

    async def _time(self) -> None:
        if self.is_slow:
            self.later.append(Deferred())
            await self.later[-1]


class Site:
    """A listener behind the proxy 192.0.2.9."""

    def __init__(self, counts: Counts, *, proxied: bool = True) -> None:
        self.clock = Clock()
        self.events = RecordedEvents()
        self.clients: list[str] = []
        self.factory = SubmissionFactory(
            name="test",
            clock=self.clock,
            make=self._make,
            counts=counts,
            strangers=Strangers(),
            tls=None,
            implicit_tls=False,
            trusted=lambda client: client != "198.51.100.66",
            time_limits=TimeLimits(),
            events=self.events,
            metrics=Metrics(),
            proxies=(lambda client: client == "192.0.2.9") if proxied else None,
        )

    def _make(self, session_id: str, client: str) -> tuple[ServerSession, Desk]:  # noqa: ARG002
        self.clients.append(client)
        return make_session({"listener": "starttls"}), Desk()

    def connect(self, address: str = "192.0.2.9") -> Wire:
        protocol = self.factory.buildProtocol(IPv4Address("TCP", address, 4711))
        assert protocol is not None
        wire = Wire()
        wire.protocol = protocol
        protocol.makeConnection(wire)
        return wire

    def reason(self) -> object:
        """Why the last connection was refused."""
        name, facts = self.events.emitted[-1]
        assert name == "session-refused"
        return facts["reason"]


def say(wire: Wire, octets: bytes) -> None:
    protocol: IProtocol = wire.protocol
    protocol.dataReceived(octets)


def reading(wire: Wire) -> str:
    return str(wire.producerState)


def lose(wire: Wire) -> None:
    protocol: IProtocol = wire.protocol
    protocol.connectionLost(Failure(ConnectionDone()))


@pytest.mark.parametrize("cut", [1, 5, 40, 100])
def test_the_client_is_the_one_that_the_header_names(cut: int) -> None:
    counts = Counts()
    here = Site(counts)
    wire = here.connect()
    octets = HEADER + b"EHLO x\r\nNOOP\r\n"
    for start in range(0, len(octets), cut):
        say(wire, octets[start : start + cut])

    assert here.clients == ["198.51.100.7"]
    assert counts.taken == ["198.51.100.7"]
    assert wire.value().startswith(GREETING + b"250-submit.example.org\r\n")
    assert wire.value().endswith(b"250 2.0.0 Ok\r\n")
    (name, facts) = here.events.emitted[0]
    assert name == "session-opened"
    assert facts["client"] == "198.51.100.7"
    assert facts["proxy"] == "192.0.2.9"
    lose(wire)
    assert counts.taken == []
    assert here.clock.getDelayedCalls() == []


def test_a_proxy_that_looks_whether_we_live_is_itself_the_client() -> None:
    here = Site(Counts())
    wire = here.connect()
    say(wire, b"PROXY UNKNOWN\r\n")

    assert here.clients == ["192.0.2.9"]
    assert wire.value() == GREETING


def test_before_its_header_a_connection_hears_nothing_and_has_a_place() -> None:
    counts = Counts()
    here = Site(counts)
    wire = here.connect()
    say(wire, HEADER[:-1])

    assert wire.value() == b""
    assert (counts.all, counts.taken) == (1, [])
    assert here.events.emitted == []


def test_a_header_that_never_comes_is_not_waited_for() -> None:
    counts = Counts()
    here = Site(counts)
    wire = here.connect()
    say(wire, HEADER[:20])
    here.clock.advance(9)
    assert here.events.emitted == []
    here.clock.advance(2)

    assert wire.disconnected
    assert wire.value() == b""
    assert here.reason() == "no PROXY header came"
    lose(wire)
    assert counts.taken == []
    assert len(here.events.emitted) == 1


def test_what_is_no_header_ends_the_connection_with_one_line_in_the_log() -> None:
    counts = Counts()
    here = Site(counts)
    wire = here.connect()
    say(wire, b"EHLO x\r\n")

    assert wire.disconnected
    assert wire.value() == b""
    assert here.reason() == "bad PROXY header: it does not begin as one"
    lose(wire)
    assert counts.taken == []
    assert len(here.events.emitted) == 1


def test_who_is_no_proxy_is_told_so_and_its_header_counts_for_nothing() -> None:
    counts = Counts()
    here = Site(counts)
    wire = here.connect("198.51.100.8")
    say(wire, HEADER + b"EHLO x\r\n")

    assert wire.value() == (
        b"554 5.7.1 Only a proxy of this server may connect here\r\n"
    )
    assert wire.closing
    assert here.clients == ["198.51.100.8"]
    assert counts.taken == []
    assert here.events.names == ["session-opened", "session-refused"]


def test_trust_is_for_the_client_and_not_for_its_proxy() -> None:
    counts = Counts()
    here = Site(counts)
    wire = here.connect()
    say(wire, HEADER.replace(b".7 ", b".66 "))

    assert wire.value().startswith(b"554 5.7.1 Not a trusted address")
    assert counts.taken == []


def test_one_client_of_a_proxy_does_not_take_the_places_of_the_others() -> None:
    counts = Counts(each=1)
    here = Site(counts)
    first, second, other = here.connect(), here.connect(), here.connect()
    for wire in (first, second):
        say(wire, HEADER)
    say(other, HEADER.replace(b".7 ", b".8 "))

    assert first.value() == other.value() == GREETING
    assert second.value().startswith(b"421 4.7.0 Too many connections")
    assert counts.taken == ["198.51.100.7", "198.51.100.8"]
    for wire in (first, second, other):
        lose(wire)
    assert counts.taken == []


def test_the_limit_holds_before_the_header() -> None:
    counts = Counts(in_all=2)
    here = Site(counts)
    here.connect()
    here.connect()
    third = here.connect()

    assert third.disconnected
    assert here.reason() == "limit"
    lose(third)
    assert (counts.all, counts.taken) == (2, [])


def test_what_comes_while_it_is_not_admitted_waits_in_the_client() -> None:
    counts = Counts()
    counts.is_slow = True
    here = Site(counts)
    wire = here.connect()
    say(wire, HEADER + b"EHLO x\r\n")
    assert reading(wire) == "producing"
    say(wire, b"NOOP\r\n")
    assert reading(wire) == "paused"
    assert wire.value() == b""
    counts.answer()
    assert wire.value() == b""
    counts.answer()

    assert reading(wire) == "producing"
    assert wire.value().startswith(GREETING)
    assert wire.value().endswith(b"250 2.0.0 Ok\r\n")


def test_a_place_that_comes_too_late_is_given_back() -> None:
    counts = Counts()
    counts.is_slow = True
    here = Site(counts)
    wire = here.connect()
    lose(wire)
    counts.answer()

    assert counts.all == 0
    assert here.clients == []


@pytest.mark.parametrize("each", [10, 0])
def test_a_client_that_leaves_while_it_is_named_gives_its_place_back_once(
    each: int,
) -> None:
    """Or each reset makes room for one more than there may be."""
    counts = Counts(each=each)
    counts.is_slow = True
    here = Site(counts)
    stays = here.connect()
    counts.answer()
    gone = here.connect()
    counts.answer()
    say(gone, HEADER)
    lose(gone)
    counts.answer()

    assert (counts.all, counts.taken) == (1, [])
    assert not stays.disconnected


def test_a_client_that_leaves_before_it_is_counted_gives_its_place_back() -> None:
    counts = Counts()
    counts.is_slow = True
    here = Site(counts, proxied=False)
    lose(here.connect("198.51.100.1"))
    counts.answer()

    assert (counts.all, counts.taken) == (0, [])


def test_a_refusal_that_comes_too_late_is_not_logged() -> None:
    counts = Counts(in_all=0)
    counts.is_slow = True
    here = Site(counts)
    wire = here.connect()
    lose(wire)
    counts.answer()

    assert here.events.emitted == []


def test_counts_that_fail_are_told_as_the_bug_that_they_are() -> None:
    counts = Counts()
    counts.is_slow = True
    here = Site(counts)
    here.connect()
    [later] = counts.later
    later.errback(ZeroDivisionError())

    assert here.events.names == ["session-broken"]


def test_a_stop_waits_for_no_header() -> None:
    here = Site(Counts())
    wire = here.connect()
    here.factory.shut_down(30)

    assert wire.disconnected
    lose(wire)
    assert here.clock.getDelayedCalls() == []
