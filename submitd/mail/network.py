"""Whose address it is, where addresses are counted."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network


def counted_as(address: str) -> str:
    """The key for a client's address: an IPv6 host may pick any of its /64."""
    parsed = _parsed(address)
    if isinstance(parsed, IPv6Address):
        return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"
    return str(parsed)


def neighbourhood(address: str) -> str:
    """The wider network of a client's address: who has one has often all of it.

    A /24 is the least that is routed by itself; a /48 is what a site is given.
    """
    parsed = _parsed(address)
    length = 48 if isinstance(parsed, IPv6Address) else 24
    return str(ip_network((parsed, length), strict=False))


def _parsed(address: str) -> IPv4Address | IPv6Address:
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed
