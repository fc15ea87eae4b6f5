"""Which addresses may be connected to: loops and traps left out."""

import socket
from collections.abc import Collection
from ipaddress import IPv4Network, IPv6Network, ip_address

from attrs import frozen


def is_local(address: str) -> bool:
    """True where this machine has the address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True


@frozen
class AddressRules:
    """What an address found in DNS may be."""

    own_addresses: frozenset[tuple[str, int]]
    """(address, port) that this server listens on, wildcards as bound."""

    allow_loopback: tuple[IPv4Network | IPv6Network, ...]

    def is_own(self, address: str, port: int) -> bool:
        """True where a connection there would end at ourselves.

        The port counts: another server on this machine is not us.
        """
        if (address, port) in self.own_addresses:
            return True
        wildcard = "::" if ":" in address else "0.0.0.0"  # noqa: S104
        if (wildcard, port) not in self.own_addresses:
            return False
        parsed = ip_address(address)
        if parsed.is_loopback:
            # All of 127/8 is local; a listener bound to one of these
            # addresses alone may be another server.
            return address in ("127.0.0.1", "::1")
        return is_local(address)

    def objection(self, address: str, *, configured: bool) -> str:
        """Why mail must not be sent there; empty: it may."""
        parsed = ip_address(address)
        mapped = getattr(parsed, "ipv4_mapped", None)
        parsed = mapped or parsed
        if parsed.is_unspecified or parsed.is_multicast:
            return f"{address} is not the address of a host"
        if not parsed.is_loopback or configured:
            return ""
        if any(
            parsed.version == network.version and parsed in network
            for network in self.allow_loopback
        ):
            return ""
        return f"{address} is a loopback address"


def literal_address(domain: str) -> str | None:
    """The address in ``[192.0.2.1]`` or ``[IPv6:…]``; None: no literal."""
    if not domain.startswith("["):
        return None
    return domain[1:-1].removeprefix("IPv6:")


def in_families(addresses: Collection[str], families: str) -> tuple[str, ...]:
    """Those of ``ipv4``, of ``ipv6``, or of both."""
    if families == "both":
        return tuple(addresses)
    six = families == "ipv6"
    return tuple(one for one in addresses if (":" in one) is six)
