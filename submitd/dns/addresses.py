"""The addresses of one host, of both families."""

from collections.abc import Coroutine, Mapping, Sequence
from ipaddress import ip_address
from itertools import chain, zip_longest
from random import Random
from typing import Any, Final, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred

from submitd.dns.answer import Answer, NameNotFound, ResolverUnavailable
from submitd.dns.message import AddressRecord, BadName, IPAddress, RecordType
from submitd.dns.resolver import Resolver

T = TypeVar("T")

_LOOPBACK: Final[Mapping[RecordType, IPAddress]] = {
    RecordType.A: ip_address("127.0.0.1"),
    RecordType.AAAA: ip_address("::1"),
}


async def together(coroutines: Sequence[Coroutine[Deferred[Any], Any, T]]) -> list[T]:
    """What the coroutines, at least one, return; they wait at the same time.

    None of them raises. Mostly all is remembered and nothing waits: so the
    last needs no Deferred of its own, nor does an only one.
    """
    *others, last = coroutines
    started = [Deferred.fromCoroutine(other) for other in others]
    result = await last
    return [*[await other for other in started], result]


@frozen(kw_only=True)
class HostAddresses:
    """What the DNS says of a host; at least one address."""

    names: frozenset[str]
    """The host's name, and the one that it is an alias of."""

    by_family: tuple[tuple[IPAddress, ...], ...]
    authenticated: bool

    def in_turn(self, random: Random, most: int) -> tuple[IPAddress, ...]:
        """At most ``most`` addresses: the families by turns, each in random order."""
        shuffled = [random.sample(family, len(family)) for family in self.by_family]
        turns = chain.from_iterable(zip_longest(*shuffled))
        return tuple(address for address in turns if address is not None)[:most]


@frozen
class NoAddress:
    """The host has none: a fact of the DNS, as a sentence."""

    reason: str


async def look_up_addresses(
    resolver: Resolver, host: str, families: tuple[RecordType, ...]
) -> HostAddresses | NoAddress | ResolverUnavailable:
    """Ask for all families at once.

    One address is enough, whatever became of the other family: name servers
    that fail at AAAA are common. Without any, a family that nobody could tell
    of leaves it open whether the host has one.
    """
    if host == "localhost" or host.endswith(".localhost"):
        # No name server is to be asked (RFC 6761 section 6.3); many say no.
        return HostAddresses(
            names=frozenset({host}),
            by_family=tuple((_LOOPBACK[kind],) for kind in families),
            authenticated=True,
        )
    results = await together([_ask(resolver, host, kind) for kind in families])
    answers = [one for one in results if isinstance(one, Answer) and one.records]
    if answers:
        return HostAddresses(
            names=frozenset({host, *(answer.name for answer in answers)}),
            by_family=tuple(_addresses_in(answer) for answer in answers),
            authenticated=all(answer.authenticated for answer in answers),
        )
    for one in results:
        if isinstance(one, ResolverUnavailable):
            return one
    for one in results:
        if isinstance(one, NoAddress):
            return one
    return NoAddress(f"{host} has no address that this server can use")


async def _ask(
    resolver: Resolver, host: str, kind: RecordType
) -> Answer | NoAddress | ResolverUnavailable:
    try:
        return await resolver.query(host, kind)
    except NameNotFound:
        return NoAddress(f"{host} does not exist")
    except BadName as problem:
        return NoAddress(f"{host} is no host name: {problem}")
    except ResolverUnavailable as problem:
        return problem


def _addresses_in(answer: Answer) -> tuple[IPAddress, ...]:
    return tuple(
        record.address for record in answer.records if isinstance(record, AddressRecord)
    )


def is_address(text: str) -> bool:
    """True where a host "name" is an IP address, which no MX may name."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
