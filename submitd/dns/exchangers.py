"""Where mail for a domain goes: MX, null MX, implicit MX (RFC 5321 section 5.1).

What a fault of the DNS leaves open is never taken for "no": it delays mail.
"""

from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address
from itertools import groupby
from operator import attrgetter
from random import Random
from typing import Final

from attrs import evolve, field, frozen

from submitd.dns.addresses import (
    HostAddresses,
    NoAddress,
    is_address,
    look_up_addresses,
    together,
)
from submitd.dns.answer import NameNotFound, ResolverUnavailable
from submitd.dns.message import BadName, ExchangerRecord, IPAddress, RecordType
from submitd.dns.resolver import Resolver
from submitd.mail.status import EnhancedCode

IPV6_FIRST: Final = (RecordType.AAAA, RecordType.A)
IPV4_FIRST: Final = (RecordType.A, RecordType.AAAA)

_MOST_HOSTS: Final = 10
"""Hosts of one domain that are looked up: nobody's domain keeps us busy."""

_MOST_ADDRESSES: Final = 20
"""Addresses of all hosts of a domain. RFC 5321 section 5.1 asks for two or more."""

_MOST_OF_A_HOST: Final = 10
_MOST_REASONS: Final = 3

NO_SUCH_DOMAIN: Final = EnhancedCode(5, 1, 2)
TAKES_NO_MAIL: Final = EnhancedCode(5, 1, 10)
NO_ROUTE: Final = EnhancedCode(5, 4, 4)
LOOP: Final = EnhancedCode(5, 4, 6)


@frozen(kw_only=True)
class Host:
    """A host that takes mail."""

    name: str
    """A host name, or an address literal as in a mailbox."""

    addresses: tuple[IPAddress, ...]
    """To be tried in this order; at least one. The families take turns, so
    that one which is broken here costs one attempt and no more."""

    preference: int = 0
    authenticated: bool = False
    """A validating resolver vouches for every one of the addresses."""


@frozen
class Undeliverable:
    """No host takes mail for the domain, and waiting will not change that."""

    status: EnhancedCode
    diagnostic: str


@frozen(kw_only=True)
class Exchangers:
    """The hosts of the best preference that can be tried, and a way to the rest.

    A domain may name many hosts, and the first is mostly enough: the others
    are looked up when all of these have failed.
    """

    domain: str
    hosts: tuple[Host, ...]
    """In the order to be tried; at least one."""

    authenticated: bool
    """A validating resolver vouches for the list (RFC 7672 section 2.2.1)."""

    skipped: tuple[str, ...] = ()
    """Why better hosts are not among these; a sentence each."""

    unresolved: str = ""
    """Why nobody could tell of some of them: they may be there. Empty: no such."""

    _rest: "_Candidates | None" = field(default=None, repr=False, eq=False)

    def in_order(self) -> Iterator[tuple[str, IPAddress]]:
        """Each host's name with each of its addresses."""
        for host in self.hosts:
            for address in host.addresses:
                yield host.name, address

    async def next_best(self) -> "Exchangers | None":
        """Those to try when all of these have failed. None: there are no more.

        Raises:
            ResolverUnavailable: cannot tell now.
        """
        if self._rest is None:
            return None
        found = await self._rest.find()
        return found if isinstance(found, Exchangers) else None


