"""Where mail for a domain goes: MX, null MX, implicit MX (RFC 5321 section 5)."""

from collections.abc import Collection
from random import Random
from typing import Final

from attrs import frozen

from submitd.dns.resolver import (
    BadName,
    Kind,
    NameNotFound,
    Resolver,
    ResolverUnavailable,
)
from submitd.mail.status import EnhancedCode

_MOST: Final = 20
"""Exchangers that are considered."""


@frozen
class Exchangers:
    """Hosts to try, in this order. Never empty."""

    hosts: tuple[str, ...]


@frozen
class NoExchanger:
    """The domain takes no mail, and trying again will not change that."""

    status: EnhancedCode
    reason: str


async def find_exchangers(
    resolver: Resolver, domain: str, own_names: Collection[str], chance: Random
) -> Exchangers | NoExchanger:
    """The exchangers of ``domain`` in the order of RFC 5321 section 5.1.

    Raises:
        ResolverUnavailable: cannot tell now.
    """
    try:
        answer = await resolver.query(domain, Kind.MX)
    except NameNotFound:
        return NoExchanger(EnhancedCode(5, 1, 2), f"the domain {domain} does not exist")
    except BadName as problem:
        return NoExchanger(EnhancedCode(5, 1, 2), str(problem))
    records = answer.exchangers
    if not records:
        return await _implicit(resolver, domain)
    if len(records) == 1 and not records[0].exchanger:
        return NoExchanger(
            EnhancedCode(5, 1, 10), f"the domain {domain} takes no mail (null MX)"
        )
    # A root among others is a mistake of theirs, not a null MX (RFC 7505 3).
    named = [one for one in records if one.exchanger]
    chance.shuffle(named)
    named.sort(key=lambda one: one.preference)
    ours = [one.preference for one in named if one.exchanger in own_names]
    if ours:
        # What is not better than ourselves would send it in a circle.
        named = [one for one in named if one.preference < min(ours)]
        if not named:
            return NoExchanger(
                EnhancedCode(5, 4, 6),
                f"mail for {domain} comes back to this server, which does not keep it",
            )
    if not named:
        return NoExchanger(EnhancedCode(5, 4, 4), f"{domain} has no usable MX record")
    return Exchangers(tuple(dict.fromkeys(one.exchanger for one in named))[:_MOST])


async def _implicit(resolver: Resolver, domain: str) -> Exchangers | NoExchanger:
    """No MX: the domain's own addresses, where it has any."""
    if await find_addresses(resolver, domain):
        return Exchangers((domain,))
    return NoExchanger(
        EnhancedCode(5, 1, 2), f"{domain} has neither MX nor address records"
    )


async def find_addresses(
    resolver: Resolver, host: str, families: Collection[Kind] = (Kind.AAAA, Kind.A)
) -> tuple[str, ...]:
    """Addresses of both families in turn; empty: the host has none.

    Raises:
        ResolverUnavailable: cannot tell, and no address of the other family
            is known.
    """
    lists: list[tuple[str, ...]] = []
    trouble: ResolverUnavailable | None = None
    for kind in families:
        try:
            lists.append((await resolver.query(host, kind)).addresses)
        except (NameNotFound, BadName):
            continue
        except ResolverUnavailable as problem:
            trouble = problem
    longest = max(map(len, lists), default=0)
    found = tuple(
        one[turn] for turn in range(longest) for one in lists if turn < len(one)
    )
    if not found and trouble is not None:
        raise trouble
    return found
