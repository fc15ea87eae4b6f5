"""PROXY headers: whom a balancer speaks for (HAProxy's PROXY protocol, 1 and 2).

Twisted has a reader of these headers (twisted.protocols.haproxy), which is not used:
it closes where the first segment holds less than 8 or 16 octets, tells the protocol of
the connection before it knows whose it is, takes any text for an address, raises what
nobody catches for a port that is no number, and refuses a ``PROXY UNKNOWN`` with
nothing behind it, which section 2.1 of the specification allows.
"""

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from attrs import frozen

_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_FIRST: Final = b"PROXY "
_LONGEST_FIRST: Final = 107
"""Octets of a header of version 1, CR LF included (section 2.1)."""

_FIXED: Final = struct.Struct("!12sBBH")
_LONGEST: Final = 4096
"""Octets of one of version 2. With every extension that is registered, and a long
certificate's name, it has some hundred."""

_LOCAL: Final = 0x20
_PROXY: Final = 0x21
_UNSPECIFIED: Final = 0
_UNIX: Final = 0x31
_STREAMS: Final = {0x11: struct.Struct("!4s4sHH"), 0x21: struct.Struct("!16s16sHH")}
"""By family and transport, what stands in front of the extensions: TCP only."""

_MOST_DIGITS: Final = 5


class BadProxyHeader(ValueError):
    """The octets are no PROXY header. The message says why."""


@frozen
class ProxyHeader:
    """What a whole header says."""

    client: str | None
    """The client's address. None: the proxy speaks for itself (a health check), or for
    a client that has no address on the Internet."""

    rest: bytes
    """What came behind it: the client's first octets."""


def read_proxy_header(octets: bytes) -> ProxyHeader | None:
    """Read the header at the beginning; None: it is not complete yet.

    Raises:
        BadProxyHeader: there is none. Nothing of it can be the client's, and
            there is nobody who would understand a reply: close.
    """
    if octets.startswith(_SIGNATURE):
        return _read_binary(octets)
    if octets.startswith(_FIRST):
        return _read_line(octets)
    if _SIGNATURE.startswith(octets) or _FIRST.startswith(octets):
        return None
    raise BadProxyHeader("it does not begin as one")


def _read_line(octets: bytes) -> ProxyHeader | None:
    end = octets.find(b"\r\n", 0, _LONGEST_FIRST)
    if end < 0:
        if len(octets) >= _LONGEST_FIRST:
            raise BadProxyHeader("the line does not end")
        return None
    line, rest = octets[:end], octets[end + 2 :]
    _, kind, *words = line.split(b" ")
    if kind == b"UNKNOWN":
        return ProxyHeader(None, rest)
    version = {b"TCP4": 4, b"TCP6": 6}.get(kind)
    if version is None or len(words) != 4:
        raise BadProxyHeader("not TCP4, TCP6 or UNKNOWN with what belongs to it")
    try:
        source, destination = (ip_address(word.decode("ascii")) for word in words[:2])
    except ValueError:
        raise BadProxyHeader("not two addresses") from None
    if not source.version == destination.version == version:
        raise BadProxyHeader("not two addresses of its family")
    if not all(map(_is_port, words[2:])):
        raise BadProxyHeader("not two ports")
    return ProxyHeader(_as_text(source), rest)


def _is_port(word: bytes) -> bool:
    return word.isdigit() and len(word) <= _MOST_DIGITS and int(word) < 1 << 16


def _read_binary(octets: bytes) -> ProxyHeader | None:
    if len(octets) < _FIXED.size:
        return None
    _, command, kind, length = _FIXED.unpack_from(octets)
    if command not in (_LOCAL, _PROXY):
        raise BadProxyHeader("not version 2, or no command that there is")
    if _FIXED.size + length > _LONGEST:
        raise BadProxyHeader("it is too long")
    rest = octets[_FIXED.size + length :]
    client = None
    if command == _PROXY and kind not in (_UNSPECIFIED, _UNIX):
        addresses = _STREAMS.get(kind)
        if addresses is None:
            raise BadProxyHeader("not about a TCP connection")
        if length < addresses.size:
            raise BadProxyHeader("there is no room for the addresses")
        if len(octets) < _FIXED.size + length:
            return None
        source, *_ = addresses.unpack_from(octets, _FIXED.size)
        client = _as_text(ip_address(source))
    if len(octets) < _FIXED.size + length:
        return None
    return ProxyHeader(client, rest)


def _as_text(address: IPv4Address | IPv6Address) -> str:
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise BadProxyHeader("an address with a zone")
        return str(address.ipv4_mapped or address)
    return str(address)
