"""A connection under a clock: how long a client may take, and its end."""

from collections.abc import Mapping
from typing import Any, Final

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from submitd.mail.trace import TlsFacts
from submitd.observe.metrics import Metrics
from submitd.sasl.channel import Channel
from submitd.server.factory import SubmissionFactory
from submitd.server.limits import Room, Strangers
from submitd.server.submission import (
    SHUTTING_DOWN,
    SubmissionProtocol,
    TimeLimits,
)
from submitd.smtp.event import SenderOffered
from submitd.smtp.reply import Reply
from submitd.smtp.server import ServerSession
from tests.support.recorded_events import RecordedEvents
from tests.support.session_peer import SENDER_OK, StandInDesk, make_session

MAIL: Final = (
    b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"
    b"From: a@example.org\r\n\r\n"
)


class Desk(StandInDesk):
    def tls_started(self, facts: TlsFacts, channel: Channel) -> None:
        """Nothing depends on it here."""

    def close(self) -> None:
        """Nothing is counted here."""

    def abandon(self) -> None:
        raise AssertionError("the session is broken")


class Wire(StringTransport):
    """A transport that waits for the other end, unless it is cut."""

    bufferSize = 65536  # noqa: N815 - as TCP
    closing = False
    protocol: Any
    """As a connection has it: whom the octets that come are for."""

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: N802
        """As TCP."""

    def loseConnection(self) -> None:
        self.closing = True

    def abortConnection(self) -> None:  # noqa: N802
        self.disconnected = True


class Site:
    """A listener, under a clock."""

    def __init__(self, settings: Mapping[str, str], limits: TimeLimits) -> None:
        self.clock = Clock()
        self.room = True
        self.counted = 0
        self.events = RecordedEvents()
        self._settings = settings
        self.factory = SubmissionFactory(
            name="test",
            clock=self.clock,
            make=self._make,
            counts=self,
            strangers=Strangers(),
            tls=None,
            implicit_tls=False,
            trusted=lambda _: True,
            time_limits=limits,
            events=self.events,
            metrics=Metrics(),
        )

    def _make(self, session_id: str, client: str) -> tuple[ServerSession, Desk]:  # noqa: ARG002
        return make_session(self._settings), Desk()

    def opened(self, address: str | None) -> Room:  # noqa: ARG002
        self.counted += self.room
        return Room.FOUND if self.room else Room.FULL

    def named(self, address: str) -> bool:  # noqa: ARG002
        return self.room

    def unnamed(self, address: str) -> None:
        """Addresses are not counted here."""

    def closed(self, address: str | None) -> None:  # noqa: ARG002
        self.counted -= 1

    def connect(self) -> tuple[SubmissionProtocol, Wire]:
        address = IPv4Address("TCP", "198.51.100.7", 4711)
        protocol = self.factory.buildProtocol(address)
        assert isinstance(protocol, SubmissionProtocol)
        wire = Wire()
        protocol.makeConnection(wire)
        return protocol, wire

    def pass_time(self, seconds: int) -> None:
        self.clock.pump([1.0] * seconds)


def site(listener: str = "none", **limits: float | None) -> Site:
    return Site({"listener": listener}, TimeLimits(**limits))


def test_transactions_that_come_one_behind_the_other_each_have_their_time() -> None:
    """RFC 2920: the next MAIL may come in one segment with the final dot."""
    here = site(transaction=30, idle=None)
    protocol, wire = here.connect()
    protocol.dataReceived(b"EHLO x\r\n" + MAIL)
    for _ in range(5):
        here.pass_time(20)
        protocol.dataReceived(b".\r\n" + MAIL)
    assert wire.value().count(b"250 2.0.0 Queued") == 5
    here.pass_time(36)
    assert wire.value().endswith(b"421 4.4.2 Time is up, closing\r\n")