async def find_exchangers(
    resolver: Resolver,
    domain: str,
    *,
    random: Random,
    port: int,
    own_names: frozenset[str],
    is_own: Callable[[IPAddress, int], bool],
    families: tuple[RecordType, ...] = IPV6_FIRST,
) -> Exchangers | Undeliverable:
    """The hosts that take mail for ``domain``, which is no address literal.

    ``own_names`` and ``is_own`` say which hosts, and which addresses with
    ``port``, are this server. It never gets the mail, nor does a host that the
    domain likes no better. ``families`` holds AAAA, A or both, the preferred
    one first.

    Raises:
        ResolverUnavailable: cannot tell now (4.4.3).
    """
    try:
        answer = await resolver.query(domain, RecordType.MX)
    except NameNotFound as missing:
        return Undeliverable(NO_SUCH_DOMAIN, str(missing))
    except BadName as problem:
        return Undeliverable(NO_SUCH_DOMAIN, f"{domain} is no domain: {problem}")
    records = [one for one in answer.records if isinstance(one, ExchangerRecord)]
    if len(records) == 1 and records[0].exchanger == ".":
        return Undeliverable(TAKES_NO_MAIL, f"{domain} takes no mail (null MX)")
    search = _Search(resolver, domain, random, port, own_names, is_own, families)
    # Without MX records the domain itself is the host.
    return await search.among(
        records or [ExchangerRecord(0, domain)], authenticated=answer.authenticated
    )


async def find_host(
    resolver: Resolver,
    host: str,
    *,
    random: Random,
    port: int,
    own_names: frozenset[str],
    is_own: Callable[[IPAddress, int], bool],
    families: tuple[RecordType, ...] = IPV6_FIRST,
) -> Exchangers | Undeliverable:
    """The same for one host that the operator named: no MX is looked up.

    Raises:
        ResolverUnavailable: cannot tell now (4.4.3).
    """
    search = _Search(resolver, host, random, port, own_names, is_own, families)
    return await search.among([ExchangerRecord(0, host)], authenticated=True)


def literal_exchangers(
    domain: str,
    *,
    port: int,
    is_own: Callable[[IPAddress, int], bool],
    families: tuple[RecordType, ...] = IPV6_FIRST,
) -> Exchangers | Undeliverable:
    """The same for an address literal: the DNS is not asked (RFC 5321 section 5.1)."""
    address = parse_literal(domain)
    if address is None:
        return Undeliverable(NO_SUCH_DOMAIN, f"{domain} is no address literal")
    if is_own(address, port):
        return Undeliverable(LOOP, _comes_back(domain))
    family = RecordType.A if address.version == 4 else RecordType.AAAA
    if family not in families:
        return Undeliverable(
            NO_ROUTE, f"this server does not send over IPv{address.version}"
        )
    host = Host(name=domain, addresses=(address,))
    return Exchangers(domain=domain, hosts=(host,), authenticated=False)


def parse_literal(domain: str) -> IPAddress | None:
    """The address in ``[192.0.2.1]`` or ``[IPv6:2001:db8::1]``. None: no literal."""
    if not (domain.startswith("[") and domain.endswith("]")):
        return None
    inner = domain[1:-1]
    try:
        if inner[:5].lower() != "ipv6:":
            return IPv4Address(inner)
        # A zone means nothing outside of the host that wrote it.
        return None if "%" in inner else IPv6Address(inner[5:])
    except ValueError:
        return None


def _comes_back(domain: str) -> str:
    return f"mail for {domain} comes back to this server, which does not keep it"


@frozen
class _Search:
    """What stays the same while the hosts of a domain are looked up."""

    resolver: Resolver
    domain: str
    random: Random
    port: int
    own_names: frozenset[str]
    is_own: Callable[[IPAddress, int], bool]
    families: tuple[RecordType, ...]

    async def among(
        self, records: Iterable[ExchangerRecord], *, authenticated: bool
    ) -> Exchangers | Undeliverable:
        """Raises: ResolverUnavailable."""
        usable: dict[str, ExchangerRecord] = {}
        skipped: list[str] = []
        is_loop = False
        for record in sorted(records, key=attrgetter("preference")):
            if record.exchanger == ".":
                # Beside others it is a mistake, no null MX (RFC 7505 section 3).
                skipped.append(f"{self.domain} has a null MX among others")
            elif is_address(record.exchanger):
                skipped.append(f"{record.exchanger} is an address, no host")
            else:
                usable.setdefault(record.exchanger, record)
        groups: list[tuple[ExchangerRecord, ...]] = []
        room = _MOST_HOSTS
        for _, members in groupby(usable.values(), attrgetter("preference")):
            group = list(members)
            if any(record.exchanger in self.own_names for record in group):
                is_loop = True
                break
            # Among equals chance decides, to spread the load.
            self.random.shuffle(group)
            if group[:room]:
                groups.append(tuple(group[:room]))
            room -= len(group[:room])
        candidates = _Candidates(
            search=self,
            groups=tuple(groups),
            is_loop=is_loop,
            authenticated=authenticated,
            skipped=tuple(skipped),
        )
        return await candidates.find()

    def is_ours(self, found: HostAddresses) -> bool:
        return not self.own_names.isdisjoint(found.names) or any(
            self.is_own(address, self.port)
            for family in found.by_family
            for address in family
        )


