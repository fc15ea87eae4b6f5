"""One connection: bytes between a transport and a session. Decides nothing."""

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IHandshakeListener,
    IPushProducer,
    ITLSTransport,
)
from twisted.internet.protocol import Protocol as Connection
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from submitd.mail.status import EnhancedCode
from submitd.mail.trace import TlsFacts
from submitd.observe.events import (
    SESSION_BROKEN,
    SESSION_CLOSED,
    SESSION_OPENED,
    SESSION_REFUSED,
    SESSION_TIMED_OUT,
    TLS_FAILED,
    TLS_STARTED,
)
from submitd.sasl.channel import Channel
from submitd.server.limits import settled
from submitd.smtp.conversation import Answer
from submitd.smtp.event import Event, KeysFound, SenderOffered, TlsWanted
from submitd.smtp.reply import Reply
from submitd.tls.peer import channel_of

if TYPE_CHECKING:
    from submitd.server.factory import SubmissionFactory

LOCAL_FAULT: Final = Reply(421, EnhancedCode(4, 3, 0), "Local fault, closing")
TOO_MANY: Final = Reply(
    421, EnhancedCode(4, 7, 0), "Too many connections, try again later"
)
TOO_SLOW: Final = Reply(421, EnhancedCode(4, 4, 2), "Time is up, closing")
SHUTTING_DOWN: Final = Reply(
    421, EnhancedCode(4, 3, 2), "This server is shutting down, try again in a minute"
)
NOT_A_PROXY: Final = Reply(
    554, EnhancedCode(5, 7, 1), "Only a proxy of this server may connect here"
)
NOT_TRUSTED: Final = Reply(
    554, EnhancedCode(5, 7, 1), "Not a trusted address; use port 587 or 465"
)

_MOST_UNREAD: Final = 128 * 1024
"""Octets that wait in a session while a question is open; then reading pauses."""

_A_STRANGER_S_READ: Final = 8192
"""Octets that are read at once from who has not logged in, and nothing while a question
is open: thousands may come, say much and mean nothing."""


_CUT_OFF: Final = 10.0
"""Seconds from our last words to the end of the connection, whatever it does."""


_ON_THE_WAY: Final = 3.0
"""Seconds that a stop allows between two steps of who has sent nothing yet, and
between the answer to a message and its client's QUIT."""

_LAST_WORD: Final = 1.0
"""Seconds for a client to take it, when a stop waits no longer."""

_MOST_TURNED_AWAY: Final = 200


class AnswersEvents(Protocol):
    """What a connection needs of its desk."""

    def answer(self, event: Event) -> Answer | Awaitable[Answer]:
        """Answer a session's event at once, or with something to wait for."""

    def tls_started(self, facts: TlsFacts, channel: Channel) -> None:
        """TLS is up: what the trace field will say, and what log-ins may rest on."""

    def abandon(self) -> None:
        """The session is broken: drop what it had begun."""

    def close(self) -> None:
        """The connection is gone. An answer that is still awaited may come yet."""


@frozen(kw_only=True)
class TimeLimits:
    """How long a client may take, in seconds. None: as long as it likes."""

    handshake: float | None = 60.0
    idle: float | None = 300.0
    """Between two reads (RFC 5321 section 4.5.3.2.7: at least five minutes)."""

    transaction: float | None = 1800.0
    """From MAIL to the reply after the content."""

    session: float | None = None
    log_in: float | None = 600.0
    """From the first octet to a log-in: who never does holds another's place."""


