"""A PROXY header, cut anywhere: read the same, or refused."""

from ipaddress import ip_address

from submitd.server.proxy import BadProxyHeader, ProxyHeader, read_proxy_header


def seeds() -> list[bytes]:
    """One of each kind."""
    return [
        b"PROXY TCP4 198.51.100.7 192.0.2.1 51234 587\r\nEHLO x\r\n",
        b"PROXY TCP6 2001:db8::7 2001:db8::1 51234 587\r\n",
        b"PROXY UNKNOWN\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + b"\x7f\0\0\1" * 3 + b"EHLO x\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24" + b"\x20\1\0\0" * 9,
        b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
    ]


def one_input(octets: bytes) -> None:
    """Read it as it grows: the first answer must be that to the whole."""
    answer = _read(octets)
    for length in range(len(octets)):
        first = _read(octets[:length])
        if first is None:
            continue
        if isinstance(first, ProxyHeader):
            assert isinstance(answer, ProxyHeader)
            assert first.client == answer.client
            assert first.rest == b""
            assert answer.rest == octets[length:]
        else:
            assert isinstance(answer, str)
        return


def _read(octets: bytes) -> ProxyHeader | str | None:
    try:
        header = read_proxy_header(octets)
    except BadProxyHeader as problem:
        return str(problem)
    if header is not None and header.client is not None:
        assert str(ip_address(header.client)) == header.client
    return header
