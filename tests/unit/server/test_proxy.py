"""PROXY headers: read as their specification says, or the connection is refused."""

import struct
from ipaddress import ip_address
from typing import Final

import pytest

from submitd.server.proxy import BadProxyHeader, ProxyHeader, read_proxy_header

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
REST: Final = b"EHLO client.example.org\r\n"


def second(command: int, kind: int, body: bytes, length: int | None = None) -> bytes:
    """A header of version 2."""
    size = len(body) if length is None else length
    return SIGNATURE + struct.pack("!BBH", command, kind, size) + body


def tcp(source: str, destination: str, more: bytes = b"") -> bytes:
    """One about a TCP connection, with extensions."""
    packed = ip_address(source).packed + ip_address(destination).packed
    kind = 0x11 if len(packed) == 8 else 0x21
    return second(0x21, kind, packed + struct.pack("!HH", 51234, 587) + more)


GOOD: Final = [
    (b"PROXY TCP4 198.51.100.7 192.0.2.1 51234 587\r\n", "198.51.100.7"),
    (b"PROXY TCP6 2001:DB8::7 2001:db8::1 51234 587\r\n", "2001:db8::7"),
    (b"PROXY TCP6 ::ffff:198.51.100.7 ::1 1 0\r\n", "198.51.100.7"),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None),
    (tcp("198.51.100.7", "192.0.2.1"), "198.51.100.7"),
    (tcp("2001:db8::7", "2001:db8::1"), "2001:db8::7"),
    (tcp("::ffff:198.51.100.7", "::1"), "198.51.100.7"),
    (tcp("198.51.100.7", "192.0.2.1", b"\x04\x00\x01x" * 100), "198.51.100.7"),
    (second(0x20, 0x00, b""), None),
    (second(0x20, 0x11, b"\0" * 12), None),
    (second(0x21, 0x00, b"whatever"), None),
    (second(0x21, 0x31, b"/run/x".ljust(216, b"\0")), None),
]


@pytest.mark.parametrize(("header", "client"), GOOD)
def test_a_header_is_read_wherever_it_is_cut(header: bytes, client: str | None) -> None:
    """Its octets come in any number of segments, and the client's may come along."""
    for length in range(len(header)):
        assert read_proxy_header(header[:length]) is None
    assert read_proxy_header(header) == ProxyHeader(client, b"")
    assert read_proxy_header(header + REST) == ProxyHeader(client, REST)


@pytest.mark.parametrize(
    "octets",
    [
        b"EHLO client.example.org\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"PROXI",
        b"proxy TCP4 198.51.100.7 192.0.2.1 1 2\r\n",
        b"PROXY\tTCP4 198.51.100.7 192.0.2.1 1 2\r\n",
        b"PROXY \r\n",
        b"PROXY TCP5 198.51.100.7 192.0.2.1 1 2\r\n",
        b"PROXY TCP4 198.51.100.7 192.0.2.1 1\r\n",
        b"PROXY TCP4 198.51.100.7 192.0.2.1 1 2 3\r\n",
        b"PROXY TCP4  198.51.100.7 192.0.2.1 1 2\r\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
        b"PROXY TCP6 198.51.100.7 192.0.2.1 1 2\r\n",
        b"PROXY TCP4 198.51.100.7 2001:db8::1 1 2\r\n",
        b"PROXY TCP4 alice 192.0.2.1 1 2\r\n",
        b"PROXY TCP4 198.51.100.7\n 192.0.2.1 1 2\r\n",
        b"PROXY TCP4 \xff 192.0.2.1 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 2001:db8::1 1 2\r\n",
        b"PROXY TCP4 198.51.100.7 192.0.2.1 65536 2\r\n",
        b"PROXY TCP4 198.51.100.7 192.0.2.1 -1 2\r\n",
        b"PROXY TCP4 198.51.100.7 192.0.2.1 1 000000\r\n",
        b"PROXY TCP4 198.51.100.7 192.0.2.1 1 x\r\n",
        b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
        SIGNATURE + b"\x11\x11\0\0",  # another version
        second(0x22, 0x11, b"\0" * 12),  # another command
        second(0x21, 0x12, b"\0" * 12),  # UDP
        second(0x21, 0x41, b"\0" * 12),  # no family
        second(0x21, 0x11, b"\0" * 11),
        second(0x21, 0x21, b"\0" * 12),
        second(0x21, 0x11, b"", 4081),
        second(0x20, 0x00, b"", 65535),
        SIGNATURE[:-1] + b"X",
    ],
)
def test_what_is_no_header_is_refused(octets: bytes) -> None:
    with pytest.raises(BadProxyHeader):
        read_proxy_header(octets)


def test_the_longest_header_of_each_version_is_read() -> None:
    """Specification sections 2.1 and 2.2."""
    first = b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n"
    assert len(first) == 107
    assert read_proxy_header(first) == ProxyHeader(None, b"")
    most = tcp("198.51.100.7", "192.0.2.1", b"\0" * 4068)
    assert read_proxy_header(most + REST) == ProxyHeader("198.51.100.7", REST)
