"""Supervisor and workers as real processes: reloads, stops, deaths and starts."""

import json
import os
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from twisted.internet.protocol import Protocol

from tests.support import server as support
from tests.support.dns_peers import free_port
from tests.support.hosts import until
from tests.support.receiver import Receiver
from tests.support.server import serving
from tests.support.twistd import Twistd

pytestmark = pytest.mark.integration

CONFIG = """
[server]
hostname = "submit.example.org"
workers = {workers}
state_directory = "state"
control_socket = "control.sock"
shutdown_grace = "{grace}"
[log]
file = "log"
format = "json"
[metrics]
listen = "off"
[limits]
message_size = "{size}"
connections = {connections}
[tls]
certificate = "cert.pem"
key = "key.pem"
[listener.submission]
address = "127.0.0.1"
port = {submission}
[listener.local]
address = "127.0.0.1"
port = {local}
tls = "none"
trusted = ["127.0.0.1"]
submitter = "local"
[password_file]
path = "passwords"
[senders.rule.any]
any = true
[dkim]
unsigned = "allow"
[route."*"]
host = "127.0.0.1"
port = {next_hop}
tls = "none"
[retry]
first = "1s"
longest = "1s"
"""
IMPATIENT = """
from submitd.spool import recovery
from twisted.scripts.twistd import run
recovery._PATIENCE = 0.3
run()
"""
"""twistd that does not wait twenty seconds for an earlier start's workers."""

MESSAGE = b"From: alice@example.org\r\nSubject: one\r\n\r\ntext\r\n"


class Peer(Receiver):
    """A receiver that leaves its first callers without a greeting."""

    def __init__(self) -> None:
        super().__init__()
        self.silent = 0

    def buildProtocol(self, addr: object) -> Any:  # noqa: ANN401
        made = super().buildProtocol(addr)
        return made if self.connections > self.silent else Protocol()


STOPPED = {0, -signal.SIGTERM}
"""A graceful stop. twistd ends itself by the signal that it was ended by."""


