"""Header sections and PROXY headers: what is read is written as it was."""

import struct
from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from submitd.mail.message import HeaderSection, MalformedHeader
from submitd.server.proxy import ProxyHeader, read_proxy_header

NAMES = st.from_regex(rb"[!-9;-~]{1,12}", fullmatch=True)
BODIES = st.binary(max_size=20).map(lambda some: some.translate(None, b"\r\n"))
FOLDS = st.lists(BODIES.map(lambda some: b"\r\n " + some), max_size=2).map(b"".join)
FIELDS = st.builds(
    lambda name, body, folds: name + b":" + body + folds + b"\r\n", NAMES, BODIES, FOLDS
)


@given(st.lists(FIELDS, max_size=6))
def test_a_header_section_is_its_fields(fields: list[bytes]) -> None:
    section = HeaderSection.parse(b"".join(fields))

    assert section.octets == b"".join(fields)
    assert [one.raw for one in section.fields] == fields


@given(st.binary(max_size=60) | st.text("a: \r\n\t", max_size=30).map(str.encode))
def test_no_octets_raise_anything_but_that_they_are_malformed(octets: bytes) -> None:
    try:
        section = HeaderSection.parse(octets)
    except MalformedHeader as problem:
        assert str(problem).isprintable()  # noqa: PT017 - both ways out are right
        return
    assert HeaderSection.parse(section.octets) == section


ADDRESSES = st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)) | st.tuples(
    st.ip_addresses(v=6), st.ip_addresses(v=6)
)
PORTS = st.integers(0, 65535)
RESTS = st.binary(max_size=20)


def _plain(address: IPv4Address | IPv6Address) -> str:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


@given(ADDRESSES, PORTS, PORTS, RESTS)
def test_a_proxy_header_of_either_version_is_read_as_it_was_written(
    addresses: tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address],
    source: int,
    destination: int,
    rest: bytes,
) -> None:
    client, server = addresses
    kind = client.version
    line = f"PROXY TCP{kind} {client} {server} {source} {destination}\r\n".encode()
    body = client.packed + server.packed + struct.pack("!HH", source, destination)
    head = struct.pack("!BBH", 0x21, 0x11 if kind == 4 else 0x21, len(body))

    for header in (line, b"\r\n\r\n\0\r\nQUIT\n" + head + body):
        read = read_proxy_header(header + rest)
        assert read == ProxyHeader(_plain(client), rest)
        assert all(
            read_proxy_header(header[:end]) is None for end in range(len(header))
        )
