"""What the embedded servers have in common: how they start and end."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.python import log
from twisted.python.failure import Failure

from demo.settings import HOST, Unusable
from submitd.tls.server import ServerTls, TlsFiles, UnusableCertificate


def serve(listen: Callable[[Any], int]) -> None:
    """Listen, say on which port, and serve until standard input ends.

    So nothing is left behind, however the parent ended. ``listen`` gets the
    reactor and gives the port; it may raise Unusable.
    """
    from twisted.internet import reactor

    # Ctrl-C reaches every process of the terminal; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log.startLogging(sys.stderr, setStdout=False)
    try:
        port = listen(reactor)
    except CannotListenError as problem:
        raise SystemExit(
            f"port {problem.port} of {HOST} cannot be had: {problem.socketError}"
        ) from problem
    except Unusable as problem:
        raise SystemExit(str(problem)) from problem
    print(f"ready {port}", flush=True)
    StandardIO(_UntilTheEnd(reactor))
    reactor.run(installSignalHandlers=False)  # type: ignore[call-arg]


def tls_of(certificate: Path, key: Path) -> ServerTls:
    """A server's side of TLS. Raises Unusable."""
    try:
        return ServerTls(TlsFiles(certificate=certificate, key=key).load())
    except UnusableCertificate as problem:
        raise Unusable(str(problem)) from problem


class _UntilTheEnd(Protocol):
    def __init__(self, reactor: Any) -> None:  # noqa: ANN401
        self._reactor = reactor

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        self._reactor.stop()
