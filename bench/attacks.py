"""What hostile clients do: each attack says when it was reached."""

import asyncio
import base64
import contextlib
import itertools
import random
import socket
import ssl
import struct
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from attrs import define, field

RAMP: Final = 6.0
"""Seconds within which all connections are made."""

STOLEN: Final = tuple(f"mallory{number}" for number in range(12))
"""Log-ins that were stolen: attacks within a transaction need one."""

STOLEN_PASSWORD: Final = "stolen"

ANYBODY: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
ANYBODY.check_hostname = False
ANYBODY.verify_mode = ssl.CERT_NONE


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
