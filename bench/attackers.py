"""Who attacks, and with what: slots, attempts and their connections."""

import asyncio
import base64
import contextlib
import itertools
import random
import socket
import ssl
import struct
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from attrs import define, field
from OpenSSL import SSL

RAMP: Final = 6.0
"""Seconds within which all connections are made."""

STOLEN: Final = tuple(f"mallory{number}" for number in range(12))
"""Log-ins that were stolen: attacks within a transaction need one."""

STOLEN_PASSWORD: Final = "stolen"

ANYBODY: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
ANYBODY.check_hostname = False
ANYBODY.verify_mode = ssl.CERT_NONE

_T = TypeVar("_T")


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

    async def slot(self, attack: "Attack") -> None:
        """One attack again and again, each time from another address."""
        await asyncio.sleep(random.random() * (RAMP - 1))
        while True:
            await self.once(attack)
            await asyncio.sleep(self.pause * random.uniform(0.5, 1.5))

    async def once(self, attack: "Attack", seconds: float | None = None) -> None:
        """For so long at most; count whether it was reached, or why not."""
        name = named(attack)
        self.made[name] += 1
        attempt = Attempt(self, name)
        problem: Exception | None = None
        try:
            async with asyncio.timeout(seconds):
                await attack(attempt)
        except (OSError, TimeoutError, EOFError, SSL.Error, NotRefused) as met:
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

    async def asked_for_tls(self) -> "Wire":
        """The server waits for a handshake that STARTTLS has begun."""
        wire = await self.connect(tls=False)
        wire.say(b"EHLO x\r\nSTARTTLS\r\n")
        await wire.hear(b"220 2.0.0")
        return wire

    async def behind_starttls(self) -> "Wire":
        """The handshake is done, and nothing was said since."""
        wire = await self.asked_for_tls()
        await wire.start_tls()
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

    async def start_tls(self) -> None:
        """All that is said and heard from here on."""
        await self.writer.start_tls(ANYBODY)

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


class TlsByHand:
    """TLS on a wire, of which the wire knows nothing: each octet can be had."""

    def __init__(self, wire: Wire, newest: int = SSL.TLS1_3_VERSION) -> None:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(newest)
        self._wire, self._tls = wire, SSL.Connection(context)
        self._tls.set_connect_state()

    def hello(self) -> bytes:
        """What a handshake begins with; it is not said."""
        with contextlib.suppress(SSL.WantReadError):
            self._tls.do_handshake()
        return self._tls.bio_read(65536)

    async def shake_hands(self) -> None:
        """To the end of a handshake, the first or another one.

        Raises:
            SSL.Error: it was refused.
        """
        await self._until_done(self._tls.do_handshake)

    async def renegotiate(self) -> None:
        """Another handshake within TLS 1.2, which later versions do not have.

        Raises:
            SSL.Error: it was refused.
        """
        self._tls.renegotiate()
        await self.shake_hands()

    def say(self, octets: bytes) -> None:
        """Without waiting."""
        self._tls.send(octets)
        self._pass_on()

    async def hear(self, text: bytes) -> bytes:
        """Wait until it was said; all up to it.

        Raises:
            SSL.Error: the server ends it, with an alert or (ZeroReturnError) without.
        """
        heard = b""
        while text not in heard:
            heard += await self._until_done(lambda: self._tls.recv(4096))
        return heard

    async def _until_done(self, step: Callable[[], _T]) -> _T:
        while True:
            try:
                return step()
            except SSL.WantReadError:
                pass
            finally:
                # Also where it fails: an alert tells the server why.
                self._pass_on()
            if not (octets := await self._wire.reader.read(4096)):
                raise EOFError
            self._tls.bio_write(octets)

    def _pass_on(self) -> None:
        with contextlib.suppress(SSL.WantReadError):
            self._wire.say(self._tls.bio_read(65536))


Attack = Callable[[Attempt], Awaitable[None]]


def named(attack: Attack) -> str:
    """As it is told."""
    return attack.__name__.removeprefix("_")
