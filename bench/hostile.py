"""2,000 hostile connections at once, and two clients that only want to send.

``make hostile`` starts a server of its own on loopback, with default limits, and keeps
so many connections of hostile clients open to it for a minute, each at one of the
attacks below; others come and go as fast as ``--churn`` lets them. All the while a good
client submits with TLS and log-in, and so does one on a slow line, on which whatever
the server says arrives 200 ms late. The figures:

``open``
    ``submitd_sessions_open``, as the server counts them, once a second after the ramp:
    what it really had to bear, the churn's and the good clients' among them.
``made``
    connections that were begun; by attack, whatever became of them.
``told 421``, ``displaced``
    refusals that hostile clients heard, and how many of all had to give way.
``good client``, ``slow line``
    messages accepted, and the time from the first attempt to the last reply. A mail
    program tries again: the one on the slow line does, twice at most, and ``retries``
    says how often; ``errors`` are messages that were given up. The other may not err.
``memory``
    of all processes of the server, what they share counted once (PSS).

Status 0: the good client's p99 below 1 s, memory below 300 MB, no errors of either, no
bug in the log, and 90 % of the connections, or of what the server takes, open again
within the time that the first ramp takes, whenever they were fewer.

Bounded: loopback only, so many connections, so many seconds.
"""

import argparse
import asyncio
import base64
import contextlib
import multiprocessing
import random
import resource
import socket
import ssl
import statistics
import struct
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, Self
from urllib.request import urlopen

from attrs import define, evolve, field

from bench.good_clients import GoodClient, Sent, SlowLine
from submitd.config.serving import LimitsSection
from tests.support.dns_peers import free_port
from tests.support.server import Server

MOST_SECONDS: Final = 1.0
MOST_MEGABYTES: Final = 300.0
LEAST_OPEN: Final = 0.9
"""Of the connections that are made, as far as the server takes so many."""

RAMP: Final = 6.0
"""Seconds within which all connections are made."""

CHURNERS: Final = 8
"""Addresses that the churn comes from."""

CHURN_OPEN: Final = 40
"""Connections that each of them keeps, below the limit for an address."""

STOLEN: Final = tuple(f"mallory{number}" for number in range(4))
"""Log-ins that were stolen: attacks within a transaction need one."""

ANYBODY: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
ANYBODY.check_hostname = False
ANYBODY.verify_mode = ssl.CERT_NONE


CONFIG: Final = """
[server]
hostname = "submit.example.org"
state_directory = "state"
control_socket = "control.sock"
[log]
file = "log"
[metrics]
listen = "127.0.0.1:{metrics}"
[tls]
certificate = "cert.pem"
key = "key.pem"
[listener.submission]
address = "127.0.0.1"
port = {starttls}
[listener.submissions]
address = "127.0.0.1"
port = {implicit}
tls = "implicit"
[password_file]
path = "passwords"
[senders.rule.own]
template = "{{login}}@example.org"
[dkim]
unsigned = "allow"
[route."*"]
host = "127.0.0.1"
port = {next_hop}
tls = "none"
"""


@define
class Victim(Server):
    """The server under attack."""

    next_hop: int
    starttls: int = field(factory=free_port)
    implicit: int = field(factory=free_port)
    metrics: int = field(factory=free_port)

    def start(self) -> None:
        """With passwords that were stolen."""
        self.configure(
            CONFIG.format(
                starttls=self.starttls,
                implicit=self.implicit,
                metrics=self.metrics,
                next_hop=self.next_hop,
            )
        )
        with (self.folder / "passwords").open("a") as passwords:
            passwords.writelines(f"{name}:{{PLAIN}}stolen\n" for name in STOLEN)
        self.twistd.start()

    def open(self) -> int | None:
        """How many connections it has now, as it says; None: it does not say."""
        address = f"http://127.0.0.1:{self.metrics}/metrics"
        try:
            with urlopen(address, timeout=10) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return None
        name = "submitd_sessions_open"
        found = [line.split()[-1] for line in lines if line.startswith(name)]
        return sum(int(float(one)) for one in found) if found else None


# The hostile ones


def log_in(name: str) -> bytes:
    """The command, with a stolen password."""
    return b"AUTH PLAIN " + base64.b64encode(f"\0{name}\0stolen".encode()) + b"\r\n"