@define
class Server(support.Server):
    """One that the tests may do anything to."""

    peer: Peer
    next_hop: int
    submission: int = field(factory=free_port)
    local: int = field(factory=free_port)

    def write(self, **changes: object) -> None:
        """The configuration; ``changes`` are workers, grace, limits and ports."""
        values: dict[str, object] = {
            "workers": 2,
            "grace": "5s",
            "size": "2000000",
            "connections": 1000,
            "submission": self.submission,
            "local": self.local,
            "next_hop": self.next_hop,
        }
        self.configure(CONFIG.format(**(values | changes)))

    def start(self, **changes: object) -> None:
        """Start it, and wait until all its workers are ready."""
        self.write(**changes)
        self.twistd.start()
        self.logs("started")

    def start_in_vain(self) -> tuple[int, list[str]]:
        """A start that is refused: exit status and what was said of an error."""
        done = subprocess.run(
            [
                *(sys.executable, "-c", IMPATIENT),
                *("-n", "--pidfile=", "--logfile=/dev/null", "submitd"),
                *("--config", str(self.folder / "submitd.toml")),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        said = (done.stdout + done.stderr).splitlines()
        return done.returncode, [one for one in said if "#info]" not in one]

    def signal(self, number: int) -> None:
        """To the supervisor, and no waiting."""
        self.twistd.process.send_signal(number)

    def client(self) -> smtplib.SMTP:
        """A client on the listener without TLS, after EHLO."""
        client = smtplib.SMTP("127.0.0.1", self.local, timeout=20)
        client.ehlo("client.example")
        return client

    def logged_in(self) -> smtplib.SMTP:
        """A client under TLS that has logged in."""
        client = smtplib.SMTP("localhost", self.submission, timeout=20)
        client.starttls(context=self.trust)
        client.login("alice", "wonderland")
        return client

    def certificate(self) -> bytes:
        """What a client is shown."""
        with closing(smtplib.SMTP("localhost", self.submission, timeout=20)) as client:
            client.starttls()
            secured = client.sock
            assert isinstance(secured, ssl.SSLSocket)
            return secured.getpeercert(binary_form=True) or b""

    def send(self, to: str = "bob@example.net") -> None:
        with self.client() as client:
            client.sendmail("alice@example.org", [to], MESSAGE)

    def arrives(self, to: str = "bob@example.net", seconds: float = 10) -> None:
        """Wait until the receiver has it."""
        until(lambda: self.arrived(to), f"a message for {to}", seconds)

    def arrived(self, to: str = "bob@example.net") -> int:
        """How many the receiver has."""
        return sum(to in one.forward_paths for one in self.peer.received)


served = serving(Peer, Server)


def begin(client: smtplib.SMTP, to: str = "bob@example.net") -> None:
    """A transaction up to the middle of its content."""
    assert client.mail("alice@example.org")[0] == 250
    assert client.rcpt(to)[0] == 250
    assert client.docmd("DATA")[0] == 354
    client.send(MESSAGE)


def finish(client: smtplib.SMTP) -> int:
    """The rest of it; gives the reply's code."""
    client.send(b"the rest\r\n.\r\n")
    return client.getreply()[0]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def moment(entry: dict[str, Any]) -> float:
    """When it was logged, in seconds."""
    return datetime.fromisoformat(entry["time"]).timestamp()


def size_offered(server: Server) -> str:
    """The one fact of the configuration that every client is told."""
    with server.client() as client:
        # A worker that is about to end says 421 and nothing of the kind.
        return client.esmtp_features.get("size", "")


def refuses(port: int) -> bool:
    """Whether a connection is refused."""
    try:
        socket.create_connection(("127.0.0.1", port), 2).close()
    except ConnectionRefusedError:
        return True
    return False


# Places


def stranger(server: Server, address: str) -> socket.socket:
    """A client that says nothing."""
    here = (address, 0)
    return socket.create_connection(("127.0.0.1", server.submission), 10, here)


def came(server: Server, address: str) -> bool:
    return any(one["client"] == address for one in server.logged("session-opened"))


def greeted(client: socket.socket) -> bool:
    return client.recv(1000).startswith(b"220 ")


@served
def test_a_crowd_at_one_worker_makes_room_for_who_comes_to_the_other(
    server: Server,
) -> None:
    """Which worker a client gets is the kernel's choice, and here the test's."""
    server.start(connections=14)
    crowded, other = server.settle()
    with ExitStack() as open_:

        def comes(address: str) -> socket.socket:
            return open_.enter_context(stranger(server, address))

        def go_on() -> None:
            for pid in (crowded, other):
                os.kill(pid, signal.SIGCONT)

        open_.callback(go_on)
        os.kill(other, signal.SIGSTOP)
        crowd = [comes("127.0.1.1") for _ in range(12)]
        assert all(map(greeted, crowd))
        go_on()
        os.kill(crowded, signal.SIGSTOP)
        few = [comes("127.0.2.1"), comes("127.0.3.1")]
        assert all(map(greeted, few))
        last = comes("127.0.4.1")
        until(lambda: came(server, "127.0.4.1"), "its connection", 5)
        go_on()

        assert greeted(last)
        assert crowd[0].recv(1000).startswith(b"421 4.7.0 Too many connections")
        for client in few:
            client.send(b"NOOP\r\n")
            assert client.recv(1000).startswith(b"250 ")


# Reloads


@served
def test_a_hangup_takes_up_a_good_configuration_and_no_broken_one(
    server: Server,
) -> None:
    """Decision 10: new workers take the places of the old ones, or none do."""
    server.start(size="2000000")
    before = server.settle()
    server.write(size="1000000")
    server.signal(signal.SIGHUP)
    server.logs("reloaded")
    after = server.settle()
    assert not before & after
    assert server.twistd.status()["pid"] == server.twistd.process.pid
    assert size_offered(server) == "1000000"
    until(lambda: not any(map(alive, before)), "the end of the old workers", 10)

    server.write(size="lots")
    server.signal(signal.SIGHUP)
    (refused,) = server.logs("reload-refused")
    file = server.folder / "submitd.toml"
    assert f'{file}: [limits] message_size = "lots"' in refused["problems"]
    assert server.settle() == after
    assert size_offered(server) == "1000000"
    server.send()
    server.arrives()


@served
def test_messages_under_way_are_finished_across_a_reload(server: Server) -> None:
    server.start(grace="20s")
    before = server.settle()
    with (
        closing(server.logged_in()) as in_content,
        closing(server.logged_in()) as in_envelope,
        closing(server.logged_in()) as idle,
    ):
        begin(in_content)
        assert in_envelope.mail("alice@example.org")[0] == 250
        done = server.try_submitctl("reload")
        assert (done.returncode, done.stderr) == (0, "")
        assert idle.getreply()[0] == 421
        # New connections are the new workers'.
        server.send("carol@example.net")
        server.arrives("carol@example.net")
        assert finish(in_content) == 250
        assert in_envelope.rcpt("dave@example.net")[0] == 250
        assert in_envelope.data(MESSAGE)[0] == 250
        server.arrives()
        server.arrives("dave@example.net")
        # Nothing is under way: the old workers have done their work.
        assert in_content.getreply()[0] == 421
    assert not before & server.settle()


@served
def test_the_last_of_two_quick_hangups_counts(server: Server) -> None:
    server.start(workers=1, size="2000000")
    server.write(workers=1, size="1000000")
    server.signal(signal.SIGHUP)
    # New workers are starting: the first file has been read.
    server.logs("worker-started", 2)
    server.write(workers=1, size="1500000")
    server.signal(signal.SIGHUP)
    server.logs("reloaded")
    until(lambda: size_offered(server) == "1500000", "the second configuration", 1.5)


@served
def test_a_reload_begins_a_new_log_where_the_old_one_was_moved(
    server: Server,
) -> None:
    server.start(workers=0)
    log = server.folder / "log"
    log.rename(server.folder / "log.1")
    server.signal(signal.SIGHUP)
    until(lambda: server.logged("reloaded"), "the supervisor's line", 1)


@served
def test_workers_follow_a_log_that_was_moved_though_the_reload_is_refused(
    server: Server,
) -> None:
    server.start()
    log = server.folder / "log"
    log.rename(server.folder / "log.1")
    server.write(size='"nonsense"')
    server.signal(signal.SIGHUP)
    server.logs("reload-refused")
    server.send()
    server.logs("message-relayed")


@served
def test_a_reload_whose_worker_does_not_start_leaves_the_old_ones(
    server: Server,
) -> None:
    """Decision 10: if anything is wrong the new workers go."""
    server.start()
    old, slow, quick = starting_in_reload(server)
    until(lambda: is_ready(server, quick), "the quick one", 10)
    os.kill(slow, signal.SIGKILL)
    server.logs("reload-refused")
    try:
        until(lambda: not alive(quick), "the end of the other", 1)
    finally:
        # Left alone, it would keep the server from ending.
        with suppress(ProcessLookupError):
            os.kill(quick, signal.SIGKILL)
    assert server.settle() == old


@served
def test_the_death_of_the_nursery_disturbs_nobody(server: Server) -> None:
    """Its workers go on, and their ends are seen; the next ones have another."""
    server.start()
    workers = server.settle()
    nursery = nursery_of(server)
    with server.logged_in() as client:
        os.kill(nursery, signal.SIGKILL)
        (entry,) = server.logs("nursery-died")
        assert entry["pid"] == nursery
        assert client.noop()[0] == 250
    assert server.settle() == workers
    assert set(server.twistd.status()["pids"]) == workers | {server.twistd.process.pid}
    first = min(workers)
    os.kill(first, signal.SIGKILL)
    (death,) = server.logs("worker-died")
    assert death["pid"] == first
    assert death["how"] == "nobody knows how: its nursery had died"
    fresh = server.logs("worker-started", 3)[-1]["pid"]
    until(lambda: is_ready(server, fresh), "the next one", 20)
    assert server.settle() == workers - {first} | {fresh}
    os.kill(fresh, signal.SIGKILL)
    assert server.logs("worker-died", 2)[-1]["how"] == "signal 9"
    server.settle()
    server.signal(signal.SIGTERM)
    assert server.twistd.process.wait(20) == 0


@served
def test_a_nursery_that_does_nothing_is_ended(server: Server) -> None:
    server.start()
    old = server.settle()
    nursery = nursery_of(server)
    os.kill(nursery, signal.SIGSTOP)
    os.kill(min(old), signal.SIGKILL)
    assert server.logs("worker-died")[0]["pid"] == min(old)
    assert server.logged("nursery-died")[0]["pid"] == nursery
    assert server.settle() - old


@served
def test_a_worker_that_dies_during_a_reload_is_replaced(server: Server) -> None:
    server.start()
    _, slow, quick = starting_in_reload(server)
    until(lambda: is_ready(server, quick), "the quick one", 10)
    os.kill(quick, signal.SIGKILL)
    server.logs("worker-died")
    wait_for_replacement()
    os.kill(slow, signal.SIGCONT)
    server.logs("reloaded")
    until(lambda: len(undrained(server)) == 2, "two workers", 1)


@served
def test_no_worker_keeps_the_old_configuration_after_a_reload(server: Server) -> None:
    server.start()
    old, slow = starting_in_reload(server, 1)
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    wait_for_replacement()
    os.kill(slow, signal.SIGCONT)
    server.logs("reloaded")
    assert undrained(server) == [slow]


def starting_in_reload(server: Server, count: int = 2) -> tuple[Any, ...]:
    """Begin a reload to so many workers; the first of them is stopped meanwhile.

    Gives the pids of the old ones, then those of the new.
    """
    nursery = nursery_of(server)
    old = server.settle()
    server.write(workers=count)
    for reloads in range(1, 20):
        began = len(server.logged("worker-started"))
        server.signal(signal.SIGHUP)
        # It is a matter of 20 ms until they are ready.
        while not (fresh := forks_of(nursery) - old):
            pass
        slow = min(fresh)
        os.kill(slow, signal.SIGSTOP)
        fresh = {
            one["pid"] for one in server.logs("worker-started", began + count)[began:]
        }
        if not is_ready(server, slow):
            return old, slow, *(fresh - {slow})
        os.kill(slow, signal.SIGCONT)
        server.logs("reloaded", reloads)
        old = server.settle(count)
    raise AssertionError("the new workers were ready too soon, twenty times")


def nursery_of(server: Server) -> int:
    """Its pid."""
    (nursery,) = (
        pid
        for pid in forks_of(server.twistd.process.pid)
        if Path(f"/proc/{pid}/comm").read_text() == "submitd-nursery\n"
    )
    return nursery


def forks_of(pid: int) -> set[int]:
    """Pids of a process's children."""
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def wait_for_replacement() -> None:
    """Until a worker that died just now was due to be replaced."""
    time.sleep(1.3)  # noqa: TID251 - nothing tells that it was not


def undrained(server: Server) -> list[int]:
    """Pids of the workers that are to stay."""
    workers = server.twistd.status()["workers"]
    return [one["pid"] for one in workers if not one["draining"]]


def is_ready(server: Server, pid: int) -> bool:
    """Whether this worker takes mail."""
    workers = server.twistd.status()["workers"]
    return any(one["pid"] == pid and one["ready"] for one in workers)


@served
def test_a_socket_that_systemd_holds_is_listened_to(server: Server) -> None:
    """And a connection that came before the server was there is served."""
    address = f"127.0.0.1:{server.local}"
    server.twistd = Twistd(
        server.folder,
        command=lambda *words: [
            *("systemd-socket-activate", "--fdname=given", f"--listen={address}"),
            *words,
        ],
    )
    server.write()
    file = server.folder / "submitd.toml"
    port = f'address = "127.0.0.1"\nport = {server.local}'
    assert port in file.read_text()
    file.write_text(file.read_text().replace(port, 'address = "systemd:given"'))
    starting = threading.Thread(target=server.twistd.start)
    starting.start()

    def greeted() -> bool:
        with (
            suppress(ConnectionRefusedError),
            socket.create_connection(("127.0.0.1", server.local), 20) as early,
        ):
            return early.recv(3) == b"220"
        return False

    until(greeted, "the greeting")
    starting.join(20)
    # More than workers: each is woken by each, and one of them gets it.
    assert all(greeted() for _ in range(20))
    server.send()
    server.arrives()


# Stops


@served
def test_a_stop_lets_an_open_transaction_finish(server: Server) -> None:
    server.start()
    server.settle()
    with closing(server.client()) as client:
        begin(client)
        server.signal(signal.SIGTERM)
        server.logs("stopping")
        assert finish(client) == 250
        assert client.getreply()[0] == 421
    assert server.twistd.process.wait(10) in STOPPED
    server.logs("stopped")
    # What it could not deliver itself waits for the next start.
    assert server.arrived() + server.twistd.queued() == 1


@served
def test_a_stopping_server_refuses_connections(server: Server) -> None:
    server.start()
    server.settle()
    with closing(server.client()) as client:
        begin(client)
        server.signal(signal.SIGTERM)
        server.logs("stopping")
        until(lambda: refuses(server.local), "a refusal", 0.5)
        assert finish(client) == 250
    assert server.twistd.process.wait(10) in STOPPED


@served
def test_the_service_manager_is_kept_informed(server: Server) -> None:
    address = str(server.folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(20)

        def hears() -> str:
            """The next that is no beat."""
            said = (manager.recv(4096).decode() for _ in range(200))
            news = (one for one in said if one != "WATCHDOG=1")
            return next(news, "nothing").partition("\n")[0]

        server.write()
        server.twistd.start({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "300000"})
        assert hears() == "READY=1"
        server.signal(signal.SIGHUP)
        assert [hears(), hears()] == ["RELOADING=1", "READY=1"]
        assert manager.recv(4096) == b"WATCHDOG=1"
        server.signal(signal.SIGTERM)
        assert hears() == "STOPPING=1"
        assert server.twistd.process.wait(20) == 0


@served
def test_a_graceful_stop_has_exit_status_0(server: Server) -> None:
    server.start(workers=0)
    assert server.twistd.stop() == 0


@served
def test_a_stop_waits_no_longer_than_its_grace(server: Server) -> None:
    server.start(workers=1, grace="1s")
    with closing(server.client()) as client:
        begin(client)
        began = time.monotonic()
        server.twistd.process.terminate()
        server.twistd.process.wait(20)
        took = time.monotonic() - began
    assert 0.9 < took < 2.5
    assert server.twistd.queued() == 0
    assert not server.logged("bug")


@served
def test_a_stop_waits_no_longer_for_a_receiver(server: Server) -> None:
    server.peer.silent = 1
    server.start(workers=1, grace="1s")
    server.send()
    until(lambda: server.peer.connections, "an attempt", 10)
    began = time.monotonic()
    server.twistd.process.terminate()
    server.twistd.process.wait(20)
    assert time.monotonic() - began < 2.5
    assert server.twistd.queued() == 1


@served
def test_a_stop_has_one_grace_for_sessions_and_attempts(server: Server) -> None:
    server.peer.silent = 1
    server.start(workers=1, grace="1s")
    with closing(server.client()) as client:
        server.send()
        until(lambda: server.peer.connections, "an attempt", 10)
        begin(client)
        began = time.monotonic()
        server.twistd.process.terminate()
        server.twistd.process.wait(20)
        took = time.monotonic() - began
    assert took < 1.9


# Deaths


def kill_workers(server: Server) -> None:
    deaths = len(server.logged("worker-died"))
    for pid in server.twistd.workers():
        os.kill(pid, signal.SIGKILL)
    server.logs("worker-died", deaths + 2)
    server.settle()


def kill_all(server: Server) -> None:
    pids = server.twistd.workers()
    server.twistd.kill()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    server.twistd.start()


def dies_twice_behind_the_dot(server: Server, kill: Callable[[Server], None]) -> None:
    """A third copy is the one that can be avoided: RFC 1047 has the first two."""
    server.peer.unanswered = 2
    server.start()
    server.settle()
    server.send()
    for copies in (1, 2):
        until(lambda copies=copies: server.arrived() >= copies, "a copy", 20)  # type: ignore[misc]
        kill(server)
    server.arrives("alice@example.org", 20)
    until(lambda: server.twistd.queued() == 0, "an empty queue", 10)
    assert server.arrived() == 2
    (report,) = (one for one in server.peer.received if not one.reverse_path)
    assert b"Status: 5.3.0" in report.content
    assert b"it has most likely arrived" in b" ".join(report.content.split())
    assert [one["status"] for one in server.logs("message-failed")] == ["5.3.0"]
    # The marks of the dead are gone, too.
    server.settle()
    assert len(list((server.folder / "state").glob("spool.sent.*"))) == 2


@pytest.mark.rfc("5321", "6.1")
@served
def test_workers_that_die_twice_behind_the_final_dot_send_two_copies_and_a_report(
    server: Server,
) -> None:
    dies_twice_behind_the_dot(server, kill_workers)


@pytest.mark.rfc("5321", "6.1")
@served
def test_a_server_that_dies_twice_behind_the_final_dot_sends_two_copies_and_a_report(
    server: Server,
) -> None:
    dies_twice_behind_the_dot(server, kill_all)


@served
def test_a_dead_workers_attempt_is_taken_over_at_once(server: Server) -> None:
    server.peer.silent = 1
    server.start()
    pids = server.settle()
    server.send()
    until(lambda: server.peer.connections, "an attempt", 10)
    (accepted,) = server.logs("message-accepted")
    names = {one["worker"]: one["pid"] for one in server.logged("worker-started")}
    owner = names[accepted["worker"]]
    assert owner in pids
    os.kill(owner, signal.SIGKILL)
    began = time.monotonic()
    server.arrives()
    # The next look at the spool, and no wait for a time-out.
    assert time.monotonic() - began < 4
    assert server.arrived() == 1
    assert server.logs("leases-released")[0]["recipients"] == 1
    until(lambda: server.twistd.queued() == 0, "an empty queue", 5)
    server.settle()


@served
def test_workers_that_die_at_once_are_restarted_ever_more_slowly(
    server: Server,
) -> None:
    server.start()
    server.settle()
    server.send()
    server.arrives()
    end = time.monotonic() + 4
    while time.monotonic() < end:
        for pid in server.twistd.workers():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)  # noqa: TID251 - another process starts them
    deaths = server.logs("worker-died", 4)
    assert len(deaths) == 4
    first = moment(deaths[0])
    # Both at once: 1 s and 2 s; those that replaced them: 4 s and 8 s.
    starts = [moment(one) - first for one in server.logs("worker-started", 5)]
    assert starts[2:] == pytest.approx([1, 2, 5], abs=0.7)
    until(lambda: server.twistd.status()["ready"], "a worker", 10)
    server.send("carol@example.net")
    server.arrives("carol@example.net")


@served
def test_no_worker_outlives_its_supervisor_or_hinders_the_next(
    server: Server,
) -> None:
    server.start()
    pids = server.settle()
    server.twistd.kill()
    server.twistd.start()
    until(lambda: not any(map(alive, pids)), "the end of the workers", 3)
    server.settle()
    server.send()
    server.arrives()


@served
def test_a_start_after_a_kill_does_not_mind_an_open_session(server: Server) -> None:
    """Its worker has five seconds to finish, and must not hold the port."""
    server.start(workers=1)
    with closing(server.client()) as client:
        begin(client)
        server.twistd.kill()
        server.twistd.start()


# Starts that are refused


@served
def test_a_second_start_is_refused_and_the_first_unharmed(server: Server) -> None:
    server.start(workers=1)
    pids = server.settle(1)
    status, said = server.start_in_vain()
    assert status > 0
    assert len(said) == 1
    assert said[0].endswith(
        f"submitd: [listener.submission]: cannot listen on 127.0.0.1 port "
        f"{server.submission}: another program uses this port"
    )
    # Other ports do not help: the spool is taken.
    server.write(submission=free_port(), local=free_port())
    status, said = server.start_in_vain()
    assert status > 0
    assert len(said) == 1
    assert said[0].endswith(
        f"submitd: {server.folder / 'state'}: another submitd is using this spool"
    )
    assert server.settle(1) == pids
    server.send()
    server.arrives()


@served
def test_a_port_in_use_stops_the_start_in_one_sentence(server: Server) -> None:
    server.write()
    with socket.create_server(("127.0.0.1", server.local)):
        status, said = server.start_in_vain()
    assert status > 0
    assert len(said) == 1
    assert said[0].endswith(
        f"submitd: [listener.local]: cannot listen on 127.0.0.1 port {server.local}: "
        "another program uses this port"
    )


# Without workers


@served
def test_one_process_does_it_all(server: Server) -> None:
    server.start(workers=0, size="2000000")
    server.settle(1)
    assert server.twistd.workers() == []
    server.send()
    server.arrives()
    with closing(server.client()) as client:
        begin(client, "carol@example.net")
        server.write(workers=0, size="1000000")
        server.signal(signal.SIGHUP)
        server.logs("reloaded")
        assert size_offered(server) == "1000000"
        assert finish(client) == 250
        server.arrives("carol@example.net")
    server.settle(1)
    with closing(server.client()) as client:
        begin(client, "dave@example.net")
        server.signal(signal.SIGTERM)
        server.logs("stopping")
        assert finish(client) == 250
    assert server.twistd.process.wait(10) in STOPPED
    assert server.arrived("dave@example.net") + server.twistd.queued() == 1
    assert not server.logged("bug")


@served
def test_a_reload_changes_between_one_process_and_workers(server: Server) -> None:
    server.start(workers=0)
    for workers, pids in ((2, 2), (0, 0)):
        server.write(workers=workers)
        assert server.try_submitctl("reload").returncode == 0
        assert len(server.settle(max(workers, 1))) == pids
        server.send(f"with-{workers}@example.net")
        server.arrives(f"with-{workers}@example.net")


# Certificates


@served
def test_a_reload_takes_up_a_good_certificate_and_no_broken_one(
    server: Server,
) -> None:
    server.start(workers=1)
    first = server.certificate()
    server.certify()
    server.signal(signal.SIGHUP)
    server.logs("reloaded")
    pids = server.settle(1)
    renewed = server.certificate()
    assert renewed != first
    server.logged_in().close()

    certificate = server.folder / "cert.pem"
    certificate.write_text("no certificate\n")
    server.signal(signal.SIGHUP)
    (refused,) = server.logs("reload-refused")
    assert f'[tls] certificate = "{certificate}"' in refused["problems"]
    assert server.settle(1) == pids
    assert server.certificate() == renewed


@served
def test_a_worker_that_cannot_start_fails_and_says_why(server: Server) -> None:
    server.start(workers=1)
    (pid,) = server.settle(1)
    (server.folder / "cert.pem").write_text("no certificate\n")
    os.kill(pid, signal.SIGKILL)
    deaths = server.logs("worker-died", 2)
    assert "holds no usable certificate in PEM" in (server.folder / "log").read_text()
    assert deaths[1]["how"] == "exit status 70"


# submitctl


@served
def test_submitctl_tells_of_a_server_that_runs_is_stopped_or_killed(
    server: Server,
) -> None:
    server.peer.refusals["grey"] = "451 4.7.1 Come back"
    server.start(workers=1)
    pids = server.settle(1)
    server.send("grey@example.net")
    assert server.try_submitctl("queue", "count").stdout == "1\n"
    done = server.try_submitctl("status", "--json")
    status = json.loads(done.stdout)
    assert done.returncode == 0
    assert status["pid"] == server.twistd.process.pid
    assert status["ready"] is True
    assert {one["pid"] for one in status["workers"]} == pids
    assert {one["port"] for one in status["listeners"]} == {
        server.local,
        server.submission,
    }
    server.twistd.stop()
    tells_that_it_is_gone(server)
    server.twistd.start()
    server.twistd.kill()
    tells_that_it_is_gone(server)


def tells_that_it_is_gone(server: Server) -> None:
    counted = server.try_submitctl("queue", "count")
    assert (counted.returncode, counted.stdout) == (0, "1\n")
    asked = server.try_submitctl("status", "--json")
    assert asked.returncode == os.EX_UNAVAILABLE
    assert asked.stdout == ""
    assert asked.stderr.startswith(f"submitctl: {server.folder / 'control.sock'}: ")
    assert asked.stderr.endswith("Is submitd running?\n")