@pytest.mark.parametrize(("listener", "ends"), [("starttls", True), ("none", False)])
def test_who_does_not_log_in_holds_no_place_for_ever(listener: str, ends: bool) -> None:
    here = site(listener, log_in=60, idle=20)
    protocol, wire = here.connect()
    for _ in range(8):
        protocol.dataReceived(b"NOOP\r\n")
        here.pass_time(10)
    assert (b"421 4.4.2" in wire.value()) is ends


def test_an_idle_client_is_told_and_let_go() -> None:
    """RFC 5321 section 4.5.3.2.7; and cut off where it does not go."""
    here = site(idle=20)
    protocol, wire = here.connect()
    here.pass_time(26)
    assert wire.value().endswith(b"421 4.4.2 Time is up, closing\r\n")
    assert (wire.closing, wire.disconnected) == (True, False)
    here.pass_time(11)
    assert wire.disconnected
    protocol.connectionLost(Failure(ConnectionDone()))
    assert here.clock.getDelayedCalls() == []
    assert here.counted == 0
    assert here.events.names[-1] == "session-closed"


def test_a_client_that_stays_after_its_goodbye_is_cut_off() -> None:
    here = site()
    protocol, wire = here.connect()
    protocol.dataReceived(b"QUIT\r\n")
    assert wire.closing
    protocol.dataReceived(b"NOOP\r\n" * 10)
    here.pass_time(11)
    assert wire.disconnected


def test_a_stop_lets_who_has_just_come_send_a_message() -> None:
    """A reload must be noticed by nobody."""
    here = site()
    protocol, wire = here.connect()
    here.factory.shut_down(30)
    protocol.dataReceived(b"EHLO x\r\n")
    here.clock.advance(2.9)
    protocol.dataReceived(b"NOOP\r\n")
    here.clock.advance(2.9)
    protocol.dataReceived(MAIL)
    here.clock.advance(9)
    assert b"421" not in wire.value()
    protocol.dataReceived(b".\r\n")
    assert wire.value().endswith(b"250 2.0.0 Queued\r\n")
    here.clock.advance(2.9)
    protocol.dataReceived(b"QUIT\r\n")
    assert b"421" not in wire.value()
    assert wire.closing


def test_a_stop_takes_no_second_message_and_waits_for_no_late_goodbye() -> None:
    here = site()
    greedy, wire = here.connect()
    late, late_wire = here.connect()
    here.factory.shut_down(30)
    for protocol in (greedy, late):
        protocol.dataReceived(b"EHLO x\r\n" + MAIL + b".\r\n")
    last_words = b"250 2.0.0 Queued\r\n" + SHUTTING_DOWN.encode()
    greedy.dataReceived(MAIL)
    assert wire.value().endswith(last_words)
    assert [wire.closing, late_wire.closing] == [True, False]
    here.clock.advance(3.1)
    assert late_wire.value().endswith(last_words)
    assert late_wire.closing
    for protocol in (greedy, late):
        protocol.connectionLost(Failure(ConnectionDone()))
    assert here.events.emitted[-1][1]["end"] == "shutdown"


def test_a_stop_ends_who_is_idle_and_who_never_comes_to_the_point() -> None:
    here = site()
    _, idle = here.connect()
    here.clock.advance(3)
    late, late_wire = here.connect()
    here.factory.shut_down(30)
    assert idle.closing
    assert not late_wire.closing
    here.clock.advance(1.5)
    late.dataReceived(b"NOOP\r\n")
    here.clock.advance(1.6)
    assert not late_wire.closing
    here.clock.advance(1.5)
    assert late_wire.value().endswith(SHUTTING_DOWN.encode())
    for protocol in tuple(here.factory._open):
        protocol.connectionLost(Failure(ConnectionDone()))
    assert here.clock.getDelayedCalls() == []


