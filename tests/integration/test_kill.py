"""kill -9 at random moments: what was acknowledged arrives."""

import random
import re
import smtplib
import ssl
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from attrs import define, field
from twisted.internet import reactor

from tests.support.certificates import make_certificate
from tests.support.dns_peers import free_port
from tests.support.in_reactor import in_reactor
from tests.support.one_process import in_thread
from tests.support.receiver import Received, Receiver
from tests.support.twistd import Twistd

pytestmark = pytest.mark.integration

ROUNDS = 20
MESSAGES = 500
CLIENTS = 5
_RECORDED = 1.0
"""Seconds within which a remote host's 250 is recorded, with much to spare."""

CONFIG = """
[server]
hostname = "submit.example.org"
workers = 2
state_directory = "state"
control_socket = "control.sock"
shutdown_grace = "5s"
[log]
file = "log"
[metrics]
listen = "off"
[tls]
certificate = "cert.pem"
key = "key.pem"
[listener.submissions]
address = "127.0.0.1"
port = {port}
tls = "implicit"
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


@define
class Burst:
    """Clients that send as fast as they can, and note what was acknowledged."""

    port: int
    trust: ssl.SSLContext
    acknowledged: set[str] = field(factory=set)
    _lock: threading.Lock = field(factory=threading.Lock)

    def run(self, round_: int) -> None:
        """All clients, until each has sent its share."""
        threads = [
            threading.Thread(target=self._client, args=(round_, number))
            for number in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _client(self, round_: int, number: int) -> None:
        left = [
            f"{round_}-{number}-{count}@burst.example"
            for count in range(MESSAGES // CLIENTS)
        ]
        deadline = time.monotonic() + 60
        while left and time.monotonic() < deadline:
            try:
                with smtplib.SMTP_SSL(
                    "localhost", self.port, "burst", timeout=10, context=self.trust
                ) as client:
                    client.login("alice", "wonderland")
                    self._session(client, left)
            except (OSError, smtplib.SMTPException):
                time.sleep(0.05)  # noqa: TID251 - the server is being restarted

    def _session(self, client: smtplib.SMTP, left: list[str]) -> None:
        while left:
            # What is not answered is not sent again: it may or may not arrive.
            message_id = left.pop()
            client.sendmail(
                "a@example.org",
                ["b@example.net"],
                f"From: a@example.org\r\nMessage-ID: <{message_id}>\r\n\r\ntext\r\n",
            )
            with self._lock:
                self.acknowledged.add(message_id)


@define
class Kills:
    """How many fell into a burst, and when each was done."""

    count: Counter[str] = field(factory=Counter)
    moments: list[float] = field(factory=list)

    def note(self, whom: str, *, in_burst: bool) -> None:
        """One that was done just now."""
        self.count[whom] += in_burst
        self.moments.append(time.monotonic())

    def explain(self, first: Received) -> bool:
        """Whether that message arrived right before one of them."""
        return any(-0.2 < moment - first.at < _RECORDED for moment in self.moments)


def found(pattern: bytes, message: Received) -> str:
    """What the pattern's group finds."""
    match = re.search(pattern, message.content)
    assert match is not None
    return match[1].decode()


@pytest.mark.timeout(400)
@in_reactor
async def test_nothing_acknowledged_is_lost_and_none_arrives_three_times(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """RFC 5321 section 6.1: after 250 the message is ours, whatever happens to us.

    A duplicate is made where a worker dies between the remote host's 250 and
    its record, and nowhere else (RFC 1047).
    """
    chance = random.Random(4711)
    receiver = Receiver()
    (tmp_path / "passwords").write_text("alice:{PLAIN}wonderland\n")
    port = free_port()
    (tmp_path / "submitd.toml").write_text(
        CONFIG.format(port=port, next_hop=receiver.listen(reactor))
    )
    make_certificate(tmp_path, "cert.pem", "key.pem", ["localhost"])
    server = Twistd(tmp_path)
    burst = Burst(port, ssl.create_default_context(cafile=tmp_path / "cert.pem"))
    kills = Kills()

    def one_round(number: int) -> None:
        moment = len(burst.acknowledged) + chance.randint(5, MESSAGES // 2)
        sending = threading.Thread(target=burst.run, args=(number,))
        sending.start()
        try:
            while len(burst.acknowledged) < moment and sending.is_alive():
                time.sleep(0.001)  # noqa: TID251 - the clients are at work
            if number % 4 == 3:
                server.kill()
                kills.note("supervisor", in_burst=sending.is_alive())
                server.start()
            else:
                server.kill_worker(number)
                kills.note("worker", in_burst=sending.is_alive())
        finally:
            sending.join()

    def drain() -> int:
        deadline = time.monotonic() + 90
        while (waiting := server.queued()) and time.monotonic() < deadline:
            time.sleep(0.2)  # noqa: TID251 - another process empties it
        return waiting

    await in_thread(server.start)
    left = MESSAGES
    try:
        for number in range(ROUNDS):
            await in_thread(lambda number=number: one_round(number))  # type: ignore[misc]
        left = await in_thread(drain)
    finally:
        await in_thread(server.stop)
        await receiver.close()

    arrived: dict[str, list[Received]] = defaultdict(list)
    for message in receiver.received:
        arrived[found(rb"Message-ID: <([^>]+)>", message)].append(message)
    lost = burst.acknowledged - arrived.keys()
    twice = [copies for copies in arrived.values() if len(copies) > 1]
    log = (tmp_path / "log").read_text()
    recorded = Counter(re.findall(r"\[message-relayed\].* queue_id=(\w+)", log))
    # Two kills hit it, and no third copy is made: its sender was told.
    told = Counter(re.findall(r"\[message-failed\].* queue_id=(\w+) .*5\.3\.0", log))
    with capsys.disabled():
        print(  # noqa: T201 - both counts belong into the report of the run
            f"\nkill -9 in a burst: {kills.count['worker']} workers, "
            f"{kills.count['supervisor']} supervisors; "
            f"{len(burst.acknowledged)} acknowledged, "
            f"{len(lost)} lost, {len(twice)} duplicates, "
            f"{told.total()} of them told of"
        )
    # Each kill fell into a burst: a round without one proves nothing.
    assert kills.count == {"worker": 15, "supervisor": 5}
    assert left == 0
    assert lost == set()
    assert max(map(len, arrived.values())) <= 2
    for first, second in twice:
        # The kill came before its record.
        assert kills.explain(first)
        # What is recorded is logged, unless the next kill came in between.
        queue_id = found(rb"\tid (\w+)", second)
        lines = recorded[queue_id] + told[queue_id]
        assert lines == 1 or (lines == 0 and kills.explain(second))
    assert told.total() <= len(twice)
    assert len(burst.acknowledged) > ROUNDS * MESSAGES * 0.8