@implementer(IHalfCloseableProtocol, IHandshakeListener, IPushProducer)
class SubmissionProtocol(Connection):
    """Moves bytes between a transport and a session, and keeps time."""

    transport: Any
    """ITCPTransport, ITLSTransport and IPushProducer at once."""

    def __init__(
        self,
        factory: "SubmissionFactory",
        session_id: str,
        client: str,
        *,
        proxy: str | None = None,
        counted: bool = False,
    ) -> None:
        """``proxy``: who speaks for the client.

        ``counted``: in all, but not from its address.
        """
        self.factory: SubmissionFactory = factory
        self._id = session_id
        self._client = client
        self._proxy = proxy
        self._session, self._desk = factory.make(session_id, client)
        self._busy = True  # until admitted
        self._unread = False
        """More has come than is kept: reading pauses."""

        self._choked = False
        """The client does not read what it is told."""

        self._counted_as: str | None = None
        self._counted = counted
        self._turned_away = False
        self._most_unread = _MOST_UNREAD
        self._whole_read: int | None = None
        """Octets that the transport reads at once, while it reads less."""

        self._lost = False
        self._has_finished = False
        """The client says no more, and may still listen."""

        self._handshaking = False
        self._end = "lost"
        self._hung_up = False
        self._timer: IDelayedCall | None = None
        self._last_look: IDelayedCall | None = None

    # Twisted calls these

    def connectionMade(self) -> None:
        factory = self.factory
        self._opened_at = self._active_at = factory.clock.seconds()
        self._transaction_at: float | None = None
        self._transactions = 0
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)
        if not self._session.may_send:
            self._most_unread = 0
            self._whole_read = self.transport.bufferSize
            self.transport.bufferSize = _A_STRANGER_S_READ
        factory.add(self)
        factory.events.emit(
            SESSION_OPENED,
            session=self._id,
            client=self._client,
            proxy=self._proxy,
            at=factory.name,
        )
        if factory.implicit_tls:
            self._start_tls()
        self._watch()
        if self._proxy is None and factory.proxies is not None:
            self._turn_away(NOT_A_PROXY, "no-proxy")
        elif not factory.trusted(self._client):
            self._leave_place()
            self._turn_away(NOT_TRUSTED, "untrusted")
        else:
            self._enter()

    def dataReceived(self, data: bytes) -> None:
        self._active_at = self.factory.clock.seconds()
        session = self._session
        session.receive_data(data)
        if not (self._busy or self._choked):
            self._pump()
        elif not self._unread and session.unread > self._most_unread:
            # A client that does not wait for its answers must fill its own
            # socket, not our memory.
            self._unread = True
            self.transport.pauseProducing()

    def pauseProducing(self) -> None:
        """Enough is to be sent: no further command is answered.

        Octets are still taken, up to a bound: TLS may need some to send any.
        """
        self._choked = True

    def resumeProducing(self) -> None:
        """The client has read."""
        self._choked = False
        self._active_at = self.factory.clock.seconds()
        if not self._busy:
            self._pump()
            self._read_on()

    def stopProducing(self) -> None:
        """The connection is gone; `connectionLost` says so."""

    def handshakeCompleted(self) -> None:
        self._handshaking = False
        self._active_at = self.factory.clock.seconds()
        connection = self.transport.getHandle()
        facts = TlsFacts(
            version=connection.get_protocol_version_name(),
            cipher=connection.get_cipher_name() or "unknown",
        )
        self._desk.tls_started(facts, channel_of(connection))
        self.factory.events.emit(
            TLS_STARTED, session=self._id, version=facts.version, cipher=facts.cipher
        )

    def readConnectionLost(self) -> None:
        """The client has closed its half: what it has asked for is still answered.

        Under TLS this never comes: there an end without a word may be anybody's.
        """
        self._has_finished = True
        if not (self._busy or self._lost or self._choked):
            self._hang_up()

    def writeConnectionLost(self) -> None:
        """Our half is never closed alone."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._last_look is not None:
            self._last_look.cancel()
        factory = self.factory
        if self._handshaking and self._end == "lost":
            self._end = "tls"
            factory.events.emit(
                TLS_FAILED,
                session=self._id,
                client=self._client,
                reason=reason.getErrorMessage()[:200],
            )
        self._session.connection_lost()
        self._desk.close()
        factory.strangers.discard(self)
        self._leave_place()
        if self._turned_away:
            factory.turning_away -= 1
        factory.metrics.sessions.labels(self._end).inc()
        factory.events.emit(
            SESSION_CLOSED,
            session=self._id,
            client=self._client,
            end=self._end,
            reply=self._ended_with if self._end == "sent-away" else None,
        )
        if not self._busy:
            self._pump()
        factory.remove(self)

    # Ours

    def shut_down(self) -> None:
        """End the session as soon as no transaction is under way.

        Who has just come is on the way to a first one, and who has just sent is
        on the way out: they are told when nothing was heard for a moment.
        """
        session = self._session
        if self._busy or self._lost or session.in_transaction or session.is_closing:
            return
        left = self._active_at + _ON_THE_WAY - self.factory.clock.seconds()
        if left <= 0:
            self._interrupt(SHUTTING_DOWN, "shutdown")
        elif self._last_look is None:
            self._last_look = self.factory.clock.callLater(left, self._look_last)

    def _look_last(self) -> None:
        self._last_look = None
        self.shut_down()

    def end_now(self) -> None:
        """Its time for a graceful end is over: say so where it can be said."""
        if self._lost:
            return
        if self._busy or self._handshaking or self._hung_up:
            self._end = "shutdown"
            self.transport.abortConnection()
            return
        self._interrupt(SHUTTING_DOWN, "shutdown")
        if self._timer is not None:
            self._timer.reset(_LAST_WORD)

    def give_way(self) -> str:
        """As `Stranger.give_way`."""
        self._counted = False
        if self._hung_up:
            self.transport.abortConnection()
        elif self._busy or self._handshaking or not self._may_be_told():
            self._abort("displaced")
        else:
            self._interrupt(TOO_MANY, "displaced")
        return self._client

    def _abort(self, end: str) -> None:
        """End it without a word; to a question that is open nobody hears the answer."""
        self._end = end
        self._session.connection_lost()
        self.transport.abortConnection()

    def _enter(self) -> None:
        factory = self.factory
        self._drive(
            self._enter_by(
                settled(factory.counts.named(self._client))
                if self._counted
                else factory.find_room(self._client, lambda: self._lost),
                was_counted=self._counted,
            )
        )

    async def _enter_by(self, admission: Awaitable[bool], *, was_counted: bool) -> None:
        if not await admission:
            if not self._lost:
                self._leave_place()
                self._turn_away(TOO_MANY, "limit")
        elif not self._lost:
            self._admit()
        elif was_counted:
            # Its place among all was given back when it was lost.
            self.factory.counts.unnamed(self._client)
        else:
            self.factory.counts.closed(self._client)

    def _admit(self) -> None:
        self._counted, self._counted_as = True, self._client
        if not self._session.may_send:
            self.factory.strangers.add(self, self._client)
        self._session.greet()
        self._begin()

    def _begin(self) -> None:
        self._busy = False
        # It may have talked before it was spoken to.
        self._read_on()
        self._pump()

    def _leave_place(self) -> None:
        if self._counted:
            self._counted = False
            self.factory.counts.closed(self._counted_as)

    def _may_be_told(self) -> bool:
        """Those who hear why they must go are uncounted for a while: a few only."""
        if self.factory.turning_away >= _MOST_TURNED_AWAY:
            return False
        self._turned_away = True
        self.factory.turning_away += 1
        return True

    def _turn_away(self, answer: Reply, why: str) -> None:
        self.factory.events.emit(
            SESSION_REFUSED, session=self._id, client=self._client, reason=why
        )
        self._end = why
        if not self._may_be_told():
            self.transport.abortConnection()
            return
        self._session.refuse(answer)
        self._begin()

    def _start_tls(self) -> None:
        tls = self.factory.tls
        assert tls is not None, "a listener with TLS has a certificate"  # noqa: S101
        self._handshaking = True
        ITLSTransport(self.transport).startTLS(tls)

    def _pump(self) -> None:
        """Answer each complete command in the buffer, one after another."""
        session = self._session
        try:
            while not self._choked or session.is_closing:
                event = session.next_event()
                if event is None:
                    if not session.is_full:
                        break
                    self._flush()
                    continue
                if type(event) is TlsWanted:
                    # 220 must leave in clear text, before the handshake.
                    self._flush()
                    self._start_tls()
                    session.answer(None)
                    continue
                if (
                    type(event) is SenderOffered
                    and self.factory.stopping
                    and session.transactions
                ):
                    # One message is let through, not all that would follow.
                    self._end = "shutdown"
                    session.answer(SHUTTING_DOWN)
                    continue
                answer = self._desk.answer(event)
                if answer is None or type(answer) is Reply or type(answer) is KeysFound:
                    session.answer(answer)
                    continue
                self._set_busy(is_busy=True)
                self._drive(self._answer_later(answer))  # type: ignore[arg-type]
                return
            self._settle()
        except Exception as fault:  # noqa: BLE001
            self._give_up(fault)

    def _drive(self, work: Awaitable[None]) -> None:
        Deferred.fromCoroutine(work).addErrback(self._failed)  # type: ignore[arg-type]

    def _failed(self, failure: Failure) -> None:
        self._give_up(failure.value)

    async def _answer_later(self, answer: Awaitable[Answer]) -> None:
        self._flush()
        result = await answer
        self._session.answer(result)
        self._set_busy(is_busy=False)
        # The client's clock starts when it can do something again.
        self._active_at = now = self.factory.clock.seconds()
        if min(self._left_in_all(now), default=1.0) <= 0 and not (
            self._lost or self._session.is_closing
        ):
            # What is pipelined leaves no other moment to end it.
            self._time_out()
            return
        self._read_on()
        self._pump()

    def _set_busy(self, *, is_busy: bool) -> None:
        self._busy = is_busy
        self._see_who_it_is()
        if self._whole_read is not None:
            self.factory.strangers.answering(self, is_open=is_busy)

    def _see_who_it_is(self) -> None:
        """Who has logged in is read from in whole, and gives way to nobody."""
        if self._whole_read is not None and self._session.may_send:
            self.transport.bufferSize = self._whole_read
            self._whole_read, self._most_unread = None, _MOST_UNREAD
            self.factory.strangers.discard(self)

    def _read_on(self) -> None:
        if self._unread and not (self._choked or self._lost):
            self._unread = False
            self.transport.resumeProducing()

    def _settle(self) -> None:
        """Nothing to do until more bytes come: all replies leave in one write."""
        session = self._session
        self._flush()
        self._see_who_it_is()
        if session.in_transaction:
            if self._transactions != session.transactions:
                # Each has its own time, though they come one behind the other.
                self._transactions = session.transactions
                self._transaction_at = self.factory.clock.seconds()
        else:
            self._transaction_at = None
            if self.factory.stopping:
                self.shut_down()
        if session.is_closing and not self._lost:
            if self._end == "lost":
                said_quit = self._ended_with is None
                self._end = "quit" if said_quit else "sent-away"
            self._hang_up()
        elif self._has_finished and not (self._lost or self._choked):
            self._hang_up()

    @property
    def _ended_with(self) -> str | None:
        """What the client heard at the end; None: it said QUIT, or was just gone."""
        words = self._session.last_words
        return None if words is None or words.code == 221 else words.text

    def _hang_up(self) -> None:
        """Close. A client that neither reads nor closes its end is cut off."""
        if self._hung_up:
            return
        self._hung_up = True
        self.factory.strangers.leaving(self)
        # TLS closes when there is nobody left who could have more to say.
        self.transport.unregisterProducer()
        self.transport.loseConnection()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.factory.clock.callLater(_CUT_OFF, self._cut_off)

    def _flush(self) -> None:
        octets = self._session.data_to_send()
        if octets and not self._lost:
            self.transport.write(octets)

    def _give_up(self, fault: BaseException | None) -> None:
        # The only place where a bug of ours becomes a reply. What it says of
        # itself stays in our log: it may name hosts, paths or credentials.
        self.factory.events.failure(SESSION_BROKEN, fault, session=self._id)
        self._end = "broken"
        self._busy = True  # a broken session answers nothing more
        self._desk.abandon()
        if not self._lost:
            self.transport.write(LOCAL_FAULT.encode())
            self._hang_up()

    def _interrupt(self, answer: Reply, end: str) -> None:
        self._end = end
        self._session.interrupt(answer)
        self._pump()

    def _watch(self) -> None:
        """Look at the clock once an interval, not once a read."""
        left = self._left(self.factory.clock.seconds())
        self._timer = None
        if left and min(left) <= 0:
            self._time_out()
            return
        # A question that is open may be answered at any time; look again soon.
        wait = min([*left, self.factory.look_again])
        self._timer = self.factory.clock.callLater(max(wait, 0.05), self._watch)

    def _left(self, now: float) -> list[float]:
        """Seconds that each limit leaves it; empty: none holds now."""
        limits = self.factory.time_limits
        if self._handshaking and limits.handshake is not None:
            return [self._active_at + limits.handshake - now]
        if self._busy:
            # Who may send is not cut off: what we have just taken would come again.
            return [] if self._session.may_send else self._left_in_all(now)
        left = self._left_in_all(now)
        if limits.idle is not None:
            left.append(self._active_at + limits.idle - now)
        if limits.transaction is not None and self._transaction_at is not None:
            left.append(self._transaction_at + limits.transaction - now)
        return left

    def _left_in_all(self, now: float) -> list[float]:
        """… of those that hold also while a question is open."""
        limits = self.factory.time_limits
        left: list[float] = []
        if limits.session is not None:
            left.append(self._opened_at + limits.session - now)
        if limits.log_in is not None and not self._session.may_send:
            left.append(self._opened_at + limits.log_in - now)
        return left

    def _time_out(self) -> None:
        self.factory.events.emit(
            SESSION_TIMED_OUT, session=self._id, client=self._client
        )
        if self._handshaking or self._busy:
            self._abort("time-out")
        else:
            self._interrupt(TOO_SLOW, "time-out")

    def _cut_off(self) -> None:
        self._timer = None
        if not self._lost:
            self.transport.abortConnection()
