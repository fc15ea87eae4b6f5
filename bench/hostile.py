"""2,000 hostile connections at once, and two clients that only want to send.

``make hostile`` starts a server of its own on loopback and keeps so many connections of
hostile clients open to it for a minute, each from an address of its own and at one of
the attacks below; a tenth as many slots are for attacks that are soon over, and begin
them again and again; others come, say nothing and go as fast as ``--churn`` lets them.
The server has room for half of these beside the others, and its limits are the default
ones otherwise, so that some have to give way all the time. All the while a good client
submits with TLS and log-in, and so does one on a slow line, on which whatever the
server says arrives 200 ms late. Passwords are kept as keys for SCRAM, and no log-in is
remembered: each is worked out. An account is braked early enough for a run to see it.
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
import itertools
import multiprocessing
import os
import random
import re
import resource
import socket
import ssl
import statistics
import struct
import sys
import tempfile
import time
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

from attrs import define, evolve, field

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

RAMP: Final = 6.0
"""Seconds within which all connections are made."""

CHURNERS: Final = 8
"""Addresses that the churn comes from."""

CHURN_OPEN: Final = 40
"""Connections that each of them keeps, below the limit for an address."""

STOLEN: Final = tuple(f"mallory{number}" for number in range(12))
"""Log-ins that were stolen: attacks within a transaction need one."""

STOLEN_PASSWORD: Final = "stolen"

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


# The hostile ones


def base64ed(*words: str) -> bytes:
    """With a NUL before each, as PLAIN has them."""
    return base64.b64encode("".join(f"\0{word}" for word in words).encode())


def log_in(name: str, password: str = STOLEN_PASSWORD) -> bytes:
    """The command; with a stolen password where no other is given."""
    return b"AUTH PLAIN " + base64ed(name, password) + b"\r\n"


@define
class Attackers:
    """So many slots; in each, one attack after another."""

    starttls: int
    implicit: int
    pause: float
    """Seconds, on average, before a slot's next connection or a repetition."""

    made: Counter[str] = field(factory=Counter)
    reached: Counter[str] = field(factory=Counter)
    within: Counter[str] = field(factory=Counter)
    """Attempts that have reached what they are for, and go on now."""

    failed: dict[str, Counter[str]] = field(factory=lambda: defaultdict(Counter))
    """How attempts ended that had not reached it; by attack."""

    held: int = 0
    """Connections that are open now."""

    heard_421: int = 0
    _addresses: "itertools.count[int]" = field(factory=itertools.count)

    async def slot(self, attack: "Attack", end: float) -> None:
        """One attack again and again, each time from another address."""
        await asyncio.sleep(random.random() * (RAMP - 1))
        while (left := end - time.monotonic()) > 0:
            await self._try(attack, left)
            await asyncio.sleep(min(self.pause * random.uniform(0.5, 1.5), left))

    async def _try(self, attack: "Attack", seconds: float) -> None:
        name = named(attack)
        self.made[name] += 1
        attempt = Attempt(self, name)
        problem: Exception | None = None
        try:
            async with asyncio.timeout(seconds):
                await attack(attempt)
        except (OSError, TimeoutError, EOFError, NotRefused) as met:
            problem = met
        finally:
            attempt.end()
        if not attempt.is_within:
            self.failed[name][f"{problem!r:.300}"] += 1

    def address(self) -> str:
        """On loopback; each in a network of its own, as far as they last."""
        number = next(self._addresses)
        return f"127.{number // 256 % 254 + 1}.{number % 256}.9"


