"""2,000 hostile connections at once, and one client that only wants to send.

``make hostile`` starts a server of its own on loopback, with default limits, and keeps
so many connections of hostile clients open to it for a minute, each at one of the
attacks below. All the while a good client submits with TLS and log-in. It prints how
long that took, what was refused, and how much memory the server's processes had (PSS).
Status 0: p99 below 1 s, memory below 300 MB, no errors.

Bounded: loopback only, so many connections, so many seconds.
"""

import argparse
import asyncio
import base64
import contextlib
import multiprocessing
import random
import resource
import smtplib
import socket
import ssl
import statistics
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, Self

from tests.support.certificates import make_certificate
from tests.support.dns_peers import free_port
from tests.support.twistd import Twistd

GOOD_ADDRESS: Final = "127.0.0.2"
MOST_SECONDS: Final = 1.0
MOST_MEGABYTES: Final = 300.0
GOOD_PAUSE: Final = 0.2
"""Seconds between two submissions of the good client."""

STOLEN: Final = tuple(f"mallory{number}" for number in range(4))
"""Log-ins that were stolen: attacks within a transaction need one."""

MESSAGE: Final = (
    b"From: alice@example.org\r\nSubject: good\r\n\r\n" + b"Text.\r\n" * 400
)
ANYBODY: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
ANYBODY.check_hostname = False
ANYBODY.verify_mode = ssl.CERT_NONE


def settings(folder: Path, next_hop: int) -> tuple[int, int]:
    """Write the server's configuration; gives the ports of both listeners."""
    make_certificate(folder, "cert.pem", "key.pem", ["localhost"])
    users = ["alice:{PLAIN}wonderland", *(f"{name}:{{PLAIN}}stolen" for name in STOLEN)]
    (folder / "passwords").write_text("\n".join(users) + "\n")
    starttls, implicit = free_port(), free_port()
    (folder / "submitd.toml").write_text(
        f"""
[server]
hostname = "submit.example.org"
state_directory = "state"
control_socket = "control.sock"
[log]
file = "log"
[metrics]
listen = "off"
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
    )
    return starttls, implicit


# The hostile ones


def log_in(name: str) -> bytes:
    """The command, with a stolen password."""
    return b"AUTH PLAIN " + base64.b64encode(f"\0{name}\0stolen".encode()) + b"\r\n"


class Attackers:
    """So many slots; in each, one attack after another."""

    def __init__(self, starttls: int, implicit: int, pause: float) -> None:
        self.starttls, self.implicit, self.pause = starttls, implicit, pause
        self.open: Counter[str] = Counter()
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
        self.open[name] += 1
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(seconds):
                await work
        self.open[name] -= 1

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


# The good one, in a process of its own


def submit(
    ports: tuple[int, int],
    ca: str,
    seconds: float,
    tell: Any,  # noqa: ANN401 - a queue has no type at run time
) -> None:
    """Send one message after another; tell how long each took, and what went wrong."""
    trust = ssl.create_default_context(cafile=ca)
    took: list[float] = []
    wrong: Counter[str] = Counter()
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        number += 1
        since = time.monotonic()
        try:
            _send(ports, number, trust)
        except (OSError, smtplib.SMTPException) as problem:
            wrong[repr(problem)[:160]] += 1
        else:
            took.append(time.monotonic() - since)
        time.sleep(GOOD_PAUSE)  # noqa: TID251 - a client's own pace
    tell.put((took, wrong))


def _send(ports: tuple[int, int], number: int, trust: ssl.SSLContext) -> None:
    source = (GOOD_ADDRESS, 0)
    client: smtplib.SMTP
    if number % 2:
        client = smtplib.SMTP("localhost", ports[0], None, 30, source)
    else:
        client = smtplib.SMTP_SSL(
            "localhost", ports[1], timeout=30, source_address=source, context=trust
        )
    with client:
        if number % 2:
            client.starttls(context=trust)
        client.login("alice", "wonderland")
        client.sendmail("alice@example.org", ["bob@example.net"], MESSAGE)


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


async def attack(options: argparse.Namespace, folder: Path) -> int:
    """All of it; gives the exit status."""
    next_hop = await sink()
    port = next_hop.sockets[0].getsockname()[1]
    ports = settings(folder, port)
    server = Twistd(folder)
    await asyncio.to_thread(server.start)
    tell: Any = multiprocessing.Queue()
    good = multiprocessing.Process(
        target=submit, args=(ports, str(folder / "cert.pem"), options.seconds, tell)
    )
    try:
        pids = [int(pid) for pid in server.status()["pids"]]
        print(f"memory before: {megabytes(pids):.0f} MB")
        attackers = Attackers(*ports, options.pause)
        end = time.monotonic() + options.seconds + 8
        slots = [
            asyncio.create_task(attackers.slot(number, end))
            for number in range(options.connections)
        ]
        await asyncio.sleep(6)
        good.start()
        most_memory, most_open, held = 0.0, 0, Counter[str]()
        while time.monotonic() < end - 2:
            await asyncio.sleep(1)
            most_memory = max(most_memory, megabytes(pids))
            if attackers.open.total() > most_open:
                most_open, held = attackers.open.total(), attackers.open.copy()
        await asyncio.gather(*slots)
        took, wrong = await asyncio.to_thread(tell.get)
        good.join()
    finally:
        await asyncio.to_thread(server.stop)
        next_hop.close()
    log = (folder / "log").read_text()
    return report(attackers, held, took, wrong, most_memory, log)


def report(
    attackers: Attackers,
    held: Counter[str],
    took: list[float],
    wrong: Counter[str],
    most_memory: float,
    log: str,
) -> int:
    """Print the figures; gives the exit status."""
    for name in sorted(attackers.made):
        print(f"  {name:26} {held[name]:5} at once {attackers.made[name]:7} in all")
    print(
        f"hostile connections: {held.total()} at once, {attackers.made.total()} in all"
    )
    print(f"told 421: {attackers.heard_421}; bugs: {log.count('[bug]')}", end="; ")
    print(f"broken sessions: {log.count('[session-broken]')}", end="; ")
    print(f"displaced: {log.count('end=displaced')}", end="; ")
    print(f"supervisor silent: {log.count('[supervisor-silent]')}")
    for problem, count in wrong.most_common(5):
        print(f"  good client: {count} times {problem}")
    if len(took) < 2:
        print("the good client could not send")
        return 1
    cuts = statistics.quantiles(took, n=100, method="inclusive")
    print(f"good client: {len(took)} messages, {wrong.total()} errors", end=", ")
    print(f"p50 {cuts[49] * 1000:.0f} ms, p99 {cuts[98] * 1000:.0f} ms", end=", ")
    print(f"longest {max(took) * 1000:.0f} ms")
    print(f"memory: at most {most_memory:.0f} MB (PSS of all processes)")
    faults = log.count("[bug]") + log.count("[session-broken]") + wrong.total()
    is_good = cuts[98] < MOST_SECONDS and most_memory < MOST_MEGABYTES and not faults
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
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory(prefix="submitd-hostile-") as folder:
        return asyncio.run(attack(options, Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
