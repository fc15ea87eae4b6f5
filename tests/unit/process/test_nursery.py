"""The process that forks workers, as its supervisor hears it."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from submitd.process.nursery import CONTROL
from tests.support.hosts import until

_RUN = f"""
import os, socket
from submitd.process.nursery import run_nursery
{{before}}
run_nursery(socket.socket(fileno={CONTROL}))
"""


class Nursery:
    """One, with our end of its control socket."""

    def __init__(self, control: socket.socket, process: subprocess.Popen[bytes]):
        self.control = control
        self.process = process

    def fork(self, number: int) -> socket.socket:
        """Ask for a worker without listeners; gives our end of its pipe."""
        ours, theirs = socket.socketpair()
        with theirs, Path(os.devnull).open() as lock:
            descriptors = [theirs.fileno(), lock.fileno()]
            socket.send_fds(self.control, [b"%d" % number], descriptors)
        ours.settimeout(20)
        return ours

    def heard(self) -> tuple[dict[str, Any], list[int]]:
        """What it says next, with the descriptors that come along."""
        message, descriptors, *_ = socket.recv_fds(self.control, 1024, 4)
        return json.loads(message), list(descriptors)


@contextmanager
def nursery(before: str = "") -> Iterator[Nursery]:
    """A nursery that has run these lines first."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(20)
    with (
        ours,
        subprocess.Popen(
            [sys.executable, "-c", _RUN.format(before=before)],
            pass_fds=[CONTROL],
            preexec_fn=lambda: os.dup2(theirs.fileno(), CONTROL),  # noqa: PLW1509
            stderr=subprocess.PIPE,
        ) as process,
    ):
        theirs.close()
        try:
            yield Nursery(ours, process)
        finally:
            ours.close()
            process.wait(20)


def test_it_tells_of_a_worker_s_beginning_and_end() -> None:
    with nursery() as one, one.fork(7) as pipe:
        begun, (pidfd,) = one.heard()
        assert begun == {"what": "begun", "number": 7, "pid": begun["pid"]}
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)
        assert one.heard()[0] == {"what": "ended", "number": 7, "how": "signal 9"}
        assert pipe.recv(1) == b""


def test_a_worker_s_exit_status_is_told() -> None:
    with nursery() as one:
        pipe = one.fork(7)
        _, (pidfd,) = one.heard()
        os.close(pidfd)
        pipe.close()  # its supervisor is gone, it thinks
        assert one.heard()[0]["how"] == "exit status 0"


def test_a_worker_that_fails_at_its_start_says_so() -> None:
    with nursery() as one, one.fork(7) as pipe:
        _, (pidfd,) = one.heard()
        os.close(pidfd)
        pipe.sendall(b'["start", {"name": "worker-7"}]\n')
        assert one.heard()[0]["how"] == "exit status 70"
        one.control.close()
        assert one.process.stderr is not None
        assert b"submitd worker: " in one.process.stderr.read()


def test_a_system_without_room_for_a_process_is_named() -> None:
    full = (
        "def fork(): raise OSError(11, 'Resource temporarily unavailable')\n"
        "os.fork = fork"
    )
    with nursery(full) as one, one.fork(7) as pipe:
        how = "cannot be forked: Resource temporarily unavailable"
        assert one.heard()[0] == {"what": "ended", "number": 7, "how": how}
        assert pipe.recv(1) == b""


def test_it_ends_with_its_supervisor_and_its_workers_after_it() -> None:
    with nursery() as one, one.fork(7) as pipe:
        _, (pidfd,) = one.heard()
        os.close(pidfd)
        one.control.close()
        assert one.process.wait(20) == 0
        pipe.shutdown(socket.SHUT_WR)
        assert pipe.recv(1) == b""


@pytest.mark.parametrize("one", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_whole_group_is_not_for_it(one: signal.Signals) -> None:
    with nursery() as here, here.fork(7):
        here.heard()
        here.process.send_signal(one)
        with here.fork(8):
            assert here.heard()[0]["number"] == 8


def test_descriptors_of_whom_it_was_are_let_go_and_their_numbers_kept() -> None:
    before = (
        "kept = os.open('/etc/hostname', os.O_RDONLY)\n"
        "os.dup2(kept, 40)\n"
        "os.dup2(kept, 41)"
    )
    with nursery(before) as one, one.fork(7):
        begun, _ = one.heard()
        for pid in (one.process.pid, begun["pid"]):
            for number in (40, 41):
                open_as = Path(f"/proc/{pid}/fd/{number}").readlink()
                assert open_as == Path(os.devnull)


@pytest.mark.root
def test_one_that_has_changed_its_user_has_a_name_as_well() -> None:
    with nursery("os.setgid(65534)\nos.setuid(65534)") as one, one.fork(7):
        begun, _ = one.heard()
        assert name_of(one.process.pid) == "submitd-nursery"
        # It is told of before it has had time to do anything.
        until(lambda: name_of(begun["pid"]) == "submitd-7", "its name", 10)


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def test_a_fault_of_its_own_ends_it_with_a_traceback() -> None:
    with nursery() as one:
        one.control.send(b"not a number")
        assert one.process.wait(20) == os.EX_SOFTWARE
        assert one.process.stderr is not None
        assert b"ValueError" in one.process.stderr.read()
