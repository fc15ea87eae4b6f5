"""Which name servers are asked: those of the configuration or of the system."""

from collections.abc import Awaitable, Callable, Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Protocol

from attrs import frozen
from twisted.internet.defer import DeferredLock
from twisted.internet.interfaces import IReactorTime

from submitd.dns.answer import Unanswered

PORT: Final = 53

_LOOK_AGAIN: Final = 5.0
"""Seconds between looks at the system's file."""

_MOST_SERVERS: Final = 3
"""MAXNS of resolv.conf(5): the others are never asked."""

_LARGEST_FILE: Final = 65_536


@frozen
class NameServer:
    """A recursive resolver."""

    host: str
    """An IP address, as text; a link-local one names its interface behind ``%``."""

    port: int = PORT
    trusted: bool = True
    """Its AD bit is believed: it validates, and so does the way to it."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.host


class NameServers(Protocol):
    """Where the list comes from."""

    async def current(self) -> tuple[NameServer, ...]:
        """The servers in the order to ask, at least one.

        Raises:
            Unanswered: it is not known whom to ask.
        """


class ConfiguredServers:
    """Those an operator named. They validate, or set no AD bit."""

    def __init__(self, servers: Iterable[tuple[str, int]]) -> None:
        """``servers`` are addresses with their ports; at least one."""
        self._servers = tuple(NameServer(host, port) for host, port in servers)
        if not self._servers:
            raise ValueError("no name server is configured")

    async def current(self) -> tuple[NameServer, ...]:
        return self._servers


@frozen
class Reading:
    """What a look at the file came to."""

    stamp: tuple[int, int, int] | None
    servers: tuple[NameServer, ...]


class SystemServers:
    """Those of resolv.conf(5), read again when the file changes."""

    def __init__(
        self,
        clock: IReactorTime,
        in_thread: Callable[[Callable[[], Reading | None]], Awaitable[Reading | None]],
        path: Path = Path("/etc/resolv.conf"),
    ) -> None:
        self._clock = clock
        self._in_thread = in_thread
        self._path = path
        self._reading: Reading | None = None
        self._looked_at = float("-inf")
        self._lock = DeferredLock()

    async def current(self) -> tuple[NameServer, ...]:
        if not self._is_fresh():
            async with self._lock:
                if not self._is_fresh():
                    await self._look()
        if self._reading is None:
            raise Unanswered("no name server is known", f"cannot read {self._path}")
        return self._reading.servers

    def _is_fresh(self) -> bool:
        return 0 <= self._clock.seconds() - self._looked_at < _LOOK_AGAIN

    async def _look(self) -> None:
        known = self._reading
        try:
            reading = await self._in_thread(lambda: _read_if_changed(self._path, known))
        except OSError:
            # A file that is being replaced: go on with what was read before.
            reading = None
        self._looked_at = self._clock.seconds()
        if reading is not None:
            self._reading = reading


def _read_if_changed(path: Path, known: Reading | None) -> Reading | None:
    """Raises: OSError."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return Reading(None, parse_resolv_conf(""))
    stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
    if known is not None and known.stamp == stamp:
        return None
    with path.open("rb") as file:
        text = file.read(_LARGEST_FILE).decode("utf-8", "replace")
    return Reading(stamp, parse_resolv_conf(text))


def parse_resolv_conf(text: str) -> tuple[NameServer, ...]:
    """The name servers of a resolv.conf(5); without one, that of this host.

    The AD bit of a server on another host is believed only with ``options
    trust-ad``, since anybody on the way to it could have set the bit.
    """
    hosts: list[str] = []
    trust_ad = False
    for line in text.splitlines():
        match line.split():
            case ["nameserver", host, *_] if _is_address(host):
                hosts.append(host)
            case ["options", *options]:
                trust_ad = trust_ad or "trust-ad" in options
    return tuple(
        NameServer(host, PORT, trusted=trust_ad or ip_address(host).is_loopback)
        for host in hosts[:_MOST_SERVERS] or ["127.0.0.1"]
    )


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
