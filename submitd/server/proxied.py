"""A connection that a proxy makes for a client: whose it is comes first."""

from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol as Connection
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from submitd.observe.events import SESSION_BROKEN, SESSION_REFUSED
from submitd.server.limits import Room, settled
from submitd.server.proxy import BadProxyHeader, read_proxy_header
from submitd.server.submission import SubmissionProtocol

if TYPE_CHECKING:
    from submitd.server.factory import SubmissionFactory

_HEADER_TIME: Final = 10.0
"""Seconds for a PROXY header, which a proxy sends at once: three retransmissions."""


class ProxiedConnection(Connection):
    """A proxy's connection, until its header has said whose it is.

    It holds a place among all connections from the start, or waits without one where
    there is none: nobody gives way before it is known to whom.
    """

    transport: Any

    def __init__(
        self, factory: "SubmissionFactory", session_id: str, proxy: str
    ) -> None:
        self._factory = factory
        self._id = session_id
        self._proxy = proxy
        self._arrived = b""
        self._client: str | None = None
        self._counted = False
        self._waits = False
        """It has no place, and is to ask for one when its client is known."""

        self._paused = False
        self._lost = False
        self._alarm: IDelayedCall | None = None

    # Twisted calls these

    def connectionMade(self) -> None:
        factory = self._factory
        factory.expect(self)
        self._alarm = factory.clock.callLater(
            _HEADER_TIME, self._refuse, "no PROXY header came"
        )
        Deferred.fromCoroutine(self._enter()).addErrback(
            lambda failure: factory.events.failure(
                SESSION_BROKEN, failure.value, session=self._id
            )
        )

    def dataReceived(self, data: bytes) -> None:
        self._arrived += data
        if self._client is not None:
            # It is not admitted yet: what follows the header fills its own socket.
            self._paused = True
            self.transport.pauseProducing()
            return
        try:
            header = read_proxy_header(self._arrived)
        except BadProxyHeader as problem:
            self._refuse(f"bad PROXY header: {problem}")
            return
        if header is not None:
            self._client = header.client or self._proxy
            self._arrived = header.rest
            self._go_on()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        self._lost = True
        self._leave()
        if self._counted:
            self._factory.counts.closed(None)

    # Ours

    def abort(self) -> None:
        """The server stops."""
        self.transport.abortConnection()

    async def _enter(self) -> None:
        factory = self._factory
        counted = await settled(factory.counts.opened(None)) is Room.FOUND
        if self._lost:
            if counted:
                factory.counts.closed(None)
        elif counted:
            self._counted = True
            self._go_on()
        elif factory.may_wait():
            self._waits = True
            factory.waiting += 1
            self._go_on()
        else:
            self._refuse("limit")

    def _go_on(self) -> None:
        """Hand it over, where both are known: whether there is room, and for whom."""
        if not (self._counted or self._waits) or self._client is None or self._lost:
            return
        self._leave()
        counted, self._counted = self._counted, False
        transport = self.transport
        protocol = SubmissionProtocol(
            self._factory,
            self._id,
            self._client,
            proxy=self._proxy,
            counted=counted,
        )
        transport.protocol = protocol
        protocol.makeConnection(transport)
        if self._paused:
            transport.resumeProducing()
        if self._arrived:
            # With implicit TLS this is TLS's by now.
            transport.protocol.dataReceived(self._arrived)

    def _leave(self) -> None:
        self._factory.expect_no_more(self)
        if self._waits:
            self._waits = False
            self._factory.waiting -= 1
        if self._alarm is not None and self._alarm.active():
            self._alarm.cancel()

    def _refuse(self, why: str) -> None:
        if self._lost:
            return
        self._leave()
        self._factory.events.emit(
            SESSION_REFUSED, session=self._id, client=self._proxy, reason=why
        )
        # A proxy would not understand what the client should hear.
        self.transport.abortConnection()