@frozen(kw_only=True)
class _Candidates:
    """Hosts that are not looked up yet, in groups of one preference, best first."""

    search: _Search
    groups: tuple[tuple[ExchangerRecord, ...], ...]
    is_loop: bool
    """This server is behind the last group."""

    authenticated: bool
    skipped: tuple[str, ...]
    most_addresses: int = _MOST_ADDRESSES

    async def find(self) -> Exchangers | Undeliverable:
        """Look up group by group until one has a host that can be tried.

        A group as a whole: one of its hosts may be this server, and then the
        others must not get the mail either (RFC 5321 section 5.1).

        Raises:
            ResolverUnavailable: nobody could tell of some host, and there is
                no other.
        """
        skipped = list(self.skipped)
        unavailable: ResolverUnavailable | None = None
        is_loop = self.is_loop
        for index, group in enumerate(self.groups):
            hosts: list[Host] = []
            room = self.most_addresses
            lookups = await self._look_up(group)
            if any(
                isinstance(found, HostAddresses) and self.search.is_ours(found)
                for found in lookups
            ):
                is_loop = True
                break
            for record, found in zip(group, lookups, strict=True):
                match found:
                    case HostAddresses() if room > 0:
                        hosts.append(self._host(record, found, room))
                        room -= len(hosts[-1].addresses)
                    case NoAddress(reason):
                        skipped.append(reason)
                    case ResolverUnavailable():
                        skipped.append(str(found))
                        unavailable = unavailable or found
            if hosts:
                exchangers = self._as_exchangers(hosts, skipped, index + 1, room)
                return evolve(exchangers, unresolved=str(unavailable or ""))
        if unavailable is not None:
            raise unavailable
        if is_loop:
            return Undeliverable(LOOP, _comes_back(self.search.domain))
        return Undeliverable(NO_ROUTE, "; ".join(skipped[:_MOST_REASONS]))

    async def _look_up(
        self, group: tuple[ExchangerRecord, ...]
    ) -> list[HostAddresses | NoAddress | ResolverUnavailable]:
        search = self.search
        return await together(
            [
                look_up_addresses(search.resolver, one.exchanger, search.families)
                for one in group
            ]
        )

    def _host(self, record: ExchangerRecord, found: HostAddresses, room: int) -> Host:
        return Host(
            name=record.exchanger,
            addresses=found.in_turn(self.search.random, min(room, _MOST_OF_A_HOST)),
            preference=record.preference,
            authenticated=found.authenticated,
        )

    def _as_exchangers(
        self, hosts: list[Host], skipped: list[str], groups_seen: int, room: int
    ) -> Exchangers:
        groups = self.groups[groups_seen:]
        rest = None
        if groups and room > 0:
            rest = evolve(self, groups=groups, skipped=(), most_addresses=room)
        return Exchangers(
            domain=self.search.domain,
            hosts=tuple(hosts),
            authenticated=self.authenticated,
            skipped=tuple(skipped),
            rest=rest,
        )