def test_at_the_end_of_a_stops_grace_all_are_told_and_none_is_waited_for() -> None:
    here = site()
    (sent, sent_wire), (begun, begun_wire) = here.connect(), here.connect()
    for protocol in (sent, begun):
        protocol.dataReceived(b"EHLO x\r\n" + MAIL)
    here.factory.shut_down(5)
    here.clock.advance(4)
    sent.dataReceived(b".\r\n")
    # Its three seconds would end after the grace.
    here.clock.advance(1)
    for wire in (sent_wire, begun_wire):
        assert wire.value().endswith(SHUTTING_DOWN.encode())
        assert wire.closing
        assert not wire.disconnected
    here.clock.advance(1)
    assert sent_wire.disconnected
    assert begun_wire.disconnected
    for protocol in (sent, begun):
        protocol.connectionLost(Failure(ConnectionDone()))
    assert here.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("octets", "end"),
    [
        (b"QUIT\r\n", ("quit", None)),
        (b"GET / HTTP/1.0\r\n", ("sent-away", "Cannot go on after this, closing")),
        (b"x\r\n" * 20, ("sent-away", "Too many errors, closing")),
        (b"NOOP\r\n", ("lost", None)),
    ],
)
def test_the_log_says_in_one_line_how_a_session_ended(
    octets: bytes, end: tuple[str, str | None]
) -> None:
    here = site()
    protocol, _ = here.connect()
    protocol.dataReceived(octets)
    protocol.connectionLost(Failure(ConnectionDone()))
    assert here.events.names == ["session-opened", "session-closed"]
    facts = here.events.emitted[-1][1]
    assert (facts["end"], facts["reply"]) == end


def test_who_has_closed_its_half_is_answered_and_let_go() -> None:
    here = site()
    protocol, wire = here.connect()
    protocol.dataReceived(b"EHLO x\r\n" + MAIL + b".\r\n" + MAIL)
    protocol.readConnectionLost()
    assert wire.value().count(b"250 2.0.0 Queued") == 1
    assert wire.closing
    protocol.writeConnectionLost()
    protocol.connectionLost(Failure(ConnectionDone()))
    assert here.clock.getDelayedCalls() == []
    assert here.counted == 0


def test_who_has_closed_its_half_and_does_not_read_yet_is_answered_in_full() -> None:
    """What it had said before is not lost because its answers are slow to go."""
    here = site()
    protocol, wire = here.connect()
    protocol.pauseProducing()
    protocol.dataReceived(b"EHLO x\r\n" + MAIL + b".\r\n")
    protocol.readConnectionLost()
    assert not wire.closing
    protocol.resumeProducing()
    assert wire.value().endswith(b"250 2.0.0 Queued\r\n")
    assert wire.closing is True


def test_nor_does_an_answer_end_what_waits_behind_it() -> None:
    """It says all, closes its half, and reads nothing while it is answered."""
    here = site()
    protocol, wire = here.connect()
    verdict: Deferred[Reply] = Deferred()
    answer_at_once = protocol._desk.answer
    protocol._desk.answer = (  # type: ignore[method-assign]
        lambda event: (
            verdict if isinstance(event, SenderOffered) else answer_at_once(event)
        )
    )
    protocol.dataReceived(b"EHLO x\r\nMAIL FROM:<a@example.org>\r\nNOOP\r\n")
    protocol.readConnectionLost()
    protocol.pauseProducing()
    verdict.callback(SENDER_OK)
    assert not wire.closing
    protocol.resumeProducing()
    assert wire.value().endswith(SENDER_OK.encode() + b"250 2.0.0 Ok\r\n")
    assert wire.closing is True


def test_a_crowd_that_is_turned_away_does_not_pile_up() -> None:
    here = site()
    here.room = False
    connections = [here.connect() for _ in range(201)]
    said = [wire.value().startswith(b"421 4.7.0 Too many") for _, wire in connections]
    assert said == [True] * 200 + [False]
    assert connections[-1][1].disconnected
    protocol, _ = connections[0]
    protocol.connectionLost(Failure(ConnectionDone()))
    assert here.connect()[1].value().startswith(b"421")
    assert here.counted == 0