@define
class Attempt:
    """One attack at one time."""

    _by: Attackers
    _name: str
    is_within: bool = False
    """It came so far that it is what its name says."""

    _wires: "list[Wire]" = field(factory=list)

    @property
    def pause(self) -> float:
        """Seconds between two repetitions."""
        return self._by.pause

    def reached(self) -> None:
        """Count it, once."""
        if not self.is_within:
            self._by.reached[self._name] += 1
            self._by.within[self._name] += 1
            self.is_within = True

    def end(self) -> None:
        """Give up what it had."""
        self._by.within[self._name] -= self.is_within
        self._by.held -= len(self._wires)
        for wire in self._wires:
            wire.writer.transport.abort()

    async def connect(self, *, tls: bool) -> "Wire":
        """A connection from some address on loopback."""
        port = self._by.implicit if tls else self._by.starttls
        return await self._connect(port, ANYBODY if tls else None)

    async def raw(self) -> "Wire":
        """To the port that begins with TLS, without it."""
        return await self._connect(self._by.implicit, None)

    async def _connect(self, port: int, context: ssl.SSLContext | None) -> "Wire":
        reader, writer = await asyncio.open_connection(
            "127.0.0.1",
            port,
            local_addr=(self._by.address(), 0),
            ssl=context,
            limit=8192,
        )
        wire = Wire(self._by, reader, writer)
        self._wires.append(wire)
        self._by.held += 1
        return wire

    async def logged_in(self) -> "Wire":
        """With a stolen password."""
        wire = await self.connect(tls=True)
        wire.login = random.choice(STOLEN)
        wire.say(b"EHLO x\r\n" + log_in(wire.login))
        await wire.hear(b"235 ")
        return wire

    async def begun(self) -> "Wire":
        """Within a transaction."""
        wire = await self.logged_in()
        wire.say(wire.begin)
        await wire.hear(b"250 2.1.5")
        return wire


class NotRefused(Exception):
    """The server took what no server may take."""


