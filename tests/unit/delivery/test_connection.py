"""A connection to a next hop, with a host that the test plays."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from submitd.delivery.connection import (
    ConnectionBroke,
    HopConnection,
    HopRefused,
    NoContent,
    TimeOuts,
    TlsBroke,
)
from submitd.mail.address import parse_mailbox
from submitd.mail.envelope import Body, ForwardPath
from submitd.smtp.client import ClientSession, Outgoing, Settled, TlsWish

HELLO: Final = b"220 hi\r\n250-mx\r\n250 PIPELINING\r\n"
TIME_OUTS: Final = TimeOuts(greeting=30, mail=30, dot=60, block=20, quit=5)


class Wire(StringTransport):
    """A transport that can be cut, and says so at once."""

    def __init__(self, to: HopConnection) -> None:
        super().__init__()
        self._to = to
        self.tls_started = False
        self.closing = False

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: N802
        """As TCP."""

    def startTLS(self, context: object) -> None:  # noqa: ARG002, N802
        self.tls_started = True

    def loseConnection(self) -> None:
        # As under TLS: it waits for the other end.
        self.closing = True

    def abortConnection(self) -> None:  # noqa: N802
        if not self.disconnected:
            self.disconnected = True
            self._to.connectionLost(Failure(ConnectionDone()))

    def said(self) -> bytes:
        octets = bytes(self.value())
        self.clear()
        return octets


class GivenContent:
    """A message's content, and what was on the wire when its end was told."""

    def __init__(self, small: bytes | None, chunks: list[Any], wire: Wire) -> None:
        self.small = small
        self.endings: list[tuple[Sequence[int], bytes]] = []
        self._chunks = list(chunks)
        self._wire = wire

    async def next(self) -> bytes | None:
        chunk = self._chunks.pop(0)
        if isinstance(chunk, Deferred):
            chunk = await chunk
        fetched: bytes | None = chunk
        return fetched

    def ending(self, accepted: Sequence[int]) -> None:
        self.endings.append((accepted, bytes(self._wire.value())))


class Hop:
    """A connection, its wire and its clock."""

    def __init__(self, hello: bytes = HELLO, tls: TlsWish = TlsWish.NEVER) -> None:
        self.clock = Clock()
        self.connection = HopConnection(
            self.clock, ClientSession("me.example", tls=tls), TIME_OUTS, object()
        )
        self.wire = Wire(self.connection)
        self.ready: list[Any] = []
        self.connection.ready.addBoth(self.ready.append)
        self.connection.makeConnection(self.wire)
        for line in hello.splitlines(keepends=True):
            self.connection.dataReceived(line)
        self.wire.clear()

    def deliver(
        self,
        chunks: list[Any] | None = None,
        small: bytes | None = b"text\r\n",
        to: Sequence[str] = ("b@example.net",),
        body: Body = Body.SEVEN_BIT,
    ) -> list[Any]:
        """Begin a transaction; what it comes to is put into the list."""
        outgoing = Outgoing(
            reverse_path=parse_mailbox("a@example.org"),
            forward_paths=tuple(ForwardPath(parse_mailbox(one)) for one in to),
            size=6,
            body=body,
            smtputf8=False,
            ret=None,
            envid=None,
        )
        result: list[Any] = []
        self.content = GivenContent(small, chunks or [], self.wire)
        delivering = Deferred.fromCoroutine(
            self.connection.deliver(outgoing, self.content)
        )
        delivering.addBoth(result.append)
        return result

    def pass_time(self, seconds: float) -> None:
        self.clock.pump([1.0] * int(seconds))


def codes(result: list[Any]) -> list[int]:
    (settled,) = result
    assert isinstance(settled, Settled)
    return [one.code for one in settled.verdicts]


def broke(result: list[Any], kind: type[Exception] = ConnectionBroke) -> Any:  # noqa: ANN401
    (failure,) = result
    assert isinstance(failure, Failure)
    return failure.check(kind) and failure.value


def test_a_message_at_hand_leaves_in_one_write() -> None:
    hop = Hop()
    assert hop.ready == [None]
    result = hop.deliver()
    hop.connection.dataReceived(b"250 ok\r\n250 ok\r\n354 go\r\n")
    assert hop.wire.said().endswith(b"DATA\r\ntext\r\n.\r\n")
    hop.connection.dataReceived(b"250 done\r\n")
    assert codes(result) == [250]
    assert hop.connection.is_usable


