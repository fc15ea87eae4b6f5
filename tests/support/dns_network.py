"""A network of name servers that say what a test wants, and messages to say.

Messages are written by `twisted.names`, which knows nothing of our reader.
"""

from collections.abc import Iterable

from attrs import define, field
from twisted.names import dns

from submitd.dns.servers import NameServer
from submitd.dns.transport import Channel, Listener

ORG = b"example.org"


def record(
    name: bytes, payload: dns.IEncodableRecord, ttl: int = 300, kind: int | None = None
) -> dns.RRHeader:
    """A resource record; ``kind`` where the payload does not know its own."""
    return dns.RRHeader(
        name, payload.TYPE if kind is None else kind, dns.IN, ttl, payload
    )


def mx(
    preference: int, exchanger: bytes, name: bytes = ORG, ttl: int = 300
) -> dns.RRHeader:
    return record(name, dns.Record_MX(preference, exchanger), ttl)


def a(address: str, name: bytes = ORG, ttl: int = 300) -> dns.RRHeader:
    return record(name, dns.Record_A(address), ttl)


def aaaa(address: str, name: bytes = ORG, ttl: int = 300) -> dns.RRHeader:
    return record(name, dns.Record_AAAA(address), ttl)


def cname(name: bytes, target: bytes, ttl: int = 300) -> dns.RRHeader:
    return record(name, dns.Record_CNAME(target), ttl)


def soa(minimum: int = 60, name: bytes = ORG, ttl: int = 300) -> dns.RRHeader:
    payload = dns.Record_SOA(b"ns.example.org", b"admin.example.org", minimum=minimum)
    return record(name, payload, ttl)


def reply_to(
    query: bytes,
    answers: Iterable[dns.RRHeader] = (),
    *,
    authority: Iterable[dns.RRHeader] = (),
    additional: Iterable[dns.RRHeader] = (),
    code: int = 0,
    truncated: bool = False,
    authenticated: bool = False,
) -> bytes:
    """What a recursive resolver answers to ``query``."""
    message = dns.Message()
    message.fromStr(query)
    message.answer = 1
    message.recAv = 1
    message.authenticData = int(authenticated)
    message.trunc = int(truncated)
    message.rCode = code
    message.maxSize = 0
    message.answers = list(answers)
    message.authority = list(authority)
    message.additional = list(additional)
    return message.toStr()


@define
class SentQuery:
    """A query on its way, which a test answers or leaves alone."""

    server: NameServer
    octets: bytes
    listener: Listener
    by_stream: bool
    is_closed: bool = False

    @property
    def question(self) -> tuple[str, int]:
        message = dns.Message()
        message.fromStr(self.octets)
        return message.queries[0].name.name.decode(), message.queries[0].type

    @property
    def has_edns(self) -> bool:
        message = dns.Message()
        message.fromStr(self.octets)
        return bool(message.additional)

    def close(self) -> None:
        self.is_closed = True

    def receive(self, octets: bytes, source: tuple[str, int] | None = None) -> None:
        """Let the octets arrive, as the real network does: not after `close`."""
        if not self.is_closed:
            self.listener.received(
                octets, source or (self.server.host, self.server.port)
            )

    def answer(self, *answers: dns.RRHeader, authenticated: bool = False) -> None:
        self.receive(reply_to(self.octets, answers, authenticated=authenticated))

    def fail(self, code: int) -> None:
        self.receive(reply_to(self.octets, code=code))

    def break_off(self, reason: str) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.listener.broken(reason)


@define
class StagedNetwork:
    """A `Network` where nothing happens unless the test makes it happen."""

    sent: list[SentQuery] = field(factory=list)
    unreachable: set[NameServer] = field(factory=set)

    @property
    def last(self) -> SentQuery:
        return self.sent[-1]

    def send_datagram(
        self, server: NameServer, octets: bytes, listener: Listener
    ) -> Channel:
        if server in self.unreachable:
            raise OSError(101, "Network is unreachable")
        return self._send(server, octets, listener, by_stream=False)

    def send_stream(
        self, server: NameServer, octets: bytes, listener: Listener
    ) -> Channel:
        return self._send(server, octets, listener, by_stream=True)

    def _send(
        self, server: NameServer, octets: bytes, listener: Listener, *, by_stream: bool
    ) -> Channel:
        query = SentQuery(server, octets, listener, by_stream)
        self.sent.append(query)
        return query
