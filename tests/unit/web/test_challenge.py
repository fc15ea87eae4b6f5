"""The doors for an authority's questions, and who else comes to them."""

from collections.abc import Iterator

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from submitd.web.brief import BriefFactory
from submitd.web.challenge import make_challenge_site

SOMEBODY = IPv4Address("TCP", "192.0.2.1", 4711)


class Transport(StringTransport):
    """One that says how it ended."""

    aborted = 0

    def abortConnection(self) -> None:  # noqa: N802
        self.aborted += 1


@pytest.fixture
def clock() -> Iterator[Clock]:
    clock = Clock()
    yield clock
    assert clock.getDelayedCalls() == []


def connected(factory: BriefFactory) -> tuple[Protocol, Transport]:
    protocol = factory.buildProtocol(SOMEBODY)
    assert protocol is not None
    transport = Transport()
    protocol.makeConnection(transport)
    return protocol, transport


def test_who_keeps_talking_is_hung_up_on_all_the_same(clock: Clock) -> None:
    factory = BriefFactory(Factory.forProtocol(Protocol), clock.callLater)
    protocol, transport = connected(factory)
    for _ in range(14):
        clock.advance(1)
        protocol.dataReceived(b"x")
    assert transport.aborted == 0
    clock.advance(1)
    assert transport.aborted == 1
    protocol.connectionLost()


def test_beyond_a_hundred_nobody_is_let_in_until_one_has_gone(clock: Clock) -> None:
    factory = BriefFactory(Factory.forProtocol(Protocol), clock.callLater)
    first, _ = connected(factory)
    others = [connected(factory)[0] for _ in range(99)]
    assert factory.buildProtocol(SOMEBODY) is None
    first.connectionLost()
    others.append(connected(factory)[0])
    for one in others:
        one.connectionLost()


@pytest.mark.rfc("8555", "8.3")
def test_the_proof_is_shown_and_what_is_posted_is_kept_nowhere() -> None:
    site = make_challenge_site({"token": "token.thumb"})
    for method, body in ((b"GET", b""), (b"POST", b"x" * 200_000)):
        protocol = site.buildProtocol(SOMEBODY)
        transport = StringTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived(
            b"%b /.well-known/acme-challenge/token HTTP/1.1\r\nHost: x\r\n"
            b"Content-Length: %d\r\n\r\n" % (method, len(body))
        )
        if body:
            (request,) = protocol._channel.requests
            protocol.dataReceived(body[:-1])
            assert request.content.getvalue() == b""
            protocol.dataReceived(body[-1:])
        assert transport.value().endswith(b"\r\n\r\ntoken.thumb")
        protocol.connectionLost(connectionDone)
