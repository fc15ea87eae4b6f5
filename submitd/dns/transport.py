"""Octets to a name server and back, over UDP and TCP (RFC 1035 section 4.2)."""

import os
import socket
from typing import Any, Final, Protocol

from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IReactorFDSet,
    IReactorTCP,
    IReadDescriptor,
    ITCPTransport,
)
from twisted.internet.protocol import ClientFactory, connectionDone
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from submitd.dns.servers import NameServer

_LARGEST_DATAGRAM: Final = 4096
_AT_ONCE: Final = 16
"""Datagrams read before others have their turn: nobody can flood us still."""


class Listener(Protocol):
    """Who asked, and waits."""

    def received(self, octets: bytes, source: tuple[str, int]) -> None:
        """A message came from this address and port. More may follow."""

    def broken(self, reason: str) -> None:
        """No message will come any more."""


class Channel(Protocol):
    """A way that one query went."""

    def close(self) -> None:
        """Hear nothing more of it. Closing twice does no harm."""


class Network(Protocol):
    """Sends queries. The listener is never called before `Channel` is returned."""

    def send_datagram(
        self, server: NameServer, octets: bytes, listener: Listener
    ) -> Channel:
        """Send a query from a port of its own that nobody can guess.

        Raises:
            OSError: it could not be sent.
        """

    def send_stream(
        self, server: NameServer, octets: bytes, listener: Listener
    ) -> Channel:
        """Send a query over TCP. An answer has at most 65,535 octets."""


class ReactorNetwork:
    """The network as the reactor gives it."""

    def __init__(self, reactor: Any) -> None:  # noqa: ANN401 - two interfaces at once
        """``reactor`` is an `IReactorFDSet` and an `IReactorTCP`."""
        self._descriptors: IReactorFDSet = IReactorFDSet(reactor)
        self._connections: IReactorTCP = IReactorTCP(reactor)

    def send_datagram(
        self, server: NameServer, octets: bytes, listener: Listener
    ) -> Channel:
        return _Datagrams(self._descriptors, server, octets, listener)

    def send_stream(
        self, server: NameServer, octets: bytes, listener: Listener
    ) -> Channel:
        stream = _Stream(server, octets, listener)
        stream.connector = self._connections.connectTCP(
            server.host, server.port, stream
        )
        return stream


@implementer(IReadDescriptor)
class _Datagrams:
    """A socket for one query.

    Not `listenUDP`: it logs each opening and closing of a port, and every
    query has a port of its own. The kernel picks that port at random; it also
    keeps out what other hosts send, since the socket is connected.
    """

    def __init__(
        self,
        descriptors: IReactorFDSet,
        server: NameServer,
        octets: bytes,
        listener: Listener,
    ) -> None:
        self._descriptors = descriptors
        self._listener = listener
        self._is_closed = False
        self._socket = socket.socket(
            socket.AF_INET6 if server.is_ipv6 else socket.AF_INET,
            socket.SOCK_DGRAM | socket.SOCK_NONBLOCK,
        )
        try:
            self._socket.connect((server.host, server.port))
            self._socket.send(octets)
        except OSError:
            self._socket.close()
            raise
        # Kept: the reactor compares it with what it polls after each event.
        self._descriptor = self._socket.fileno()
        descriptors.addReader(self)

    def fileno(self) -> int:
        return self._descriptor

    def logPrefix(self) -> str:
        return "dns"

    def doRead(self) -> None:
        for _ in range(_AT_ONCE):
            if self._is_closed:
                return
            try:
                octets, source = self._socket.recvfrom(_LARGEST_DATAGRAM)
            except BlockingIOError:
                return
            except OSError as problem:
                self._break(problem.errno)
                return
            self._listener.received(octets, (source[0], source[1]))

    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002
        """An error is pending, mostly that nobody listens on the server's port."""
        if not self._is_closed:
            self._break(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _break(self, error: int | None) -> None:
        self.close()
        self._listener.broken(os.strerror(error or 0))

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._descriptors.removeReader(self)
            self._socket.close()


class _StreamProtocol(Int16StringReceiver):
    """One query, one answer, each behind its length."""

    def __init__(self, stream: "_Stream") -> None:
        self._stream = stream

    def connectionMade(self) -> None:
        self.sendString(self._stream.octets)

    def stringReceived(self, string: bytes) -> None:  # noqa: N802 - Twisted calls this
        self._stream.received(string)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stream.broken(reason)


class _Stream(ClientFactory):
    """A connection for one query."""

    noisy = False
    connector: IConnector

    def __init__(self, server: NameServer, octets: bytes, listener: Listener) -> None:
        self.octets = octets
        self._server = server
        self._listener = listener
        self._protocol: _StreamProtocol | None = None
        self._is_closed = False

    def buildProtocol(self, addr: IAddress | None) -> _StreamProtocol:  # noqa: ARG002
        self._protocol = _StreamProtocol(self)
        return self._protocol

    def clientConnectionFailed(  # noqa: N802 - Twisted calls this
        self,
        connector: IConnector,  # noqa: ARG002
        reason: Failure,
    ) -> None:
        self.broken(reason)

    def received(self, octets: bytes) -> None:
        if not self._is_closed:
            self._listener.received(octets, (self._server.host, self._server.port))

    def broken(self, reason: Failure) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._listener.broken(f"TCP: {reason.getErrorMessage()}")

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            if self._protocol is None:
                self.connector.disconnect()
            else:
                ITCPTransport(self._protocol.transport).abortConnection()
