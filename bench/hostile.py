"""2,000 hostile connections at once, and two clients that only want to send.

``make hostile`` starts a server of its own on loopback and keeps so many connections of
hostile clients open to it for a minute, each from an address of its own and at one
attack (`bench.attacks`); a tenth as many slots are for those that are soon over, and
begin them again and again; others come, say nothing and go as fast as ``--churn`` lets
them. The server has room for half of these beside the others, and its limits are the
default ones otherwise, so that some have to give way all the time. All the while a good
client submits with TLS and log-in, and so does one on a slow line, on which whatever
the server says arrives 200 ms late. Passwords are kept as keys for SCRAM, and no log-in
is remembered: each is worked out. An account is braked early enough for a run to see
it.
The figures:

``made``, ``reached``
    by attack: connections that were begun, and how many came so far that the attack
    took place (the server's 354 was heard, its 454, its refusal of what was smuggled).
``in it``, ``least``
    how many were that far at a sample, once a second after the ramp: median and least.
``held by slots``, ``open``
    connections that those clients have open, and what the server counts itself
    (``submitd_sessions_open``, the churn's and the good clients' among them).
``told 421``, ``displaced``, ``braked``
    refusals that hostile clients heard; connections that had to give way, the churn's
    among them; log-ins that were put off.
``good client``, ``slow line``
    messages accepted, and the time from the first connection, over TLS and log-in, to
    the last 250. A mail program tries again: the one on the slow line does, twice at
    most, and ``retries`` says how often; ``errors`` are messages that were given up.
    The other may not err.
``memory``
    of all processes of the server, what they share counted once (PSS).
``cores used``
    by the server, and by the hostile clients with the next hop: what these take, the
    server and the good clients on the same machine do not have.

Status 0: all attacks were reached; 90 % of the connections are open in nine of ten
samples, by either count; the good client's p99 is below 1 s; that on the slow line is
below 10 s, with retries for 5 % of its messages at most; no message was given up;
memory is below 300 MB; nothing in the log is an error. Status 2: there are too few
samples to tell. Status 1: otherwise.

Bounded: loopback only, so many connections, so many seconds.
"""

import argparse
import asyncio
import base64
import contextlib
import hashlib
import hmac
import multiprocessing
import os
import re
import resource
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

from attrs import define, evolve, field

from bench.attackers import RAMP, STOLEN, STOLEN_PASSWORD, Attackers, named
from bench.attacks import COMING_AGAIN, STAYING, slots
from bench.good_clients import GoodClient, Sent, SlowLine
from tests.support.dns_peers import free_port
from tests.support.server import PASSWORDS, Server

MOST_SECONDS: Final = 1.0
MOST_SECONDS_SLOW: Final = 10.0
MOST_RETRIES: Final = 0.05
"""Of the messages on the slow line."""

MOST_MEGABYTES: Final = 300.0
LEAST_OPEN: Final = 0.9
"""Of the connections that are asked for, at a sample that counts as full."""

MOST_FEW: Final = 0.1
"""Of the samples, with fewer."""

LEAST_SAMPLES: Final = 30
LONGEST_RAMP: Final = 60.0
"""Seconds until the connections are open, on a slow machine."""

CHURNERS: Final = 8
"""Addresses that the churn comes from."""

CHURN_OPEN: Final = 40
"""Connections that each of them keeps, below the limit for an address."""


CONFIG: Final = """
[server]
hostname = "submit.example.org"
state_directory = "state"
control_socket = "control.sock"
[log]
file = "log"
[metrics]
listen = "127.0.0.1:{metrics}"
[limits]
connections = {room}
[log_in]
cache = "off"
failures_per_account = 4
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


def scram_keys(password: str) -> str:
    """As they stand in a password file (RFC 5803 says how they are made)."""
    salt, iterations = os.urandom(16), 4096
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client, server = (
        hmac.digest(salted, name, "sha256") for name in (b"Client Key", b"Server Key")
    )
    keys = (salt, hashlib.sha256(client).digest(), server)
    encoded = ",".join(base64.b64encode(one).decode() for one in keys)
    return f"{{SCRAM-SHA-256}}{iterations},{encoded}"


@define
class Victim(Server):
    """The server under attack."""

    next_hop: int
    room: int
    """Connections that it takes at once."""

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
                room=self.room,
            )
        )
        known = PASSWORDS | dict.fromkeys(STOLEN, STOLEN_PASSWORD)
        lines = (f"{name}:{scram_keys(word)}\n" for name, word in known.items())
        (self.folder / "passwords").write_text("".join(lines))
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


# Who comes and goes


def churn(
    port: int,
    rate: float,
    seconds: float,
    tell: Any,  # noqa: ANN401 - a queue has no type at run time
) -> None:
    """Connect, say nothing, close what has been open longest: so often a second.

    Tells how many there were, and the CPU seconds that they took.

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
    tell.put((made, time.process_time()))


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