@pytest.mark.rfc("5321", "6.1")
def test_the_dot_is_told_of_before_it_is_sent_and_for_whom_it_is() -> None:
    """A death in between must not make a third copy (RFC 1047)."""
    hop = Hop()
    hop.deliver(to=("a@example.net", "b@example.net", "c@example.net"))
    hop.wire.clear()
    hop.connection.dataReceived(b"250 ok\r\n250 ok\r\n550 no\r\n250 ok\r\n")
    assert hop.content.endings == []
    hop.connection.dataReceived(b"354 go\r\n")
    assert hop.content.endings == [((0, 2), b"")]
    assert hop.wire.said() == b"text\r\n.\r\n"


def test_a_yes_counts_whatever_nonsense_follows_it() -> None:
    """Else the message would be sent again, for days."""
    hop = Hop()
    result = hop.deliver()
    hop.connection.dataReceived(b"250 ok\r\n250 ok\r\n354 go\r\n")
    hop.connection.dataReceived(b"250 done\r\n\r\n")
    assert codes(result) == [250]
    assert not hop.connection.is_usable
    assert hop.wire.disconnected


@pytest.mark.rfc("5321", "4.5.3.2")
def test_half_a_reply_is_no_sign_of_life() -> None:
    hop = Hop()
    result = hop.deliver()
    for octet in b"250-a reply that takes its time":
        hop.connection.dataReceived(bytes([octet]))
        hop.pass_time(2)
    assert "no answer in 30 s (MAIL)" in str(broke(result))
    assert hop.wire.disconnected


def test_a_transaction_has_an_end_however_many_replies_there_are() -> None:
    hop = Hop()
    result = hop.deliver()
    while not result:
        # As though replies came again and again, each in time.
        hop.connection._since = hop.clock.seconds()
        hop.pass_time(20)
    assert hop.clock.seconds() <= 4 * 3600 + 20
    assert "no end in 4 h" in str(broke(result))


def test_a_host_that_does_not_answer_quit_by_closing_is_left() -> None:
    """Under TLS a close waits for the other end, which may never come."""
    hop = Hop()
    over: list[object] = []
    Deferred.fromCoroutine(hop.connection.quit()).addBoth(over.append)
    assert hop.wire.said() == b"QUIT\r\n"
    hop.connection.dataReceived(b"221 bye\r\n")
    assert hop.wire.closing
    assert over == []
    hop.pass_time(6)
    assert over == [None]
    assert hop.clock.getDelayedCalls() == []


def test_a_host_that_refuses_the_session_is_told_goodbye_and_left() -> None:
    hop = Hop(b"554 5.7.1 not you\r\n")
    (failure,) = hop.ready
    assert failure.check(HopRefused)
    assert failure.value.reply.code == 554
    assert hop.wire.closing
    hop.pass_time(6)
    assert hop.wire.disconnected


def test_a_handshake_that_hangs_is_a_tls_failure() -> None:
    """So that clear text can follow."""
    hop = Hop(b"220 hi\r\n250-mx\r\n250 STARTTLS\r\n220 go\r\n", TlsWish.IF_OFFERED)
    assert hop.wire.tls_started
    assert hop.ready == []
    hop.pass_time(301)
    (failure,) = hop.ready
    assert failure.check(TlsBroke)


def test_content_is_fetched_as_the_wire_takes_it() -> None:
    hop = Hop()
    fetched: Deferred[bytes | None] = Deferred()
    result = hop.deliver([b"one\r\n", b"two\r\n", fetched, None], small=None)
    hop.connection.dataReceived(b"250 ok\r\n250 ok\r\n354 go\r\n")
    assert hop.wire.said().endswith(b"DATA\r\none\r\ntwo\r\n")
    hop.connection.pauseProducing()
    fetched.callback(b"three\r\n")
    assert hop.wire.said() == b"three\r\n"
    assert hop.content.endings == []
    hop.connection.resumeProducing()
    assert hop.content.endings == [((0,), b"")]
    assert hop.wire.said() == b".\r\n"
    hop.connection.dataReceived(b"250 done\r\n")
    assert codes(result) == [250]


def test_a_host_that_stops_reading_is_left() -> None:
    hop = Hop()
    result = hop.deliver([b"one\r\n", b"two\r\n", None], small=None)
    hop.connection.pauseProducing()
    paused: Callable[[], None] = hop.connection.pauseProducing
    hop.wire.write = lambda _: paused()  # type: ignore[method-assign]
    hop.connection.dataReceived(b"250 ok\r\n250 ok\r\n354 go\r\n")
    hop.pass_time(21)
    assert "no answer in 20 s (BLOCK)" in str(broke(result))


def test_content_that_the_spool_does_not_give_is_no_fault_of_the_host() -> None:
    hop = Hop()
    result = hop.deliver([], small=None)
    hop.connection.dataReceived(b"250 ok\r\n250 ok\r\n354 go\r\n")
    assert broke(result, NoContent)
    assert hop.wire.disconnected


