"""A submission server on loopback, as a dialogue sees it from a real client."""

import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from twisted.internet.interfaces import IListeningPort

from submitd.mail.trace import TlsFacts
from submitd.observe.metrics import Metrics
from submitd.sasl.channel import Channel
from submitd.server.factory import SubmissionFactory
from submitd.server.limits import Room, Strangers
from submitd.server.submission import TimeLimits
from submitd.smtp.server import ServerSession
from submitd.tls.server import ServerTls
from tests.support.recorded_events import RecordedEvents
from tests.support.session_peer import LOGGED_IN, StandInDesk, make_session

_PATIENCE: Final = 10.0


class _Desk(StandInDesk):
    def tls_started(self, facts: TlsFacts, channel: Channel) -> None:
        """Nothing depends on it here."""

    def close(self) -> None:
        """Nothing is counted here."""

    def abandon(self) -> None:
        """The session is broken."""
        raise AssertionError("the session is broken")


class _Everybody:
    def opened(self, address: str | None) -> Room:  # noqa: ARG002
        return Room.FOUND

    def named(self, address: str) -> bool:  # noqa: ARG002
        return True

    def unnamed(self, address: str) -> None:
        """Nothing is counted."""

    def closed(self, address: str | None) -> None:
        """Nothing is counted."""


class LoopbackServer:
    """One listener whose sessions are as a dialogue's settings want them."""

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401 - several interfaces at once
        settings: Mapping[str, str],
        tls: ServerTls,
    ) -> None:
        self.desk = _Desk()
        self.events = RecordedEvents()
        self._session = make_session(settings)
        self.factory = SubmissionFactory(
            name="test",
            clock=reactor,
            make=self._make,
            counts=_Everybody(),
            strangers=Strangers(),
            tls=tls,
            implicit_tls=settings.get("listener", "implicit") == "implicit",
            trusted=lambda _: True,
            time_limits=TimeLimits(),
            events=self.events,
            metrics=Metrics(),
        )
        self._port: IListeningPort = reactor.listenTCP(
            0, self.factory, interface="127.0.0.1"
        )

    def _make(self, session_id: str, client: str) -> tuple[ServerSession, _Desk]:  # noqa: ARG002
        return self._session, self.desk

    @property
    def port(self) -> int:
        """Where it listens."""
        where: Any = self._port.getHost()
        return int(where.port)

    async def close(self) -> None:
        """Listen no more, and wait for the end of the connection."""
        stopping = self._port.stopListening()
        if stopping is not None:
            await stopping
        await self.factory.shut_down(1.0)


class SocketPeer:
    """The client's end. It blocks where something is to be waited for."""

    def __init__(self, server: LoopbackServer, ca: Path, *, implicit: bool) -> None:
        self._server = server
        self._trust = ssl.create_default_context(cafile=ca)
        self._socket: socket.socket = socket.create_connection(
            ("127.0.0.1", server.port), _PATIENCE
        )
        self._heard = b""
        self._is_closed = False
        if implicit:
            self.start_tls()

    def wait(self, holds: Callable[[], bool]) -> None:
        """Until it holds, or for so long that it never will."""
        deadline = time.monotonic() + _PATIENCE
        while not holds() and time.monotonic() < deadline:
            time.sleep(0.001)  # noqa: TID251 - the other end is at work

    def log_in(self) -> None:
        """Say EHLO, log in as alice, and forget what was said."""
        self.send(b"EHLO client.example.org\r\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n")
        self.wait(lambda: LOGGED_IN.encode() in self.said)
        self._heard = b""

    def greeted(self) -> None:
        """Wait for the greeting."""
        self.wait(lambda: b"\r\n" in self.said)

    @property
    def said(self) -> bytes:
        """What has come up to now."""
        self._listen()
        return self._heard

    def _listen(self) -> None:
        while not self._is_closed:
            self._socket.settimeout(0)
            try:
                octets = self._socket.recv(65536)
            except (BlockingIOError, ssl.SSLWantReadError):
                break
            except OSError:
                octets = b""
            self._is_closed = not octets
            self._heard += octets

    @property
    def is_closed(self) -> bool:
        """As `Peer.is_closed`."""
        self._listen()
        return self._is_closed

    @property
    def accepted(self) -> list[bytes]:
        """As `Peer.accepted`."""
        return self._server.desk.accepted

    def send(self, octets: bytes) -> None:
        """As `Peer.send`. A server that has closed need not hear it."""
        self._socket.settimeout(_PATIENCE)
        with suppress(OSError):
            self._socket.sendall(octets)

    def start_tls(self) -> None:
        """As `Peer.start_tls`."""
        self._socket.settimeout(_PATIENCE)
        self._socket = self._trust.wrap_socket(
            self._socket, server_hostname="localhost"
        )

    def leave(self) -> None:
        """As `Peer.leave`."""
        self._is_closed = True
        self._socket.close()
