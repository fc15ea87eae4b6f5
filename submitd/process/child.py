"""Processes that a supervisor starts, as it sees them."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from submitd.process.pipe import Handlers, Pipe

FROM_CHILD: Final = 3
"""The child's descriptor for what it says; it hears on its standard input."""

FIRST_SHARED: Final = 4
"""The first of the descriptors that a child inherits."""


class _ToChild:
    """The transport of a pipe whose other end is a child's standard input."""

    disconnecting = False

    def __init__(self, process: Any) -> None:  # noqa: ANN401
        self._process = process

    def write(self, octets: bytes) -> None:
        self._process.writeToChild(0, octets)

    def loseConnection(self) -> None:
        self.disconnecting = True
        self._process.closeChildFD(0)


class PipedProcess(ProcessProtocol):
    """One of our own programs, with a pipe to it."""

    transport: Any

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401 - IReactorProcess and IReactorTime at once
        handlers: Handlers,
    ) -> None:
        self._reactor = reactor
        self.pipe = Pipe(reactor, handlers, lambda: None)
        self.pid: int | None = None

    def start(
        self, module: str, shared: Sequence[int], environ: dict[str, str]
    ) -> None:
        """Start it; ``shared`` descriptors become 4, 5, … in it."""
        descriptors: dict[int, int | str] = {0: "w", 1: 1, 2: 2, FROM_CHILD: "r"}
        for number, descriptor in enumerate(shared):
            descriptors[FIRST_SHARED + number] = descriptor
        IReactorProcess(self._reactor).spawnProcess(
            self,
            sys.executable,
            # -P: what lies in the working directory is none of our modules.
            [sys.executable, "-P", "-m", module],
            env=environ,
            childFDs=descriptors,
        )

    def kill(self) -> None:
        """End it at once."""
        if self.transport is not None and self.transport.pid is not None:
            self.transport.signalProcess("KILL")

    def over(self, how: str) -> None:
        """It has ended; ``how`` in words."""
        raise NotImplementedError

    def connectionMade(self) -> None:
        self.pid = self.transport.pid
        self.pipe.makeConnection(_ToChild(self.transport))

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: ARG002
        self.pipe.dataReceived(data)

    def processEnded(self, reason: Failure) -> None:
        self.pipe.connectionLost(reason)
        how = getattr(reason.value, "signal", None)
        code = getattr(reason.value, "exitCode", None)
        self.over(f"signal {how}" if how else f"exit status {code}")


class Child(PipedProcess):
    """One worker: started, told to drain, ended at last by force."""

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401 - IReactorProcess and IReactorTime at once
        name: str,
        handlers: Handlers,
        on_end: Callable[["Child", str], None],
    ) -> None:
        """``on_end`` is called with this child and how it ended."""
        super().__init__(reactor, {**handlers, "ready": self._is_ready})
        self.name = name
        self.ready = False
        self.draining = False
        self.unanswered = 0
        """Questions in a row."""

        self.started_at = IReactorTime(reactor).seconds()
        self.ended: Deferred[None] = Deferred()
        self._on_end = on_end
        self._force: IDelayedCall | None = None
        self.became_ready: Deferred[bool] = Deferred()

    def drain(self, grace: float) -> None:
        """Tell the worker to finish; it is killed 5 s after its ``grace``."""
        if self.draining:
            return
        self.draining = True
        self.ready = False
        self.pipe.tell("drain", grace=grace)
        self._force = self._reactor.callLater(grace + 5, self.kill)

    def over(self, how: str) -> None:
        self.ready = False
        if self._force is not None and self._force.active():
            self._force.cancel()
        if not self.became_ready.called:
            self.became_ready.callback(False)
        self._on_end(self, how)
        self.ended.callback(None)

    def _is_ready(self) -> None:
        self.ready = True
        if not self.became_ready.called:
            self.became_ready.callback(True)
