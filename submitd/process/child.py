"""Workers, and the nursery that forks them, as their supervisor sees them."""

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.stdio import StandardIO
from twisted.internet.threads import deferToThread

from submitd.process.nursery import CONTROL, run_nursery, share_memory
from submitd.process.pipe import Handlers, Pipe

_LONGEST: Final = 1024
"""Octets of a nursery's message."""

_PATIENCE: Final = 2.0
"""Seconds that a nursery has to say how a worker ended, before it is ended itself."""

_NOBODY_KNOWS: Final = "nobody knows how: its nursery had died"


class Child:
    """One worker: started, told to drain, ended at last by force."""

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401 - several reactor interfaces at once
        name: str,
        handlers: Handlers,
        on_begin: Callable[["Child"], None],
        on_end: Callable[["Child", str], None],
    ) -> None:
        """``on_end`` is called with this child and how it ended."""
        self._reactor = reactor
        self.name = name
        self.pipe = Pipe(reactor, {**handlers, "ready": self._is_ready}, self._said_all)
        self.pid: int | None = None
        self.ready = False
        self.draining = False
        self.unanswered = 0
        """Questions in a row."""

        self.started_at = IReactorTime(reactor).seconds()
        self.became_ready: Deferred[bool] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self._on_begin = on_begin
        self._on_end = on_end
        self._pidfd: _Pidfd | None = None
        self._pipe_is_lost = False
        self._how = ""
        self._is_orphan = False
        self._patience: IDelayedCall | None = None
        self._force: IDelayedCall | None = None

    def start(self, nursery: "Nursery", number: int, shared: Sequence[int]) -> None:
        """Have it forked; ``shared`` descriptors are its own, too."""
        self._nursery = nursery
        ours, theirs = socket.socketpair()
        self._descriptors = os.dup(ours.fileno()), ours.detach()
        with theirs:
            hears, says = self._descriptors
            StandardIO(  # type: ignore[call-arg]  # mypy sees Windows' form
                self.pipe, stdin=hears, stdout=says, reactor=self._reactor
            )
            nursery.fork(self, number, [theirs.fileno(), *shared])

    def begun(self, pid: int, pidfd: int) -> None:
        """It runs, says its nursery."""
        self.pid = pid
        self._pidfd = _Pidfd(self._reactor, pidfd, self._is_gone)
        self._pidfd.startReading()
        self._on_begin(self)

    def orphaned(self) -> None:
        """Its nursery is gone: nobody will say how it ends."""
        self._is_orphan = True
        if self._pidfd is None:
            # If it was forked at all it ends of this.
            self.pipe.hang_up()
            self.over("its nursery died before it began")
        elif self._patience is not None:
            self.over(_NOBODY_KNOWS)

    def drain(self, grace: float) -> None:
        """Tell the worker to finish; it is killed 5 s after its ``grace``."""
        if self.draining:
            return
        self.draining = True
        self.ready = False
        self.pipe.tell("drain", grace=grace)
        self._force = self._reactor.callLater(grace + 5, self.kill)

    def kill(self) -> None:
        """End it at once."""
        if self._pidfd is not None:
            self._pidfd.kill()
        elif not self._how:
            # It is the nursery that does nothing.
            self._nursery.kill()

    def over(self, how: str) -> None:
        """It has ended; ``how`` in words."""
        self._how = how
        if self._pidfd is not None:
            self._pidfd.close()
            self._pidfd = None
        if self._patience is not None and self._patience.active():
            self._patience.cancel()
        self._end_when_all_is_said()

    def _is_gone(self) -> None:
        if self._is_orphan:
            self.over(_NOBODY_KNOWS)
        else:
            self._patience = self._reactor.callLater(_PATIENCE, self._nursery.kill)

    def _said_all(self) -> None:
        self._pipe_is_lost = True
        # StandardIO leaves them open: they might be our own input and output.
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._end_when_all_is_said()

    def _end_when_all_is_said(self) -> None:
        # Its last figures may still be in the pipe.
        if not (self._how and self._pipe_is_lost):
            return
        self.ready = False
        if self._force is not None and self._force.active():
            self._force.cancel()
        if not self.became_ready.called:
            self.became_ready.callback(False)
        self._on_end(self, self._how)
        self.ended.callback(None)

    def _is_ready(self) -> None:
        self.ready = True
        if not self.became_ready.called:
            self.became_ready.callback(True)


