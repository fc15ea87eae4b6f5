"""A program of ours that a supervisor starts, with a pipe to it."""

import os
import sys
from typing import Any, Final

from twisted.internet.interfaces import IReactorProcess
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from submitd.process.pipe import Handlers, Pipe

FROM_CHILD: Final = 3
"""The child's descriptor for what it says; it hears on its standard input."""


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

    def start(self, module: str) -> None:
        """Start it."""
        IReactorProcess(self._reactor).spawnProcess(
            self,
            sys.executable,
            # -P: what lies in the working directory is none of our modules.
            [sys.executable, "-P", "-m", module],
            env=os.environ,
            childFDs={0: "w", 1: 1, 2: 2, FROM_CHILD: "r"},
        )

    def kill(self) -> None:
        """End it at once."""
        if self.transport is not None and self.transport.pid is not None:
            self.transport.signalProcess("KILL")

    def over(self, how: str) -> None:
        """It has ended; ``how`` in words."""
        raise NotImplementedError

    def connectionMade(self) -> None:
        self.pipe.makeConnection(_ToChild(self.transport))

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: ARG002
        self.pipe.dataReceived(data)

    def processEnded(self, reason: Failure) -> None:
        self.pipe.connectionLost(reason)
        how = getattr(reason.value, "signal", None)
        code = getattr(reason.value, "exitCode", None)
        self.over(f"signal {how}" if how else f"exit status {code}")
