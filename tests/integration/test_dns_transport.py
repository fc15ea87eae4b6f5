"""Queries on real sockets, with servers that misbehave."""

import socket
from collections.abc import Iterator
from itertools import pairwise

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IReactorTCP,
    IReactorUDP,
    ITCPTransport,
)
from twisted.internet.protocol import DatagramProtocol, Protocol, ServerFactory
from twisted.internet.testing import MemoryReactor
from twisted.python.failure import Failure

from submitd.dns.answer import ResolverUnavailable
from submitd.dns.message import ExchangerRecord, RecordType
from submitd.dns.resolver import CachingResolver, make_resolver
from submitd.dns.servers import NameServer
from submitd.dns.transport import ReactorNetwork
from tests.support.dns_network import mx, reply_to
from tests.support.dns_peers import free_port
from tests.support.in_reactor import in_reactor

pytestmark = pytest.mark.integration


class Datagrams(DatagramProtocol):
    """A name server whose UDP side does what a test wants."""

    noisy = False

    def __init__(self) -> None:
        self.sources: list[tuple[str, int]] = []
        self.replies: list[bytes] = []

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        self.sources.append(addr)
        self.misbehave(datagram, addr)
        self.reply(reply_to(datagram, [mx(10, b"mx.example.org", ttl=0)]), addr)

    def misbehave(self, query: bytes, addr: tuple[str, int]) -> None:
        """What comes before the true answer."""

    def reply(self, octets: bytes, addr: tuple[str, int]) -> None:
        assert self.transport is not None
        self.transport.write(octets, addr)


class Truncating(Datagrams):
    """Has nothing to say over UDP."""

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        self.reply(reply_to(datagram, truncated=True), addr)


class Besieged(Datagrams):
    """Others answer in its place, from another port and with other ids."""

    def misbehave(self, query: bytes, addr: tuple[str, int]) -> None:
        forged = reply_to(query, [mx(10, b"evil.example.org")])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as elsewhere:
            elsewhere.sendto(forged, addr)
        for _ in range(5):
            self.reply(bytes([forged[0] ^ 1]) + forged[1:], addr)
        self.reply(b"", addr)


class Flooding(Datagrams):
    """Sends so much that the true answer is lost in it."""

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        for _ in range(50):
            self.reply(bytes([datagram[0] ^ 1]) + datagram[1:], addr)


class Stream(Protocol):
    """A name server whose TCP side answers, says nonsense, or hangs up."""

    def __init__(self, manner: str) -> None:
        self._manner = manner
        self._heard = b""

    def dataReceived(self, data: bytes) -> None:
        self._heard += data
        if len(self._heard) < 2 + int.from_bytes(self._heard[:2]):
            return
        answers = [mx(i, b"mx%d.example.org" % i) for i in range(60)]
        reply = reply_to(self._heard[2:], answers)
        assert self.transport is not None
        match self._manner:
            case "answers":
                self.transport.write(len(reply).to_bytes(2) + reply)
            case "hangs up":
                ITCPTransport(self.transport).loseConnection()
            case "cuts short":
                self.transport.write(len(reply).to_bytes(2) + reply[:100])
                ITCPTransport(self.transport).loseConnection()
            case "talks on":
                self.transport.write(2 * (len(reply).to_bytes(2) + reply))
            case "is silent":
                pass


class Streams(ServerFactory):
    noisy = False

    def __init__(self, manner: str) -> None:
        self._manner = manner

    def buildProtocol(self, addr: IAddress | None) -> Stream:  # noqa: ARG002
        return Stream(self._manner)


class Stage:
    """One port on loopback with a UDP and perhaps a TCP side."""

    def __init__(self) -> None:
        from twisted.internet import reactor

        self._reactor = reactor
        self.port = free_port()
        self._ports: list[IListeningPort] = []
        self._resolvers: list[CachingResolver] = []

    def over_udp(self, protocol: Datagrams) -> None:
        self._ports.append(
            IReactorUDP(self._reactor).listenUDP(
                self.port, protocol, interface="127.0.0.1", maxPacketSize=8192
            )
        )

    def over_tcp(self, manner: str) -> None:
        self._ports.append(
            IReactorTCP(self._reactor).listenTCP(
                self.port, Streams(manner), interface="127.0.0.1"
            )
        )

    def resolver(self, time_out: float = 10.0) -> CachingResolver:
        resolver = make_resolver(self._reactor, [("127.0.0.1", self.port)], time_out)
        self._resolvers.append(resolver)
        return resolver

    def close(self) -> None:
        for resolver in self._resolvers:
            resolver.close()
        for port in self._ports:
            port.stopListening()


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


@pytest.mark.rfc("5452", "9.2")
@in_reactor
async def test_every_query_leaves_from_a_port_of_its_own(stage: Stage) -> None:
    """Who can guess the port has half of what a forged answer needs."""
    server = Datagrams()
    stage.over_udp(server)
    resolver = stage.resolver()

    for _ in range(30):
        await resolver.query("example.org", RecordType.MX)

    ports = [port for _, port in server.sources]
    assert len(set(ports)) > 25
    assert len({after - before for before, after in pairwise(ports)}) > 15


