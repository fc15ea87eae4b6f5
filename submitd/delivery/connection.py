"""A connection to a next hop: bytes between a transport and a client session."""

from collections.abc import Sequence
from typing import Any, Final
from typing import Protocol as Interface

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IHandshakeListener, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from submitd.smtp.client import (
    ClientSession,
    ContentWanted,
    Outgoing,
    Ready,
    Refused,
    Settled,
    StartTls,
    Waiting,
)
from submitd.smtp.client_reply import BadReply


class Content(Interface):
    """A message's content, as a transaction takes it."""

    small: bytes | None
    """All of it, where it is at hand."""

    async def next(self) -> bytes | None:
        """The next piece; None at the end. What it raises is `NoContent`."""

    def ending(self, accepted: Sequence[int]) -> None:
        """The final dot is sent next, for these of the recipients."""


class ConnectionBroke(Exception):
    """The connection is gone, or of no more use. The message says why."""

    def __init__(self, reason: str, *, after_dot: bool = False, unused: bool = False):
        """``after_dot``: the content was sent whole and not answered.

        ``unused``: nothing of the transaction was answered, as with a
        connection that the remote host had closed while it was idle.
        """
        super().__init__(reason)
        self.after_dot = after_dot
        self.unused = unused


class TlsBroke(ConnectionBroke):
    """The TLS handshake failed."""


class NoContent(ConnectionBroke):
    """The spool did not give the content: no fault of the remote host."""