class Wire:
    """One hostile connection."""

    login = ""

    def __init__(
        self,
        attackers: Attackers,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._attackers, self.reader, self.writer = attackers, reader, writer

    @property
    def sender(self) -> bytes:
        """An address that its login may use."""
        return self.login.encode() + b"@example.org"

    @property
    def begin(self) -> bytes:
        """The commands that begin a transaction."""
        return b"MAIL FROM:<%b>\r\nRCPT TO:<bob@example.net>\r\n" % self.sender

    def say(self, octets: bytes) -> None:
        """Without waiting."""
        self.writer.write(octets)

    async def hear(self, text: bytes) -> list[bytes]:
        """Wait until it was said; all lines up to it."""
        lines = [await self._line()]
        while text not in lines[-1]:
            lines.append(await self._line())
        return lines

    async def _line(self) -> bytes:
        line = await self.reader.readuntil(b"\n")
        self._attackers.heard_421 += line.startswith(b"421")
        return line

    async def listen(self, seconds: float = 3600.0) -> None:
        """For so long.

        Raises:
            OSError, EOFError: the server ended it before.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    await self._line()

    async def trickle(self, octets: bytes) -> None:
        """Until the server ends it, one of these octets every two seconds."""
        for place in itertools.count():
            self.say(octets[place % len(octets) :][:1])
            await self.listen(2.0)

    async def ended(self) -> None:
        """Wait until the server ends it.

        Raises:
            TimeoutError: it did not.
        """
        with contextlib.suppress(ConnectionError, EOFError):
            async with asyncio.timeout(20.0):
                while await self.reader.read(4096):
                    pass

    def half_close(self) -> None:
        """Say no more, and nothing of it within TLS."""
        self.writer.get_extra_info("socket").shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Gone, with an RST, once it is aborted."""
        wire = self.writer.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


Attack = Callable[[Attempt], Awaitable[None]]


def named(attack: Attack) -> str:
    """As it is told."""
    return attack.__name__.removeprefix("_")


# Those that keep their places


async def _silent(by: Attempt) -> None:
    wire = await by.connect(tls=False)
    await wire.hear(b"220 ")
    by.reached()
    await wire.listen()


async def _trickles(by: Attempt) -> None:
    wire = await by.connect(tls=False)
    await wire.hear(b"220 ")
    by.reached()
    await wire.trickle(b"x")


async def _talks_early(by: Attempt) -> None:
    wire = await by.connect(tls=False)
    wire.say(b"EHLO x\r\nNOOP\r\n")
    await wire.hear(b"250 2.0.0 Ok")
    by.reached()
    await wire.listen()


async def _stalls_in_handshake(by: Attempt) -> None:
    wire = await by.raw()
    wire.say(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    await wire.listen(1.0)
    by.reached()
    await wire.trickle(b"\0")


async def _promises_a_long_hello(by: Attempt) -> None:
    wire = await by.raw()
    wire.say(b"\x16\x03\x01\x40\x00\x01\x01\xff\xf0\x03\x03" + b"\0" * 16378)
    await wire.listen(1.0)
    by.reached()
    await wire.listen()


async def _stalls_behind_starttls(by: Attempt) -> None:
    wire = await by.connect(tls=False)
    wire.say(b"EHLO x\r\nSTARTTLS\r\n")
    await wire.hear(b"220 2.0.0")
    by.reached()
    await wire.listen()


async def _idles_under_tls(by: Attempt) -> None:
    wire = await by.connect(tls=True)
    wire.say(b"EHLO x\r\n")
    await wire.hear(b"250 ")
    by.reached()
    await wire.listen()


async def _stalls_in_auth(by: Attempt) -> None:
    wire = await by.connect(tls=True)
    wire.say(b"EHLO x\r\nAUTH LOGIN\r\n")
    await wire.hear(b"334 ")
    by.reached()
    await wire.trickle(b"Q")


async def _abandons_scram(by: Attempt) -> None:
    wire = await by.connect(tls=True)
    first = base64.b64encode(f"n,,n={STOLEN[0]},r={random.random()}".encode())
    begin = b"AUTH SCRAM-SHA-256 " + first + b"\r\n"
    wire.say(b"EHLO x\r\n" + begin)
    await wire.hear(b"334 ")
    wire.say(b"*\r\n" + begin)
    await wire.hear(b"334 ")
    by.reached()
    await wire.listen()


async def _crowds_a_braked_account(by: Attempt) -> None:
    wire = await by.connect(tls=True)
    guesses = b"".join(log_in("ghost", f"{random.random()}") for _ in range(90))
    wire.say(b"EHLO x\r\n" + guesses)
    await wire.hear(b"454 4.7.0")
    by.reached()
    await wire.listen()


async def _holds_a_big_header(by: Attempt) -> None:
    wire = await by.begun()
    wire.say(b"DATA\r\n")
    await wire.hear(b"354 ")
    wire.say(b"From: " + wire.sender + b"\r\n" + b"X: y\r\n" * 43000)
    await wire.writer.drain()
    by.reached()
    await wire.trickle(b"X: y\r\n")


async def _trickles_into_a_chunk(by: Attempt) -> None:
    wire = await by.begun()
    wire.say(b"BDAT 1000000\r\nFrom: " + wire.sender + b"\r\n\r\n")
    await wire.listen(1.0)
    by.reached()
    await wire.trickle(b"x")


async def _floods_recipients(by: Attempt) -> None:
    wire = await by.begun()
    wire.say(b"".join(b"RCPT TO:<r%d@example.net>\r\n" % n for n in range(2000)))
    await wire.hear(b"452 4.5.3")
    by.reached()
    await wire.listen()


async def _pipelines_without_end(by: Attempt) -> None:
    wire = await by.logged_in()
    while True:
        wire.say(b"NOOP\r\n" * 200 + b"VRFY x\r\n")
        await wire.hear(b"252 ")
        by.reached()
        await wire.listen(by.pause)


# What ends no message, and what a server that takes it for the end would do then.
NO_ENDS: Final = (
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r\n.\r",
    b"\r\n\0.\r\n",
)


async def _smuggles(by: Attempt) -> None:
    wire = await by.logged_in()
    while True:
        for no_end in NO_ENDS:
            wire.say(wire.begin + b"DATA\r\n")
            await wire.hear(b"354 ")
            header = b"From: " + wire.sender + b"\r\n\r\nHi"
            forged = b"MAIL FROM:<root@example.org>\r\nDATA\r\nForged\r\n.\r\n"
            wire.say(header + no_end + forged + b"VRFY x\r\n")
            _refused(await wire.hear(b"252 "), 1)
        by.reached()
        await wire.listen(by.pause)


INJECTED: Final = [
    line.encode()
    for line in (
        "ENVID=x+0D+0AX-Evil:+20yes",
        "AUTH=x+0D+0AX-Evil:+20yes",
        "ENVID=x\vX-Evil:",
        "ENVID=x\0X-Evil:",
        "SMTPUTF8\x85X-Evil:",
        "SMTPUTF8\u2028X-Evil:",
    )
]


async def _injects_by_parameters(by: Attempt) -> None:
    wire = await by.logged_in()
    for parameter in INJECTED:
        wire.say(b"MAIL FROM:<%b> %b\r\n" % (wire.sender, parameter))
    for character in ("\u2028", "\x85", "\u202e", "\r"):
        name = f"{wire.login}{character}X-Evil".encode()
        wire.say(b"MAIL FROM:<%b@example.org> SMTPUTF8\r\n" % name)
    wire.say(b"VRFY x\r\n")
    _refused(await wire.hear(b"252 "), len(INJECTED) + 4)
    wire.say(b"MAIL FROM:<%b> SMTPUTF8\r\n" % wire.sender)
    await wire.hear(b"250 2.1.0")
    for original in (
        b"rfc822;x+0D+0AX-Evil:",
        b"utf-8;a\\x{0A}X@b",
        b"utf-8;a\\x{2028}",
    ):
        wire.say(b"RCPT TO:<bob@example.net> ORCPT=%b\r\n" % original)
    wire.say(b"VRFY x\r\n")
    _refused(await wire.hear(b"252 "), 3)
    by.reached()
    await wire.listen()


async def _sends_nulls(by: Attempt) -> None:
    wire = await by.logged_in()
    wire.say(b"NO\0OP\r\nMAIL FROM:<a\0b@example.org>\r\nVRFY x\r\n")
    _refused(await wire.hear(b"252 "), 2)
    while True:
        wire.say(wire.begin + b"DATA\r\n")
        await wire.hear(b"354 ")
        wire.say(b"From: " + wire.sender + b"\r\nX: \0\r\n\r\n\0\r\n.\r\nVRFY x\r\n")
        _refused(await wire.hear(b"252 "), 1)
        by.reached()
        await wire.listen(by.pause)


# Each within a transaction, and what of it is refused.
CHUNKS: Final = (
    (b"BDAT 8 LAST\r\na\r\n.\nb\r\n", 1),
    (b"BDAT 2\r\nHiDATA\r\n", 1),
    (b"BDAT 0\r\nBDAT 0\r\nBDAT 00000000000000000002\r\nHi", 0),
    (b"BDAT 4\r\nHi\r\nHELO x\r\nBDAT 6 LAST\r\nQUIT\r\n", 1),
)


async def _sends_chunks_of_every_shape(by: Attempt) -> None:
    wire = await by.logged_in()
    while True:
        for chunks, refused in CHUNKS:
            wire.say(wire.begin + chunks + b"VRFY x\r\nRSET\r\n")
            _refused(await wire.hear(b"252 "), refused)
        by.reached()
        await wire.listen(by.pause)


def _refused(lines: list[bytes], count: int) -> None:
    """So many of these replies, and no others, are refusals.

    Raises:
        NotRefused: they are not so many.
    """
    last_lines = [line for line in lines if line[3:4] == b" "]
    if sum(line.startswith(b"5") for line in last_lines) != count:
        raise NotRefused(lines)


# Those that come again and again


async def _injects_behind_starttls(by: Attempt) -> None:
    wire = await by.connect(tls=False)
    wire.say(b"EHLO x\r\nSTARTTLS\r\nEHLO y\r\n" + log_in(STOLEN[0]))
    await wire.hear(b"503 5.5.1 Nothing may follow STARTTLS")
    by.reached()


async def _garbage_for_tls(by: Attempt) -> None:
    wire = await by.raw()
    wire.say(random.randbytes(2000))
    await wire.ended()
    by.reached()


async def _garbage_behind_starttls(by: Attempt) -> None:
    wire = await by.connect(tls=False)
    wire.say(b"STARTTLS\r\n")
    await wire.hear(b"220 2.0.0")
    wire.say(random.randbytes(2000))
    await wire.ended()
    by.reached()


async def _says_tls_in_the_clear(by: Attempt) -> None:
    wire = await by.connect(tls=False)
    await wire.hear(b"220 ")
    wire.say(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n" * 30)
    await wire.hear(b"500 ")
    by.reached()
    await wire.ended()


async def _guesses_passwords(by: Attempt) -> None:
    wire = await by.connect(tls=True)
    name = f"user{random.random()}"
    guesses = b"".join(log_in(name, f"wrong{number}") for number in range(10))
    wire.say(b"EHLO x\r\n" + guesses)
    await wire.hear(b"535 ")
    by.reached()
    await wire.ended()


async def _does_not_read(by: Attempt) -> None:
    """Until the buffers of the system are full both ways: some megabytes each."""
    wire = await by.begun()
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    for _ in range(200):
        wire.say(b"RCPT TO:<b@example.net>\r\n" * 4000)
        await asyncio.sleep(0.1)
        # What does not go out any more the server does not take.
        if wire.writer.transport.get_write_buffer_size():
            by.reached()
            await wire.writer.wait_closed()


async def _logs_in_with_ligatures(by: Attempt) -> None:
    """U+FDFA becomes eighteen characters, each of which is looked at."""
    wire = await by.connect(tls=True)
    wire.say(b"EHLO x\r\n")
    for times in (56, 900):
        name, password = f"user{random.random()}", "\ufdfa" * times
        wire.say(log_in(name, password) + log_in(password[:50], password))
    wire.say(b"NOOP\r\n")
    await wire.hear(b"535 ")
    by.reached()
    await wire.ended()


async def _errs(by: Attempt) -> None:
    wire = await by.connect(tls=False)
    wire.say((b"x" * 5000 + b"\r\n") * 30)
    await wire.hear(b"500 ")
    by.reached()
    await wire.ended()


async def _promises_a_huge_chunk(by: Attempt) -> None:
    wire = await by.connect(tls=True)
    wire.say(b"EHLO x\r\nBDAT 100000000000000 LAST\r\n")
    await wire.hear(b"421 4.5.0")
    by.reached()


async def _half_closes(by: Attempt) -> None:
    wire = await by.connect(tls=False)
    wire.say(b"EHLO x\r\n")
    await wire.hear(b"250 ")
    wire.half_close()
    await wire.ended()
    by.reached()


async def _half_closes_under_tls(by: Attempt) -> None:
    wire = await by.begun()
    wire.half_close()
    await wire.ended()
    by.reached()


async def _quits_without_close_notify(by: Attempt) -> None:
    """TLS by hand: that of the library would take its leave."""
    wire = await by.raw()
    came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ANYBODY.wrap_bio(came, goes)

    async def until_done(step: Callable[[], object]) -> None:
        while True:
            try:
                step()
            except ssl.SSLWantReadError:
                wire.say(goes.read())
                if not (octets := await wire.reader.read(4096)):
                    raise EOFError from None
                came.write(octets)
            else:
                wire.say(goes.read())
                return

    heard = bytearray()
    await until_done(tls.do_handshake)
    tls.write(b"QUIT\r\n")
    while b"221 " not in heard:
        await until_done(lambda: heard.extend(tls.read(4096)))
    by.reached()
    await wire.ended()


async def _is_gone_at_once(by: Attempt) -> None:
    wire = await by.connect(tls=False)
    by.reached()
    wire.reset()


async def _resets_behind_starttls(by: Attempt) -> None:
    wire = await by.connect(tls=False)
    wire.say(b"STARTTLS\r\n")
    await wire.hear(b"220 2.0.0")
    by.reached()
    wire.reset()


async def _resets_within_a_log_in(by: Attempt) -> None:
    wire = await by.connect(tls=True)
    wire.say(b"EHLO x\r\nAUTH PLAIN\r\n")
    await wire.hear(b"334 ")
    by.reached()
    wire.reset()


async def _resets_within_a_transaction(by: Attempt) -> None:
    wire = await by.begun()
    by.reached()
    wire.reset()


async def _resets_within_data(by: Attempt) -> None:
    wire = await by.begun()
    wire.say(b"DATA\r\n")
    await wire.hear(b"354 ")
    wire.say(b"From: " + wire.sender + b"\r\n\r\nHalf")
    await wire.listen(0.1)
    by.reached()
    wire.reset()


async def _resets_within_a_chunk(by: Attempt) -> None:
    wire = await by.begun()
    wire.say(b"BDAT 100\r\nFrom: " + wire.sender)
    await wire.listen(0.1)
    by.reached()
    wire.reset()


STAYING: Final[tuple[Attack, ...]] = (
    _silent,
    _trickles,
    _talks_early,
    _stalls_in_handshake,
    _promises_a_long_hello,
    _stalls_behind_starttls,
    _idles_under_tls,
    _stalls_in_auth,
    _abandons_scram,
    _crowds_a_braked_account,
    _holds_a_big_header,
    _trickles_into_a_chunk,
    _floods_recipients,
    _pipelines_without_end,
    _smuggles,
    _injects_by_parameters,
    _sends_nulls,
    _sends_chunks_of_every_shape,
)
"""They have all the connections that are asked for."""

COMING_AGAIN: Final[tuple[Attack, ...]] = (
    _injects_behind_starttls,
    _garbage_for_tls,
    _garbage_behind_starttls,
    _says_tls_in_the_clear,
    _guesses_passwords,
    _logs_in_with_ligatures,
    _does_not_read,
    _errs,
    _promises_a_huge_chunk,
    _half_closes,
    _half_closes_under_tls,
    _quits_without_close_notify,
    _is_gone_at_once,
    _resets_behind_starttls,
    _resets_within_a_log_in,
    _resets_within_a_transaction,
    _resets_within_data,
    _resets_within_a_chunk,
)
"""Most are soon over; one that stays costs the server too much to be of the others.

They come on top of these.
"""


def slots(connections: int) -> Iterator[Attack]:
    """What goes on in each: as many that stay, and a tenth that come again."""
    for number in range(connections):
        yield STAYING[number % len(STAYING)]
    for number in range(max(2 * len(COMING_AGAIN), connections // 10)):
        yield COMING_AGAIN[number % len(COMING_AGAIN)]


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
    """From the end of the ramp on."""

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
        end = time.monotonic() + RAMP + options.seconds + 2
        tasks = [
            asyncio.create_task(attackers.slot(one, end))
            for one in slots(options.connections)
        ]
        await asyncio.sleep(RAMP)
        tells = besiege(server, options)
        begun, used = time.monotonic(), time.process_time()
        while time.monotonic() < end - 2:
            await asyncio.sleep(1)
            await samples.take(server, attackers)
        passed, used = time.monotonic() - begun, time.process_time() - used
        await asyncio.gather(*tasks)
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
    rate = attackers.made.total() / (outcome.seconds + RAMP)
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