class Attackers:
    """So many slots; in each, one attack after another."""

    def __init__(self, starttls: int, implicit: int, pause: float) -> None:
        self.starttls, self.implicit, self.pause = starttls, implicit, pause
        self.made: Counter[str] = Counter()
        self.heard_421 = 0

    async def slot(self, number: int, end: float) -> None:
        """One attack again and again, from another address each time."""
        attack = ATTACKS[number % len(ATTACKS)]
        name = attack.__name__.removeprefix("_")
        await asyncio.sleep(random.random() * 5)
        while (left := end - time.monotonic()) > 0:
            await self._try(name, attack(self), left)
            # Between two attacks it holds a place, so that they are so many at once.
            await self._try("silent", _silent(self), min(left, self.pause))

    async def _try(self, name: str, work: Awaitable[None], seconds: float) -> None:
        self.made[name] += 1
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(seconds):
                await work

    async def connect(self, *, tls: bool) -> "Wire":
        """A connection from some address on loopback."""
        source = f"127.{random.randint(1, 254)}.{random.randint(0, 255)}.9"
        reader, writer = await asyncio.open_connection(
            "127.0.0.1",
            self.implicit if tls else self.starttls,
            local_addr=(source, 0),
            ssl=ANYBODY if tls else None,
            limit=4096,
        )
        return Wire(self, reader, writer)

    async def raw(self, port: int) -> "Wire":
        """To a port, without TLS whatever it wants."""
        source = f"127.{random.randint(1, 254)}.{random.randint(0, 255)}.9"
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, local_addr=(source, 0), limit=4096
        )
        return Wire(self, reader, writer)

    async def logged_in(self) -> "Wire":
        """With a stolen password, within a transaction."""
        wire = await self.connect(tls=True)
        name = random.choice(STOLEN)
        wire.say(b"EHLO x\r\n" + log_in(name))
        await wire.hear(b"235 ")
        sender = f"MAIL FROM:<{name}@example.org>\r\n".encode()
        wire.say(sender + b"RCPT TO:<bob@example.net>\r\n")
        return wire