def cpu_seconds(pid: int) -> float:
    """That this process has used so far; 0.0: there is none."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


@define
class Samples:
    """What was seen once a second."""

    open: list[int] = field(factory=list)
    """By the server's own count; 0 where it did not say."""

    held: list[int] = field(factory=list)
    """By the slots, the lower of which counts."""

    within: list[Counter[str]] = field(factory=list)
    memory: list[float] = field(factory=list)
    cpu: dict[int, float] = field(factory=dict)
    """Seconds that each process of the server has used since the ramp."""

    before: dict[int, float] = field(factory=dict)
    pids: list[int] = field(factory=list)

    async def take(self, server: Victim, attackers: Attackers) -> None:
        """Now."""
        status = await asyncio.to_thread(server.twistd.status)
        # One that did not answer in time has the processes that it had.
        self.pids = [int(pid) for pid in status.get("pids", self.pids)]
        self.memory.append(megabytes(self.pids))
        for pid in self.pids:
            used = cpu_seconds(pid)
            self.cpu[pid] = used - self.before.setdefault(pid, used)
        told = await asyncio.to_thread(server.open)
        self.open.append(told or 0)
        self.held.append(attackers.held)
        self.within.append(Counter(attackers.within))

    def few(self, wanted: float) -> int:
        """In how many of them fewer were open, as either side counts."""
        both = zip(self.open, self.held, strict=True)
        return sum(min(pair) < wanted for pair in both)


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


@define
class Outcome:
    """Of a whole run."""

    connections: int
    attackers: Attackers
    samples: Samples
    good: Sent
    slow: Sent
    churned: int
    churn_cpu: float
    """Seconds that the churn took."""

    seconds: float
    """From when all are open."""

    in_all: float
    """Seconds from the first attack on."""

    attackers_cpu: float
    """Seconds in that time, with the next hop, which lives in the same process."""

    log: str

    @property
    def wanted(self) -> float:
        """Connections that are to be open at each sample."""
        return LEAST_OPEN * self.connections

    def failures(self) -> Iterator[str]:
        """What is not as it has to be."""
        for attack in (*STAYING, *COMING_AGAIN):
            if not self.attackers.reached[name := named(attack)]:
                how = self.attackers.failed[name].most_common(1)
                yield f"{name} was never reached: {how}"
        few, taken = self.samples.few(self.wanted), len(self.samples.held)
        if few > MOST_FEW * taken:
            yield f"{few} of {taken} samples have fewer than {self.wanted:.0f} open"
        if not self.good.p99 < MOST_SECONDS:
            yield "the good client's p99"
        if not self.slow.p99 < MOST_SECONDS_SLOW:
            yield "the slow line's p99"
        if self.slow.retries.total() > MOST_RETRIES * len(self.slow.took):
            yield "the slow line's retries"
        if self.good.errors or self.slow.errors:
            yield "messages were given up"
        if not max(self.samples.memory) < MOST_MEGABYTES:
            yield "memory"
        for event, count in self.errors().items():
            yield f"{count} times in the log: {event}"

    def errors(self) -> Counter[str]:
        """Events of the level ERROR in the log, and sessions that broke."""
        bad = re.findall(r"^\S+ error .*?\[([a-z-]+)\]", self.log, re.MULTILINE)
        broken = re.findall(r"\[(session-broken)\]", self.log)
        return (
            Counter(bad)
            + Counter(broken)
            + Counter(["traceback"] * self.log.count("Traceback"))
        )

    def is_too_short(self) -> bool:
        """Nothing can be told of it."""
        return len(self.samples.held) < LEAST_SAMPLES


async def fill(server: Victim, attackers: Attackers, wanted: float) -> None:
    """Wait until so many are open and at what they are for, or have had their time.

    Before that it is a crowd that logs in at once, and no siege.
    """
    last = time.monotonic() + LONGEST_RAMP
    await asyncio.sleep(RAMP)
    while time.monotonic() < last:
        told = await asyncio.to_thread(server.open)
        if min(told or 0, attackers.held, attackers.within.total()) >= wanted:
            return
        await asyncio.sleep(0.5)


