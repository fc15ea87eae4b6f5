"""Questions and answers as octets (RFC 1035, RFC 6891), without IO."""

import ipaddress
from typing import Any, Final

from attrs import frozen
from twisted.names import dns
from twisted.names.error import DomainError

from submitd.dns.resolver import Answer, Kind, MxRecord, NameNotFound

PAYLOAD: Final = 1232
"""Octets of a UDP answer: what passes everywhere without fragments."""

_DNSSEC_OK: Final = 0x8000
_MOST_ALIASES: Final = 12
_NEGATIVE_TTL: Final = 60
"""Seconds that "none" is kept where no SOA says for how long."""


class NotUnderstood(Exception):
    """The answer is malformed, or says that the server could not answer."""


@frozen
class Truncated:
    """Ask again over TCP."""


def encode_question(number: int, name: str, kind: Kind) -> bytes:
    """A query with recursion desired, and EDNS with DO and AD set."""
    message = dns.Message(id=number, recDes=1, authenticData=1)
    message.addQuery(name.encode("ascii"), kind.value, dns.IN)
    message.additional.append(
        dns.RRHeader(b"", dns.OPT, PAYLOAD, _DNSSEC_OK, payload=None)
    )
    return message.toStr()


def decode_answer(
    octets: bytes, number: int, name: str, kind: Kind
) -> Answer | NameNotFound | Truncated | None:
    """What the answer says; None where it answers another question.

    A stray or forged datagram must not end the wait for the true one.

    Raises:
        NotUnderstood: the server answered our question, but not usefully.
    """
    message = dns.Message()
    try:
        message.fromStr(octets)
    except (EOFError, ValueError, IndexError, KeyError, DomainError):
        return None
    if (
        not message.answer
        or message.id != number
        or len(message.queries) != 1
        or message.queries[0].type != kind.value
        or _text(message.queries[0].name) != name
    ):
        return None
    if message.trunc:
        return Truncated()
    if message.rCode not in (dns.OK, dns.ENAME):
        raise NotUnderstood(_RCODES.get(message.rCode, f"rcode {message.rCode}"))
    found, ttl = _follow(message, name, kind)
    if found:
        return Answer(tuple(found), bool(message.authenticData), ttl)
    if message.rCode == dns.ENAME:
        return NameNotFound(name, min(ttl, _negative_ttl(message)))
    return Answer((), bool(message.authenticData), min(ttl, _negative_ttl(message)))


_RCODES: Final = {
    dns.EFORMAT: "FORMERR",
    dns.ESERVER: "SERVFAIL",
    dns.ENOTIMP: "NOTIMP",
    dns.EREFUSED: "REFUSED",
}


def _text(name: dns.Name) -> str:
    return name.name.decode("ascii", "replace").lower().removesuffix(".")


def _follow(
    message: dns.Message, name: str, kind: Kind
) -> tuple[list[str | bytes | MxRecord], int]:
    """The records at the end of the CNAME chain, and the least TTL on the way."""
    aliases: dict[str, tuple[str, int]] = {}
    records: dict[str, list[dns.RRHeader]] = {}
    for one in message.answers:
        if one.type == dns.CNAME:
            alias: Any = one.payload
            aliases[_text(one.name)] = _text(alias.name), one.ttl
        elif one.type == kind.value:
            records.setdefault(_text(one.name), []).append(one)
    ttl = 2**31
    for _ in range(_MOST_ALIASES):
        if name in records or name not in aliases:
            break
        name, alias_ttl = aliases[name]
        ttl = min(ttl, alias_ttl)
    else:
        raise NotUnderstood("the chain of CNAMEs is too long")
    here = records.get(name, [])
    return [_value(one, kind) for one in here], min([ttl, *(one.ttl for one in here)])


def _value(record: dns.RRHeader, kind: Kind) -> str | bytes | MxRecord:
    payload: Any = record.payload
    match kind:
        case Kind.A:
            return str(payload.dottedQuad())
        case Kind.AAAA:
            return str(ipaddress.IPv6Address(payload._address))  # noqa: SLF001
        case Kind.MX:
            return MxRecord(payload.preference, _text(payload.name))
        case Kind.TXT:
            return b"".join(payload.data)


def _negative_ttl(message: dns.Message) -> int:
    """RFC 2308 section 5: the SOA's own TTL and its minimum, the lesser."""
    for one in message.authority:
        if one.type == dns.SOA:
            payload: Any = one.payload
            return min(one.ttl, int(payload.minimum))
    return _NEGATIVE_TTL
