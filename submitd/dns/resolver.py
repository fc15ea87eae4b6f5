"""What the rest asks of DNS: questions, answers, and two kinds of "none"."""

from enum import Enum
from typing import Protocol

from attrs import frozen
from twisted.names import dns


class Kind(Enum):
    """The record types that we ask for."""

    A = dns.A
    AAAA = dns.AAAA
    MX = dns.MX
    TXT = dns.TXT


class ResolverUnavailable(Exception):
    """Cannot tell: no answer in time, SERVFAIL, refused, or not understood."""


class NameNotFound(Exception):
    """NXDOMAIN: the name does not exist, for any type (RFC 8020)."""

    def __init__(self, name: str, ttl: int = 0) -> None:
        """``ttl``: seconds for which this may be kept (RFC 2308)."""
        super().__init__(f"{name} does not exist")
        self.ttl = ttl


class BadName(ValueError):
    """The text cannot be a name in DNS."""


@frozen(order=True)
class MxRecord:
    """One MX record (RFC 1035 section 3.3.9)."""

    preference: int
    exchanger: str
    """In lower case, without a final dot; empty for the root."""


@frozen
class Answer:
    """Records of the type asked for, CNAMEs followed. Empty: NODATA."""

    records: tuple[str | bytes | MxRecord, ...]
    """Addresses as text, TXT as octets, or `MxRecord`."""

    authenticated: bool
    """The resolver says that it validated this (AD, RFC 6840 section 5.8)."""

    ttl: int
    """Seconds for which it may be kept."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Of an A or AAAA question."""
        return tuple(one for one in self.records if isinstance(one, str))

    @property
    def texts(self) -> tuple[bytes, ...]:
        """Of a TXT question."""
        return tuple(one for one in self.records if isinstance(one, bytes))

    @property
    def exchangers(self) -> tuple[MxRecord, ...]:
        """Of an MX question."""
        return tuple(one for one in self.records if isinstance(one, MxRecord))


class Resolver(Protocol):
    """Answers questions about names."""

    async def query(self, name: str, kind: Kind) -> Answer:
        """What DNS says of ``name`` (A-labels).

        Raises:
            NameNotFound: the name does not exist.
            ResolverUnavailable: cannot tell now.
            BadName: not a name.
        """


def checked_name(name: str) -> str:
    """The name in lower case, without a final dot.

    Raises:
        BadName: empty or too long labels, or octets that are not printable
            ASCII.
    """
    lowered = name.lower().removesuffix(".")
    labels = lowered.split(".")
    if (
        not lowered.isascii()
        or not lowered.isprintable()
        or " " in lowered
        or len(lowered) > 253
        or not all(0 < len(label) <= 63 for label in labels)
    ):
        raise BadName(f"{name[:260]!r} is no name in DNS")
    return lowered
