"""The admin socket: who may open the file may reload and look."""

import errno
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IReactorUNIX
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineOnlyReceiver
from twisted.protocols.policies import TimeoutMixin

from submitd.control import wire
from submitd.observe.events import BUG, CONTROL_REQUEST, Events

Handler = Callable[[wire.Message], Awaitable[wire.Message]]

_MOST_CLIENTS: Final = 20
_LONGEST_VISIT: Final = 300.0
"""Seconds; the longest request, a reload, takes less."""


class ControlUnavailable(Exception):
    """Nobody answers on the admin socket. The message says why."""


class _ControlProtocol(LineOnlyReceiver, TimeoutMixin):
    delimiter = b"\n"
    MAX_LENGTH = wire.LONGEST

    def __init__(
        self, handlers: Mapping[str, Handler], events: Events, clients: set[object]
    ) -> None:
        self._handlers = handlers
        self._events = events
        self._clients = clients

    def connectionMade(self) -> None:
        self._clients.add(self)
        self.setTimeout(_LONGEST_VISIT)
        if len(self._clients) > _MOST_CLIENTS and self.transport is not None:
            self.transport.loseConnection()

    def connectionLost(self, reason: object = None) -> None:  # noqa: ARG002
        self._clients.discard(self)
        self.setTimeout(None)

    def lineReceived(self, line: bytes) -> None:
        Deferred.fromCoroutine(self._answer(line))

    async def _answer(self, line: bytes) -> None:
        try:
            request = wire.decode(line)
            handler = self._handlers.get(str(request.get("do")))
            if handler is None:
                said = f"no such request: {request.get('do')!r}"
                answer = wire.encode(wire.refusal(said))
            else:
                self._events.emit(CONTROL_REQUEST, do=request["do"])
                answer = wire.encode(await handler(request))
        except wire.NotUnderstood as problem:
            answer = wire.encode(wire.refusal(str(problem)))
        except Exception as fault:  # noqa: BLE001
            # One faulty request must not end the supervisor's ear.
            self._events.failure(BUG, fault)
            answer = wire.encode(wire.refusal("an internal error; see the log"))
        self.sendLine(answer)


class ControlSocket(Service):
    """Listens on a Unix socket that only the server's own user may open."""

    def __init__(
        self,
        reactor: IReactorUNIX,
        path: Path,
        handlers: Mapping[str, Handler],
        events: Events,
    ) -> None:
        self._reactor = reactor
        self._path = path
        self._handlers = handlers
        self._events = events
        self._clients: set[object] = set()
        self._port: IListeningPort | None = None

    def startService(self) -> None:
        """Listen.

        Raises:
            OSError: the folder cannot be made, or something else has the name:
                another server's socket, or a file.
            CannotListenError: the name cannot be had for another reason.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        _make_room(self._path)
        super().startService()
        factory = Factory.forProtocol(self._build)
        factory.noisy = False
        self._port = self._reactor.listenUNIX(
            str(self._path),
            factory,  # type: ignore[arg-type]  # the stub wants an untyped factory
            mode=0o600,
        )

    def stopService(self) -> Deferred[None] | None:
        super().stopService()
        port, self._port = self._port, None
        return port.stopListening() if port is not None else None

    def _build(self) -> _ControlProtocol:
        return _ControlProtocol(self._handlers, self._events, self._clients)


def _make_room(path: Path) -> None:
    """Remove what a crash left behind: a socket that nobody listens on."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "it is there, and no socket", str(path))
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fspath(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise OSError(errno.EADDRINUSE, "another server listens there", str(path))


def request(path: Path, message: wire.Message, time_out: float) -> wire.Message:
    """Ask a running server, from a program without a reactor. Blocks.

    ``time_out`` in seconds. Raises:
        ControlUnavailable: nobody listens, or no answer came in time.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(time_out)
        try:
            connection.connect(os.fspath(path))
            connection.sendall(wire.encode(message) + b"\n")
            received = b""
            while not received.endswith(b"\n") and len(received) < wire.LONGEST:
                if not (more := connection.recv(65536)):
                    break
                received += more
            return wire.decode(received)
        except (OSError, wire.NotUnderstood) as problem:
            reason = getattr(problem, "strerror", None) or str(problem)
            raise ControlUnavailable(f"{path}: {reason}") from problem
