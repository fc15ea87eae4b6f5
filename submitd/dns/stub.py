"""A stub resolver: asks recursive servers over UDP, then TCP, and remembers.

``twisted.names.client`` drops the AD bit and mixes "no such name" with "no
answer"; its message classes serve us all the same.
"""

import secrets
import struct
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    connectProtocol,
)
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol, Protocol, connectionDone
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from submitd.dns.resolver import (
    Answer,
    Kind,
    NameNotFound,
    ResolverUnavailable,
    checked_name,
)
from submitd.dns.wire import NotUnderstood, Truncated, decode_answer, encode_question

_RESOLV_CONF: Final = Path("/etc/resolv.conf")
_LOOK_AGAIN: Final = 30.0
_MOST_KEPT: Final = 20_000
_LONGEST_TTL: Final = 3600
_MOST_WAITING: Final = 1000
_ROUNDS: Final = 2

Address = tuple[str, int]
Outcome = Answer | NameNotFound


class StubResolver:
    """A `Resolver` (see there) on Twisted's reactor."""

    def __init__(
        self,
        reactor: Any,
        servers: Sequence[Address],
        time_out: float,
    ) -> None:
        """``servers``: in the order asked; none: those of /etc/resolv.conf.

        ``time_out``: seconds for one question in all.
        """
        self._reactor = reactor
        self._servers = tuple(servers)
        self._from_system = not servers
        self._looked_at = -_LOOK_AGAIN
        self._time_out = time_out
        self._kept: OrderedDict[tuple[str, Kind], tuple[float, Outcome]] = OrderedDict()
        self._asked: dict[tuple[str, Kind], list[Deferred[Outcome]]] = {}

    async def query(self, name: str, kind: Kind) -> Answer:
        """As `Resolver.query`."""
        key = checked_name(name), kind
        now = self._reactor.seconds()
        kept = self._kept.get(key)
        if kept is not None and kept[0] > now:
            self._kept.move_to_end(key)
            outcome = kept[1]
        else:
            outcome = await self._ask_once(key)
        if isinstance(outcome, NameNotFound):
            raise NameNotFound(key[0])
        return outcome

    async def _ask_once(self, key: tuple[str, Kind]) -> Outcome:
        """One question at a time for one name: the others wait for its answer."""
        if (waiting := self._asked.get(key)) is not None:
            mine: Deferred[Outcome] = Deferred()
            waiting.append(mine)
            return await mine
        if len(self._asked) >= _MOST_WAITING:
            raise ResolverUnavailable("too many questions are under way")
        self._asked[key] = []
        try:
            outcome = await self._ask(*key)
        except Exception as problem:
            for one in self._asked.pop(key):
                one.errback(problem)
            raise
        self._keep(key, outcome)
        for one in self._asked.pop(key):
            one.callback(outcome)
        return outcome

    def _keep(self, key: tuple[str, Kind], outcome: Outcome) -> None:
        ttl = min(int(getattr(outcome, "ttl", 0)), _LONGEST_TTL)
        if ttl > 0:
            self._kept[key] = self._reactor.seconds() + ttl, outcome
            self._kept.move_to_end(key)
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)

    async def _ask(self, name: str, kind: Kind) -> Outcome:
        servers = await self._current_servers()
        patience = self._time_out / (_ROUNDS * len(servers))
        trouble: list[str] = []
        for _ in range(_ROUNDS):
            for server in servers:
                try:
                    return await self._ask_server(server, name, kind, patience)
                except NotUnderstood as problem:
                    trouble.append(f"{server[0]} said {problem}")
                except (OSError, CannotListenError) as problem:
                    trouble.append(f"{server[0]}: {problem}")
                except TimedOut:
                    trouble.append(f"{server[0]} did not answer")
        # Each server's words once, in order.
        raise ResolverUnavailable(
            f"{kind.name} of {name}: {'; '.join(dict.fromkeys(trouble))}"
        )

    async def _current_servers(self) -> tuple[Address, ...]:
        now = self._reactor.seconds()
        if self._from_system and now - self._looked_at >= _LOOK_AGAIN:
            self._looked_at = now
            self._servers = await deferToThread(system_servers)
        return self._servers

    async def _ask_server(
        self, server: Address, name: str, kind: Kind, patience: float
    ) -> Outcome:
        number = secrets.randbits(16)
        question = encode_question(number, name, kind)
        exchange = _Datagrams(
            server, question, lambda octets: decode_answer(octets, number, name, kind)
        )
        port = self._reactor.listenUDP(
            0,
            exchange,
            interface="::" if ":" in server[0] else "0.0.0.0",  # noqa: S104
        )
        try:
            answer: Outcome | Truncated = await exchange.answer.addTimeout(
                patience, self._reactor
            )
        finally:
            port.stopListening()
        if not isinstance(answer, Truncated):
            return answer
        endpoint = TCP6ClientEndpoint if ":" in server[0] else TCP4ClientEndpoint
        stream = _Stream(question)
        try:
            connecting = connectProtocol(
                endpoint(self._reactor, *server, timeout=patience), stream
            )
            await connecting
            octets = await stream.answer.addTimeout(patience, self._reactor)
        finally:
            if stream.transport is not None:
                stream.transport.abortConnection()  # type: ignore[attr-defined]
        whole = decode_answer(octets, number, name, kind)
        if whole is None or isinstance(whole, Truncated):
            raise NotUnderstood("nonsense over TCP")
        return whole


class _Datagrams(DatagramProtocol):
    """One question over UDP, from a port of its own (RFC 5452)."""

    def __init__(self, server: Address, question: bytes, decode: Any) -> None:  # noqa: ANN401
        self._server = server
        self._question = question
        self._decode = decode
        self.answer: Deferred[Any] = Deferred()

    def startProtocol(self) -> None:
        # Connected: the kernel drops what others send, and tells us where
        # nobody listens.
        assert self.transport is not None  # noqa: S101
        self.transport.connect(*self._server)
        self.transport.write(self._question)  # type: ignore[call-arg]

    def datagramReceived(self, datagram: bytes, addr: object) -> None:  # noqa: ARG002
        if self.answer.called:
            return
        try:
            answer = self._decode(datagram)
        except NotUnderstood as problem:
            self.answer.errback(problem)
            return
        if answer is not None:
            self.answer.callback(answer)

    def connectionRefused(self) -> None:
        if not self.answer.called:
            self.answer.errback(NotUnderstood("that nobody listens there"))


class _Stream(Protocol):
    """One question over TCP (RFC 7766): two octets of length, then the message."""

    def __init__(self, question: bytes) -> None:
        self._question = question
        self._received = b""
        self.answer: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        assert self.transport is not None  # noqa: S101
        self.transport.write(struct.pack("!H", len(self._question)) + self._question)

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if len(self._received) >= 2 and not self.answer.called:
            (length,) = struct.unpack_from("!H", self._received)
            if len(self._received) >= length + 2:
                self.answer.callback(self._received[2 : length + 2])

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        if not self.answer.called:
            self.answer.errback(NotUnderstood("nothing over TCP"))


def system_servers(path: Path = _RESOLV_CONF) -> tuple[Address, ...]:
    """The servers in resolv.conf(5); this host where it names none. Blocks."""
    try:
        lines = path.read_text("ascii", "replace").splitlines()
    except OSError:
        lines = []
    found = [
        (words[1].partition("%")[0], 53)
        for words in map(str.split, lines)
        if len(words) > 1 and words[0] == "nameserver"
    ]
    return tuple(found[:3]) or (("127.0.0.1", 53),)
