"""Which addresses may be connected to: loops and traps left out."""

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

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

    def is_own(self, address: IPv4Address | IPv6Address, port: int) -> bool:
        """True where a connection there would end at ourselves.

        The port counts: another server on this machine is not us.
        """
        address = getattr(address, "ipv4_mapped", None) or address
        if (str(address), port) in self.own_addresses:
            return True
        wildcard = "::" if address.version == 6 else "0.0.0.0"  # noqa: S104
        if (wildcard, port) not in self.own_addresses:
            return False
        if address.is_loopback:
            # All of 127/8 is local; a listener bound to one of these
            # addresses alone may be another server.
            return str(address) in ("127.0.0.1", "::1")
        return is_local(str(address))

    def objection(self, address: IPv4Address | IPv6Address, *, configured: bool) -> str:
        """Why mail must not be sent there; empty: it may."""
        parsed = getattr(address, "ipv4_mapped", None) or address
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