async def attack(options: argparse.Namespace, folder: Path) -> int:
    """All of it; gives the exit status."""
    next_hop = await sink()
    room = options.connections + CHURNERS * CHURN_OPEN // 2
    server = Victim(folder, next_hop.sockets[0].getsockname()[1], room)
    await asyncio.to_thread(server.start)
    try:
        samples = Samples()
        samples.pids = [int(pid) for pid in server.twistd.status()["pids"]]
        print(f"memory before: {megabytes(samples.pids):.0f} MB")
        attackers = Attackers(server.starttls, server.implicit, options.pause)
        started = time.monotonic()
        tasks = [
            asyncio.create_task(attackers.slot(one))
            for one in slots(options.connections)
        ]
        await fill(server, attackers, LEAST_OPEN * options.connections)
        tells = besiege(server, options)
        begun, used = time.monotonic(), time.process_time()
        while (passed := time.monotonic() - begun) < options.seconds:
            await asyncio.sleep(1)
            await samples.take(server, attackers)
        used, in_all = time.process_time() - used, time.monotonic() - started
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended
        told = {
            name: await asyncio.to_thread(tell.get, timeout=120)
            for name, tell in tells.items()
        }
    finally:
        await asyncio.to_thread(server.twistd.stop)
        next_hop.close()
    return report(
        Outcome(
            options.connections,
            attackers,
            samples,
            told["good client"],
            told["slow line"],
            told["churn"][0],
            told["churn"][1],
            passed,
            in_all,
            used,
            (folder / "log").read_text(),
        )
    )


def report(outcome: Outcome) -> int:
    """Print the figures; gives the exit status."""
    tell_attacks(outcome)
    samples, log = outcome.samples, outcome.log
    for name, counts in (("held by slots", samples.held), ("open", samples.open)):
        print(f"{name}: median {statistics.median(counts):.0f}, least {min(counts)}")
    few, taken = samples.few(outcome.wanted), len(samples.held)
    print(f"below {outcome.wanted:.0f} in {few} of {taken} samples")
    print(f"told 421: {outcome.attackers.heard_421}", end="; ")
    print(f"displaced: {log.count('end=displaced')}", end="; ")
    print(f"braked: {log.count('[login-braked]')}", end="; ")
    print(f"supervisor silent: {log.count('[supervisor-silent]')}")
    for name, sent in (("good client", outcome.good), ("slow line", outcome.slow)):
        print(f"{name}, connect to 250: {sent}")
        for problem, count in (sent.retries + sent.errors).most_common(5):
            print(f"  {count} times {problem}")
    print(f"memory: at most {max(samples.memory):.0f} MB (PSS of all processes)")
    cpu = {
        "server": sum(samples.cpu.values()),
        "slots and next hop": outcome.attackers_cpu,
        "churn": outcome.churn_cpu,
    }
    cores = (f"{name} {used / outcome.seconds:.2f}" for name, used in cpu.items())
    print("cores used:", ", ".join(cores))
    failures = list(outcome.failures())
    for failure in failures:
        print(f"NOT as wanted: {failure}")
    if outcome.is_too_short():
        print(f"too short to tell: fewer than {LEAST_SAMPLES} samples")
        return 2
    if not failures:
        print("as wanted")
    return 1 if failures else 0


def tell_attacks(outcome: Outcome) -> None:
    """A line for each."""
    attackers, within = outcome.attackers, outcome.samples.within
    print(f"  {'attack':28} {'made':>7} {'reached':>7} {'in it':>6} {'least':>6}")
    for name in map(named, (*STAYING, *COMING_AGAIN)):
        counts = [one[name] for one in within]
        median, least = statistics.median(counts), min(counts)
        made, reached = attackers.made[name], attackers.reached[name]
        print(f"  {name:28} {made:7} {reached:7} {median:6.0f} {least:6}")
    print(f"  {'churn':28} {outcome.churned:7}")
    rate = attackers.made.total() / outcome.in_all
    print(f"attacks begun: {rate:.0f} a second, and the churn's")


def positive(text: str) -> float:
    """A number of the command line that bounds a pace."""
    if not (number := float(text)) > 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return number


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--seconds", type=positive, default=60.0)
    parser.add_argument(
        "--pause",
        type=positive,
        default=5.0,
        help="seconds, on average, before a slot's next connection or repetition",
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
