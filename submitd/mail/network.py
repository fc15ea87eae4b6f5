"""Whose address it is, where addresses are counted."""

from ipaddress import IPv6Address, ip_address


def counted_as(address: str) -> str:
    """The key for a client's address: an IPv6 host may pick any of its /64."""
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"
    return str(parsed)
