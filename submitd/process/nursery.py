"""The process of which workers are forks: what they share is in memory once.

It is itself a fork of the supervisor, made before there is a thread or a turn
of the event loop. Where that one has died, its successor is a new program,
``python -m submitd.process.nursery``, and from there on all is the same.

On its control socket (SOCK_SEQPACKET) it hears the number of a worker, with the
descriptors that it gets; it answers, in JSON, with the worker's pid and pidfd,
and says how each of them has ended.
"""

import ctypes
import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from typing import Any, Final, NoReturn

from twisted.internet.default import install
from twisted.logger import LogPublisher, globalLogPublisher

from submitd.process.worker import run_worker

CONTROL: Final = 3
"""The descriptor of the control socket, in a nursery that is a program."""

_MOST_DESCRIPTORS: Final = 253
"""The kernel passes no more at once (unix(7))."""

_LONGEST: Final = 1024
_PR_SET_NAME: Final = 15

# For the C library, by malloc.h's numbers (mallopt(3)): what large messages took
# goes back to the system. Otherwise each thread keeps an arena of its own, and the
# heap its high water.
_ALLOCATION: Final = {
    "M_ARENA_MAX": (-8, 2),
    "M_MMAP_THRESHOLD": (-3, 128 * 1024),
    "M_TRIM_THRESHOLD": (-1, 128 * 1024),
}


def share_memory() -> None:
    """Before a fork: what is here is never again looked through for garbage.

    That writes to each object, and what is written to is a process's own.
    """
    gc.collect()
    gc.freeze()


def run_nursery(control: socket.socket) -> NoReturn:
    """Fork a worker whenever the supervisor says so; end when it is gone."""
    try:
        _become_one(control)
        _Nursery(control).run()
    except BaseException:  # noqa: BLE001 - what stands above us is the supervisor's
        traceback.print_exc()
        os._exit(os.EX_SOFTWARE)


def _become_one(control: socket.socket) -> None:
    """Leave behind what belonged to the process that we were."""
    # What a terminal or a service manager says to all of a group is for the
    # supervisor: it tells us, and the workers, what to do.
    for one in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    # Anew: what the supervisor's log has for observers is the supervisor's.
    LogPublisher.__init__(globalLogPublisher)
    _let_go_of_descriptors(control.fileno())
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):  # musl has none
        for parameter, value in _ALLOCATION.values():
            libc.mallopt(parameter, value)
    _call_process("submitd-nursery")


def _let_go_of_descriptors(control: int) -> None:
    """Close what we inherited.

    The numbers stay taken: an object of the supervisor's that closes "its"
    descriptor some day must not close one of ours.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - not paths: numbers
        number = int(name)
        if number > 2 and number not in (control, nothing):
            try:
                os.fstat(number)
            except OSError:
                continue  # the listing's own
            os.dup2(nothing, number, inheritable=False)
    os.close(nothing)


def _call_process(name: str) -> None:
    # Its file in /proc is root's alone after a change of user.
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode("ascii"), 0, 0, 0)


class _Nursery:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._workers: dict[int, int] = {}
        """Their numbers, by pidfd."""

        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)

    def run(self) -> NoReturn:
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor != self._control.fileno():
                    self._bury(descriptor)
                    continue
                message, descriptors, *_ = socket.recv_fds(
                    self._control, _LONGEST, _MOST_DESCRIPTORS
                )
                if not message:
                    os._exit(0)
                self._fork(int(message), descriptors)

    def _fork(self, number: int, descriptors: list[int]) -> None:
        try:
            pid = os.fork()
        except OSError as problem:
            how = f"cannot be forked: {problem.strerror}"
            self._say("ended", number=number, how=how)
        else:
            if pid == 0:
                self._become_worker(number, descriptors)
            pidfd = os.pidfd_open(pid)
            self._workers[pidfd] = number
            self._poll.register(pidfd, select.POLLIN)
            self._say("begun", pidfd, number=number, pid=pid)
        for descriptor in descriptors:
            os.close(descriptor)

    def _become_worker(self, number: int, descriptors: list[int]) -> NoReturn:
        self._control.close()
        for pidfd in self._workers:
            os.close(pidfd)
        _call_process(f"submitd-{number}")
        _new_reactor()
        pipe, *shared = descriptors
        code = run_worker(pipe, shared)
        sys.stderr.flush()
        # What stands above us on the stack, and at the exit, is not ours to end.
        os._exit(code)

    def _bury(self, pidfd: int) -> None:
        ended = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        assert ended is not None  # noqa: S101 - only WNOHANG gives None
        self._poll.unregister(pidfd)
        os.close(pidfd)
        exited = ended.si_code == os.CLD_EXITED
        how = f"{'exit status' if exited else 'signal'} {ended.si_status}"
        self._say("ended", number=self._workers.pop(pidfd), how=how)

    def _say(self, what: str, *descriptors: int, **facts: object) -> None:
        message = json.dumps({"what": what, **facts}).encode("ascii")
        socket.send_fds(self._control, [message], descriptors)


def _new_reactor() -> None:
    """Twisted has one reactor for a process: ours is not the supervisor's."""
    old: Any = sys.modules.pop("twisted.internet.reactor", None)
    install()
    if old is not None:
        from twisted.internet import reactor

        # ldaptor has imported it by name.
        for module in tuple(sys.modules.values()):
            if vars(module).get("reactor") is old:
                module.reactor = reactor  # type: ignore[attr-defined]


if __name__ == "__main__":
    share_memory()
    run_nursery(socket.socket(fileno=CONTROL))