@pytest.mark.rfc("5452", "9.1")
@in_reactor
async def test_forged_answers_are_passed_over(stage: Stage) -> None:
    stage.over_udp(Besieged())

    answer = await stage.resolver().query("example.org", RecordType.MX)

    assert answer.records == (ExchangerRecord(10, "mx.example.org"),)


@in_reactor
async def test_under_attack_the_question_goes_over_tcp(stage: Stage) -> None:
    stage.over_udp(Flooding())
    stage.over_tcp("answers")

    answer = await stage.resolver().query("example.org", RecordType.MX)

    assert len(answer.records) == 60


@pytest.mark.parametrize("manner", ["answers", "talks on"])
@in_reactor
async def test_a_truncated_answer_comes_over_tcp(stage: Stage, manner: str) -> None:
    stage.over_udp(Truncating())
    stage.over_tcp(manner)

    answer = await stage.resolver().query("example.org", RecordType.MX)

    assert len(answer.records) == 60


@pytest.mark.parametrize("manner", ["hangs up", "cuts short"])
@in_reactor
async def test_half_an_answer_over_tcp_is_none(stage: Stage, manner: str) -> None:
    stage.over_udp(Truncating())
    stage.over_tcp(manner)

    with pytest.raises(ResolverUnavailable, match="TCP: Connection was closed"):
        await stage.resolver().query("example.org", RecordType.MX)


@in_reactor
async def test_no_way_by_tcp_is_no_answer(stage: Stage) -> None:
    stage.over_udp(Truncating())

    with pytest.raises(ResolverUnavailable, match="TCP: Connection was refused"):
        await stage.resolver().query("example.org", RecordType.MX)


@in_reactor
async def test_silence_over_tcp_ends_in_time(stage: Stage) -> None:
    stage.over_udp(Truncating())
    stage.over_tcp("is silent")

    with pytest.raises(ResolverUnavailable, match="no answer in time"):
        await stage.resolver(0.5).query("example.org", RecordType.MX)


@in_reactor
async def test_nobody_at_the_port_is_known_at_once(stage: Stage) -> None:
    with pytest.raises(ResolverUnavailable, match="Connection refused"):
        await stage.resolver(60.0).query("example.org", RecordType.MX)


class Ear:
    """A `Listener` that remembers."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.broke: Deferred[str] = Deferred()

    def received(self, octets: bytes, source: tuple[str, int]) -> None:  # noqa: ARG002
        self.heard.append(octets)

    def broken(self, reason: str) -> None:
        self.broke.callback(reason)


@in_reactor
async def test_a_stop_while_connecting_is_silent_and_may_be_repeated(
    stage: Stage,
) -> None:
    from twisted.internet import reactor

    network = ReactorNetwork(reactor)
    server = NameServer("127.0.0.1", stage.port)
    closed, left_open = Ear(), Ear()
    for way in (network.send_datagram, network.send_stream):
        channel = way(server, b"query", closed)
        channel.close()
        channel.close()
    network.send_stream(server, b"query", left_open)

    # Nobody listens: by the time that the third one knows, the others would.
    assert "refused" in await left_open.broke
    assert closed.heard == []
    assert not closed.broke.called


def test_a_query_that_cannot_be_sent_leaves_no_socket_behind() -> None:
    from twisted.internet import reactor

    with pytest.raises(OSError, match="too long"):
        ReactorNetwork(reactor).send_datagram(
            NameServer("127.0.0.1"), bytes(100_000), Ear()
        )


@pytest.fixture
def server_socket() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.1", 0))
        yield found


def test_a_flood_is_read_in_pieces(server_socket: socket.socket) -> None:
    """Between them others have their turn."""
    reactor, ear = MemoryReactor(), Ear()
    server = NameServer("127.0.0.1", server_socket.getsockname()[1])
    channel = ReactorNetwork(reactor).send_datagram(server, b"query", ear)
    (reader,) = reactor.getReaders()
    reader.doRead()
    assert ear.heard == []

    query, client = server_socket.recvfrom(100)
    assert query == b"query"
    for _ in range(20):
        server_socket.sendto(b"answer", client)
    reader.doRead()
    assert len(ear.heard) == 16
    reader.doRead()
    assert ear.heard == [b"answer"] * 20

    channel.close()
    assert reactor.getReaders() == []


def test_an_error_is_told_once_whoever_finds_it(server_socket: socket.socket) -> None:
    """Reactors differ in how they show that one is pending."""
    server = NameServer("127.0.0.1", server_socket.getsockname()[1])
    server_socket.close()

    for find in (
        lambda reader: reader.doRead(),
        lambda reader: reader.connectionLost(Failure(ConnectionDone())),
    ):
        reactor, ear = MemoryReactor(), Ear()
        ReactorNetwork(reactor).send_datagram(server, b"query", ear)
        (reader,) = reactor.getReaders()
        find(reader)
        reader.doRead()
        reader.connectionLost(Failure(ConnectionDone()))

        assert ear.broke.result == "Connection refused"
        assert reactor.getReaders() == []