class Wire:
    """One hostile connection."""

    def __init__(
        self,
        attackers: Attackers,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._attackers, self._reader, self.writer = attackers, reader, writer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    def say(self, octets: bytes) -> None:
        """Without waiting."""
        self.writer.write(octets)

    async def hear(self, text: bytes) -> None:
        """Wait until it was said."""
        while text not in await self._line():
            pass

    async def _line(self) -> bytes:
        line = await self._reader.readuntil(b"\n")
        self._attackers.heard_421 += line.startswith(b"421")
        return line

    async def hold(self, say: bytes = b"", every: float = 2.0) -> None:
        """Until the server ends it, an octet of ``say`` now and then."""
        place = 0
        while True:
            try:
                async with asyncio.timeout(every):
                    while True:
                        await self._line()
            except TimeoutError:
                pass
            if say:
                self.say(say[place % len(say) :][:1])
                place += 1

    def reset(self) -> None:
        """Gone, with an RST."""
        wire = self.writer.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def _silent(by: Attackers) -> None:
    async with await by.connect(tls=False) as wire:
        await wire.hold()


async def _trickles(by: Attackers) -> None:
    async with await by.connect(tls=False) as wire:
        await wire.hold(b"x")


async def _stalls_in_handshake(by: Attackers) -> None:
    async with await by.raw(by.implicit) as wire:
        wire.say(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        await wire.hold(b"\0")


async def _promises_a_long_hello(by: Attackers) -> None:
    async with await by.raw(by.implicit) as wire:
        wire.say(b"\x16\x03\x01\x40\x00\x01\x01\xff\xf0\x03\x03" + b"\0" * 16378)
        await wire.hold()


async def _stalls_behind_starttls(by: Attackers) -> None:
    async with await by.connect(tls=False) as wire:
        wire.say(b"EHLO x\r\nSTARTTLS\r\n")
        await wire.hold()


async def _injects_behind_starttls(by: Attackers) -> None:
    async with await by.connect(tls=False) as wire:
        wire.say(b"EHLO x\r\nSTARTTLS\r\nEHLO y\r\n" + log_in(STOLEN[0]))
        await wire.hold()


async def _garbage_for_tls(by: Attackers) -> None:
    async with await by.raw(by.implicit) as wire:
        wire.say(random.randbytes(2000))
        await wire.hold()


async def _idles_under_tls(by: Attackers) -> None:
    async with await by.connect(tls=True) as wire:
        wire.say(b"EHLO x\r\n")
        await wire.hold()


async def _guesses_passwords(by: Attackers) -> None:
    async with await by.connect(tls=True) as wire:
        wire.say(b"EHLO x\r\n" + b"AUTH PLAIN AHVzZXIAd3Jvbmc=\r\n" * 10)
        await wire.hold()


async def _stalls_in_auth(by: Attackers) -> None:
    async with await by.connect(tls=True) as wire:
        wire.say(b"EHLO x\r\nAUTH LOGIN\r\n")
        await wire.hold(b"Q")


async def _errs(by: Attackers) -> None:
    async with await by.connect(tls=False) as wire:
        wire.say((b"x" * 3000 + b"\r\n") * 30)
        await wire.hold()


async def _does_not_read(by: Attackers) -> None:
    async with await by.connect(tls=False) as wire:
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        wire.say(b"EHLO x\r\n" * 20000)
        await asyncio.sleep(3600)


async def _is_gone_at_once(by: Attackers) -> None:
    async with await by.connect(tls=False) as wire:
        wire.reset()


async def _half_closes(by: Attackers) -> None:
    async with await by.connect(tls=False) as wire:
        wire.say(b"EHLO x\r\n")
        wire.writer.write_eof()
        await wire.hold()


async def _holds_a_big_header(by: Attackers) -> None:
    async with await by.logged_in() as wire:
        wire.say(b"DATA\r\nFrom: mallory0@example.org\r\n" + b"X: y\r\n" * 43000)
        await wire.hold(b"X: y\r\n")


async def _trickles_into_a_chunk(by: Attackers) -> None:
    async with await by.logged_in() as wire:
        wire.say(b"BDAT 1000000\r\nFrom: mallory0@example.org\r\n\r\n")
        await wire.hold(b"x")


async def _floods_recipients(by: Attackers) -> None:
    async with await by.logged_in() as wire:
        wire.say(b"".join(b"RCPT TO:<r%d@example.net>\r\n" % n for n in range(2000)))
        await wire.hold()


ATTACKS: Final[tuple[Callable[[Attackers], Awaitable[None]], ...]] = (
    _silent,
    _trickles,
    _stalls_in_handshake,
    _promises_a_long_hello,
    _stalls_behind_starttls,
    _injects_behind_starttls,
    _garbage_for_tls,
    _idles_under_tls,
    _guesses_passwords,
    _stalls_in_auth,
    _errs,
    _does_not_read,
    _is_gone_at_once,
    _half_closes,
    _holds_a_big_header,
    _trickles_into_a_chunk,
    _floods_recipients,
)


def churn(
    port: int,
    rate: float,
    seconds: float,
    tell: Any,  # noqa: ANN401 - a queue has no type at run time
) -> None:
    """Connect, say nothing, close what has been open longest: so often a second.

    In a process of its own. Whoever is slower than all of these must not be the one
    that gives way to them.
    """
    kept: deque[socket.socket] = deque()
    made, begun = 0, time.monotonic()
    while (passed := time.monotonic() - begun) < seconds:
        # What it was too slow for it does not make up for.
        for _ in range(min(int(passed * rate) - made, int(rate / 20) + 1)):
            wire = socket.socket()
            wire.setblocking(False)
            with contextlib.suppress(OSError):
                wire.bind((f"127.0.0.{made % CHURNERS + 10}", 0))
                wire.connect(("127.0.0.1", port))
            kept.append(wire)
            made += 1
            if len(kept) > CHURNERS * CHURN_OPEN:
                kept.popleft().close()
        time.sleep(0.005)  # noqa: TID251 - it has its pace
    for wire in kept:
        wire.close()
    tell.put(made)


async def sink() -> asyncio.Server:
    """A next hop that takes everything."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 sink.example ESMTP\r\n")
        within = False
        with contextlib.suppress(OSError, ValueError):
            while line := await reader.readline():
                if within:
                    within = line != b".\r\n"
                    answer = b"" if within else b"250 2.0.0 Ok\r\n"
                else:
                    within = line.upper() == b"DATA\r\n"
                    answer = b"354 Go\r\n" if within else b"250 2.0.0 Ok\r\n"
                writer.write(answer)
        writer.close()

    return await asyncio.start_server(take, "127.0.0.1", 0)


def megabytes(pids: list[int]) -> float:
    """Memory of these processes, what they share counted once (PSS)."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total / 1024


@define
class Samples:
    """What was seen once a second."""

    open: list[int] = field(factory=list)
    unanswered: int = 0
    """Seconds in which the server did not say how many."""

    memory: list[float] = field(factory=list)

    async def take(self, server: Victim, pids: list[int]) -> None:
        """Now."""
        self.memory.append(megabytes(pids))
        now = await asyncio.to_thread(server.open)
        if now is None:
            self.unanswered += 1
        else:
            self.open.append(now)


def besiege(server: Victim, options: argparse.Namespace) -> dict[str, Any]:
    """Start the clients that have processes of their own; where each tells its end."""
    ca = str(server.folder / "cert.pem")
    good = GoodClient(server.starttls, server.implicit, ca, "127.0.0.2")
    slow = evolve(good, attempts=3, line=SlowLine("127.0.0.3", 0.2))
    work: dict[str, tuple[Callable[..., None], tuple[object, ...]]] = {
        "good client": (good.run, (options.seconds,)),
        "slow line": (slow.run, (options.seconds,)),
        "churn": (churn, (server.starttls, options.churn, options.seconds)),
    }
    tells: dict[str, Any] = {}
    for name, (run, settings) in work.items():
        tells[name] = multiprocessing.Queue()
        arguments = (*settings, tells[name])
        multiprocessing.Process(target=run, args=arguments, daemon=True).start()
    return tells


async def attack(options: argparse.Namespace, folder: Path) -> int:
    """All of it; gives the exit status."""
    next_hop = await sink()
    server = Victim(folder, next_hop.sockets[0].getsockname()[1])
    await asyncio.to_thread(server.start)
    try:
        pids = [int(pid) for pid in server.twistd.status()["pids"]]
        print(f"memory before: {megabytes(pids):.0f} MB")
        attackers = Attackers(server.starttls, server.implicit, options.pause)
        end = time.monotonic() + RAMP + options.seconds + 2
        slots = [
            asyncio.create_task(attackers.slot(number, end))
            for number in range(options.connections)
        ]
        await asyncio.sleep(RAMP)
        tells = besiege(server, options)
        samples = Samples()
        while time.monotonic() < end - 2:
            await asyncio.sleep(1)
            await samples.take(server, pids)
        await asyncio.gather(*slots)
        told = {
            name: await asyncio.to_thread(tell.get, timeout=120)
            for name, tell in tells.items()
        }
    finally:
        await asyncio.to_thread(server.twistd.stop)
        next_hop.close()
    log = (folder / "log").read_text()
    return report(options.connections, attackers, samples, told, log)


def report(
    connections: int,
    attackers: Attackers,
    samples: Samples,
    told: dict[str, Any],
    log: str,
) -> int:
    """Print the figures; gives the exit status."""
    for name in sorted(attackers.made):
        print(f"  {name:26} {attackers.made[name]:7} made")
    print(f"  {'churn':26} {told['churn']:7} made")
    median, least = statistics.median(samples.open or [0]), min(samples.open or [0])
    kept = connections + CHURNERS * CHURN_OPEN
    wanted = LEAST_OPEN * min(kept, LimitsSection().connections or kept)
    few = sum(one < wanted for one in samples.open) + samples.unanswered
    print(
        f"open: median {median:.0f}, least {least}; {samples.unanswered} times unsaid"
    )
    print(f"below {wanted:.0f} in {few} of {len(samples.memory)} samples")
    print(f"told 421: {attackers.heard_421}; bugs: {log.count('[bug]')}", end="; ")
    print(f"broken sessions: {log.count('[session-broken]')}", end="; ")
    print(f"displaced: {log.count('end=displaced')}", end="; ")
    print(f"supervisor silent: {log.count('[supervisor-silent]')}")
    good: Sent = told["good client"]
    slow: Sent = told["slow line"]
    for name, sent in (("good client", good), ("slow line", slow)):
        print(f"{name}: {sent}")
        for problem, count in (sent.retries + sent.errors).most_common(5):
            print(f"  {count} times {problem}")
    memory = max(samples.memory)
    print(f"memory: at most {memory:.0f} MB (PSS of all processes)")
    faults = log.count("[bug]") + log.count("[session-broken]")
    faults += good.errors.total() + slow.errors.total()
    is_good = (
        good.p99 < MOST_SECONDS
        and slow.took != []
        and memory < MOST_MEGABYTES
        and few <= RAMP
        and not faults
    )
    print("as wanted" if is_good else "NOT as wanted")
    return 0 if is_good else 1


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument(
        "--pause",
        type=float,
        default=5.0,
        help="seconds before a slot's next connection",
    )
    parser.add_argument(
        "--churn",
        type=float,
        default=500.0,
        help="connections a second that come, say nothing and go",
    )
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory(prefix="submitd-hostile-") as folder:
        return asyncio.run(attack(options, Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