def test_content_that_is_refused_before_its_end_is_cut_off() -> None:
    hop = Hop()
    fetched: Deferred[bytes | None] = Deferred()
    result = hop.deliver([b"one\r\n", fetched], small=None)
    hop.connection.dataReceived(b"250 ok\r\n250 ok\r\n354 go\r\n")
    hop.connection.dataReceived(b"552 too much\r\n")
    assert codes(result) == [552]
    assert hop.wire.disconnected
    hop.wire.clear()
    fetched.callback(b"two\r\n")
    assert hop.wire.value() == b""
    assert not hop.connection.is_usable


@pytest.mark.parametrize(("said", "after_dot"), [(b"", False), (b"354 go\r\n", True)])
def test_a_loss_says_whether_the_message_may_have_arrived(
    said: bytes, after_dot: bool
) -> None:
    hop = Hop()
    result = hop.deliver()
    hop.connection.dataReceived(b"250 ok\r\n250 ok\r\n" + said)
    hop.connection.connectionLost(Failure(ConnectionDone()))
    problem = broke(result)
    assert problem.after_dot is after_dot
    assert not problem.unused


def test_a_connection_that_is_gone_takes_no_transaction() -> None:
    hop = Hop()
    hop.connection.connectionLost(Failure(ConnectionDone()))
    assert broke(hop.deliver()).unused
    over: list[object] = []
    Deferred.fromCoroutine(hop.connection.quit()).addBoth(over.append)
    assert over == [None]


CHUNKS: Final = b"220 hi\r\n250-mx\r\n250-CHUNKING\r\n250 BINARYMIME\r\n"


@pytest.mark.rfc("3030", "2")
def test_chunks_are_fetched_as_they_are_answered() -> None:
    """The host does not pipeline; its last answer is what counts."""
    hop = Hop(CHUNKS)
    result = hop.deliver(
        [b"one", b"two", b"three", None], small=None, body=Body.BINARY_MIME
    )
    hop.connection.dataReceived(b"250 ok\r\n")
    hop.connection.dataReceived(b"250 ok\r\n")
    hop.wire.said()
    assert hop.content.endings == []
    hop.connection.dataReceived(b"250 ok\r\n")
    assert hop.wire.said() == b"BDAT 3\r\ntwo"
    hop.connection.dataReceived(b"250 ok\r\n")
    assert hop.content.endings == [((0,), b"")]
    assert hop.wire.said() == b"BDAT 5 LAST\r\nthree"
    hop.connection.dataReceived(b"250 done\r\n")
    assert codes(result) == [250]
    assert hop.connection.is_usable


def test_a_chunk_that_is_refused_stops_the_rest() -> None:
    hop = Hop(CHUNKS)
    fetched: Deferred[bytes | None] = Deferred()
    result = hop.deliver([b"one", b"two", fetched], small=None, body=Body.BINARY_MIME)
    hop.connection.dataReceived(b"250 ok\r\n")
    hop.connection.dataReceived(b"250 ok\r\n")
    hop.connection.dataReceived(b"552 too much\r\n")
    assert codes(result) == [552]
    assert hop.wire.disconnected
    assert hop.content.endings == []


@pytest.mark.rfc("3030", "2")
@pytest.mark.parametrize("last", [b"four", None])
def test_no_chunk_follows_one_that_was_refused_while_it_was_fetched(
    last: bytes | None,
) -> None:
    """Others are still to be answered, so the connection stands."""
    hop = Hop(CHUNKS.replace(b"250-CHUNK", b"250-PIPELINING\r\n250-CHUNK"))
    fetched: Deferred[bytes | None] = Deferred()
    result = hop.deliver(
        [b"one", b"two", b"three", fetched], small=None, body=Body.BINARY_MIME
    )
    hop.connection.dataReceived(b"250 ok\r\n250 ok\r\n")
    assert hop.wire.said().endswith(b"BDAT 3\r\noneBDAT 3\r\ntwo")
    hop.connection.dataReceived(b"552 too much\r\n")
    fetched.callback(last)
    assert hop.wire.said() == b""
    assert (result, hop.content.endings) == ([], [])
    hop.connection.dataReceived(b"503 no more\r\n")
    assert codes(result) == [552]
    assert hop.wire.disconnected


def test_a_loss_behind_the_last_chunk_says_that_it_may_have_arrived() -> None:
    hop = Hop(CHUNKS)
    result = hop.deliver(body=Body.BINARY_MIME)
    hop.connection.dataReceived(b"250 ok\r\n")
    hop.connection.dataReceived(b"250 ok\r\n")
    assert hop.wire.said().endswith(b"BDAT 6 LAST\r\ntext\r\n")
    hop.wire.abortConnection()
    assert broke(result).after_dot