class _Pidfd(FileDescriptor):
    """A process that is not our own child: readable when it has ended."""

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401
        number: int,
        on_end: Callable[[], None],
    ) -> None:
        super().__init__(reactor)
        self._number = number
        self._on_end = on_end

    def fileno(self) -> int:
        return self._number

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._number, signal.SIGKILL)

    def close(self) -> None:
        self.stopReading()
        os.close(self._number)

    def doRead(self) -> None:
        self.stopReading()
        self._on_end()


class Nursery:
    """The process that forks workers: `process.nursery`."""

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401 - several reactor interfaces at once
        on_death: Callable[[int], None],
    ) -> None:
        """``on_death`` is called with its pid when it has ended by itself."""
        self._reactor = reactor
        self._on_death = on_death
        self._control: _Control | None = None
        self._children: dict[int, Child] = {}
        self.pid: int | None = None
        self._is_fork = False

    def start(self) -> "_Control":
        """Fork it, while we are a process of one thread; else it is a program.

        Raises:
            OSError: there is no process to be had.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._is_fork = not self._reactor.running and threading.active_count() == 1
            if not self._is_fork:
                self.pid = (
                    IReactorProcess(self._reactor)
                    .spawnProcess(
                        ProcessProtocol(),
                        sys.executable,
                        # -P: what lies in the working directory is none of our modules.
                        [sys.executable, "-P", "-m", "submitd.process.nursery"],
                        env=os.environ,
                        childFDs={0: 0, 1: 1, 2: 2, CONTROL: theirs.fileno()},
                    )
                    .pid
                )
            else:
                share_memory()
                self.pid = os.fork()
                if self.pid == 0:
                    run_nursery(theirs)
        self._control = _Control(self._reactor, ours, self._heard, self._lost)
        self._control.startReading()
        return self._control

    def fork(self, child: Child, number: int, descriptors: Sequence[int]) -> None:
        """Have ``child`` forked; it hears whether it was, and how it ended."""
        self._children[number] = child
        try:
            control = self._control or self.start()
            control.send(b"%d" % number, descriptors)
        except OSError as problem:
            self._over(number, f"cannot be started: {problem.strerror}")

    def kill(self) -> None:
        """End it by force; its workers go on."""
        if self.pid is not None:
            # It is our own child, and unless we have heard of its end nobody has
            # waited for it.
            os.kill(self.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Let it end: no worker is needed any more."""
        if self._control is not None:
            self._control.close()
            self._control = None

    def _heard(self, message: bytes, descriptors: list[int]) -> None:
        facts = json.loads(message)
        if facts["what"] == "begun":
            self._children[facts["number"]].begun(facts["pid"], *descriptors)
        else:
            self._over(facts["number"], facts["how"])

    def _over(self, number: int, how: str) -> None:
        self._children.pop(number).over(how)

    def _lost(self) -> None:
        self.stop()
        assert self.pid is not None  # noqa: S101 - it has been started
        if self._is_fork:
            deferToThread(os.waitpid, self.pid, 0)
        self._on_death(self.pid)
        self.pid = None
        orphans, self._children = self._children, {}
        for child in orphans.values():
            child.orphaned()


class _Control(FileDescriptor):
    """Our end of a nursery's control socket."""

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401
        ours: socket.socket,
        on_message: Callable[[bytes, list[int]], None],
        on_lost: Callable[[], None],
    ) -> None:
        super().__init__(reactor)
        ours.setblocking(False)
        self._socket = ours
        self._on_message = on_message
        self._on_lost = on_lost

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: bytes, descriptors: Sequence[int]) -> None:
        socket.send_fds(self._socket, [message], descriptors)

    def close(self) -> None:
        self.stopReading()
        self._socket.close()

    def doRead(self) -> None:
        try:
            message, descriptors, *_ = socket.recv_fds(
                self._socket, _LONGEST, 1, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except ConnectionError:
            message, descriptors = b"", []
        if message:
            self._on_message(message, descriptors)
        else:
            self._on_lost()