class HopRefused(Exception):
    """The host refused the session as a whole."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(f"{refused.reply.code} {refused.reply.text}")
        self.reply = refused.reply
        self.misconfigured = refused.misconfigured


@frozen(kw_only=True)
class TimeOuts:
    """Seconds for each step (RFC 5321 section 4.5.3.2)."""

    connect: float = 30.0
    greeting: float = 300.0
    helo: float = 300.0
    mail: float = 300.0
    rcpt: float = 300.0
    data: float = 120.0
    block: float = 180.0
    dot: float = 600.0
    quit: float = 10.0

    def of(self, waiting: Waiting) -> float:
        """How long the remote host has for this."""
        return float(getattr(self, waiting.name.lower()))


_LOOK: Final = 1.0
_LONGEST: Final = 4 * 3600.0
"""Seconds for one transaction, however busily the remote host delays it."""


@implementer(IHandshakeListener, IPushProducer)
class HopConnection(Protocol):
    """One connection. Every wait ends: by an answer, a time-out or a loss."""

    transport: Any

    def __init__(
        self,
        clock: Any,  # noqa: ANN401
        session: ClientSession,
        time_outs: TimeOuts,
        tls: Any,  # noqa: ANN401 - IOpenSSLClientConnectionCreator or None
        *,
        under_tls: bool = False,
    ) -> None:
        """``under_tls``: TLS comes first, before a word is said."""
        self._clock = clock
        self._session = session
        self._time_outs = time_outs
        self._tls = tls
        self._handshaking = under_tls
        self._answered = False
        self._timer: IDelayedCall | None = None
        self._since = 0.0
        self._begun_at = 0.0
        self._heard = 0
        self._content: Content | None = None
        self._accepted: tuple[int, ...] = ()
        self._fetching = False
        self._sending = False
        self._paused = False
        self._hung_up = False
        self._lost = False
        self.ready: Deferred[None] = Deferred()
        self._result: Deferred[Settled] | None = None
        self._closed: Deferred[None] = Deferred()

    @property
    def offered(self) -> dict[str, str]:
        """EHLO keywords."""
        return self._session.offered

    @property
    def is_usable(self) -> bool:
        """True where another transaction may be begun."""
        return not self._lost and not self._session.is_over

    def takes(self, domain: str) -> bool:
        """As `ClientSession.takes`."""
        return self._session.takes(domain)

    @property
    def under_tls(self) -> bool:
        """True where the content travels encrypted."""
        return self._session.under_tls

    async def deliver(self, outgoing: Outgoing, content: Content) -> Settled:
        """One transaction.

        Raises:
            ConnectionBroke: see there.
        """
        if not self.is_usable:
            raise ConnectionBroke("the connection was closed", unused=True)
        self._content = content
        self._answered = False
        self._begun_at = self._clock.seconds()
        waiting: Deferred[Settled] = Deferred()
        self._result = waiting
        self._session.begin(outgoing)
        self._flush()
        return await waiting

    async def quit(self) -> None:
        """Say goodbye, and wait for a short while only."""
        if self._lost:
            return
        if self._session.is_over or self._result is not None:
            self.transport.abortConnection()
        else:
            self._session.quit()
            self._flush()
        await self._closed

    def abort(self) -> None:
        """Close at once."""
        if not self._lost and self.transport is not None:
            self.transport.abortConnection()

    # Twisted calls these

    def connectionMade(self) -> None:
        self._since = self._clock.seconds()
        self.transport.setTcpNoDelay(True)
        self._watch()

    def dataReceived(self, data: bytes) -> None:
        self._answered = True
        nonsense = ""
        try:
            self._session.receive_data(data)
        except BadReply as problem:
            nonsense = str(problem)
            self._session.is_over = True
        if self._heard != self._session.heard:
            # Half a reply is no sign of life.
            self._heard = self._session.heard
            self._since = self._clock.seconds()
        # What was said before the nonsense counts: a 250 above all.
        self._take_events()
        self._flush()
        if nonsense:
            self._break(nonsense)
        elif self._session.is_over:
            self._hang_up()
        elif self._sending and not self._paused:
            # A chunk was answered: there may be room for the next one.
            self.resumeProducing()

    def _take_events(self) -> None:
        while (event := self._session.next_event()) is not None:
            match event:
                case Ready():
                    self.ready.callback(None)
                case Refused():
                    self.ready.errback(HopRefused(event))
                case StartTls():
                    self._handshaking = True
                    self.transport.startTLS(self._tls)
                    self._session.tls_started()
                case ContentWanted(accepted):
                    self._accepted = accepted
                    self._send_content()
                case Settled():
                    result, self._result = self._result, None
                    assert result is not None  # noqa: S101
                    result.callback(event)

    def _hang_up(self) -> None:
        """Close; a host that does not close its end is left to itself."""
        if self._sending:
            # Refused before its end: the rest is not sent.
            self.abort()
        elif not (self._lost or self._hung_up):
            self._hung_up = True
            self.transport.loseConnection()
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._clock.callLater(self._time_outs.quit, self._cut_off)

    def _cut_off(self) -> None:
        self._timer = None
        self.abort()

    def handshakeCompleted(self) -> None:
        self._handshaking = False

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._handshaking:
            words = reason.getErrorMessage()[:200]
            self._fail(TlsBroke(f"the TLS handshake failed: {words}"))
        else:
            self._break("the connection was lost")
        self._closed.callback(None)

    def pauseProducing(self) -> None:
        """The transport has enough."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The transport has sent what it had: more, please."""
        self._paused = False
        if not self._fetching:
            self._fetching = True
            Deferred.fromCoroutine(self._send_chunks()).addErrback(
                lambda failure: self._fail(NoContent(str(failure.value)))
            )

    def stopProducing(self) -> None:
        """The connection is gone; `connectionLost` says so."""

    # Ours

    def _send_content(self) -> None:
        assert self._content is not None  # noqa: S101
        if self._content.small is not None:
            # The usual case: all of it, and the dot, in one write.
            self._session.send_content(self._content.small)
            self._end_content()
        else:
            self._sending = True
            self._paused = False
            self.transport.registerProducer(self, True)
            self.resumeProducing()

    async def _send_chunks(self) -> None:
        assert self._content is not None  # noqa: S101
        try:
            while self._sending and not self._paused and self._has_room():
                chunk = await self._content.next()
                # A chunk may have been refused meanwhile: nothing is to follow.
                if self._lost or self._session.is_over or not self._has_room():
                    return
                if chunk is None:
                    self._sending = False
                    self.transport.unregisterProducer()
                    self._end_content()
                else:
                    self._session.send_content(chunk)
                self._flush()
        finally:
            self._fetching = False

    def _has_room(self) -> bool:
        return self._session.takes_content

    def _end_content(self) -> None:
        assert self._content is not None  # noqa: S101
        self._content.ending(self._accepted)
        self._session.end_content()

    def _flush(self) -> None:
        octets = self._session.data_to_send()
        if octets and not self._lost:
            self._since = self._clock.seconds()
            self.transport.write(octets)

    def _break(self, reason: str) -> None:
        self._fail(
            ConnectionBroke(
                reason,
                after_dot=self._session.dot_sent,
                unused=not self._answered,
            )
        )

    def _fail(self, problem: ConnectionBroke) -> None:
        self._session.is_over = True
        if not self.ready.called:
            self.ready.errback(problem)
        result, self._result = self._result, None
        if result is not None:
            result.errback(problem)
        self.abort()

    def _watch(self) -> None:
        self._timer = None
        waiting = self._session.waiting
        now = self._clock.seconds()
        if self._result is not None and now - self._begun_at >= _LONGEST:
            self._break(f"no end in {_LONGEST / 3600:g} h")
            return
        if waiting is not Waiting.NOTHING:
            limit = self._time_outs.of(waiting)
            if now - self._since >= limit:
                self._answered = True
                if self._handshaking:
                    self._fail(TlsBroke(f"no TLS handshake in {limit:g} s"))
                else:
                    self._break(f"no answer in {limit:g} s ({waiting.name})")
                return
        self._timer = self._clock.callLater(_LOOK, self._watch)
