"""Which mailboxes are a login's: rules → permissions, each with its reason."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from attrs import field, frozen

from submitd.auth.directory import stripped
from submitd.auth.files import TableFile
from submitd.auth.submitter import (
    Anything,
    Exactly,
    Grant,
    Permission,
    WholeDomain,
    WithSubaddresses,
)
from submitd.mail.address import BadAddress, parse_domain, parse_mailbox
from submitd.observe.events import DIRECTORY_ODD, Events

if TYPE_CHECKING:
    from submitd.auth.ldap import Directory, Entry, Filter


class Grants(Protocol):
    """One kind of rule."""

    async def grants(
        self, login: str, entry: "Entry | None"
    ) -> Sequence[tuple[str | Grant, str]]:
        """(address, ``@domain`` or grant, source). Raises DirectoryUnavailable."""


@frozen
class Template:
    """An address made of the login."""

    template: str
    login_domains: frozenset[str] = frozenset()
    """A login is the same with and without one of these."""

    async def grants(self, login: str, entry: "Entry | None") -> list[tuple[str, str]]:  # noqa: ARG002
        """As `Grants.grants`."""
        name = stripped(login, self.login_domains)
        local_part, at, domain = name.rpartition("@")
        if at:
            # Somebody of another domain is not the person of the same name here.
            if not self.template.lower().endswith(f"@{domain.lower()}"):
                return []
            name = local_part
        return [(self.template.replace("{login}", name), self.template)]


@frozen
class Attributes:
    """Values of the person's own entry."""

    names: tuple[str, ...]

    async def grants(self, login: str, entry: "Entry | None") -> list[tuple[str, str]]:  # noqa: ARG002
        """As `Grants.grants`."""
        if entry is None:
            return []
        return [
            (value, f"{entry.dn} ({name})")
            for name in self.names
            for value in entry.values(name)
        ]


@frozen
class RoleSearch:
    """Values of entries that name the person."""

    directory: "Directory"
    base: str
    wanted: "Filter"
    names: tuple[str, ...]

    async def grants(self, login: str, entry: "Entry | None") -> list[tuple[str, str]]:
        """As `Grants.grants`."""
        if entry is None:
            return []
        found = await self.directory.search(
            self.base,
            self.wanted.fill({"login": login, "dn": entry.dn}),
            self.names,
        )
        return [
            (value, f"{one.dn} ({name})")
            for one in found
            for name in self.names
            for value in one.values(name)
        ]


@frozen
class AddressFile:
    """A line of a file."""

    path: Path
    table: TableFile[dict[str, list[tuple[int, str]]]]

    async def grants(self, login: str, entry: "Entry | None") -> list[tuple[str, str]]:  # noqa: ARG002
        """As `Grants.grants`."""
        table = await self.table.table()
        return [
            (address, f"{self.path}:{number}")
            for number, address in table.get(login.lower(), ())
        ]


@frozen
class Domains:
    """Whole domains."""

    names: tuple[str, ...]

    async def grants(self, login: str, entry: "Entry | None") -> list[tuple[str, str]]:  # noqa: ARG002
        """As `Grants.grants`."""
        return [(f"@{name}", f"@{name}") for name in self.names]


@frozen
class AnyAddress:
    """Every address whatever."""

    async def grants(
        self,
        login: str,  # noqa: ARG002
        entry: "Entry | None",  # noqa: ARG002
    ) -> list[tuple[Grant, str]]:
        """As `Grants.grants`."""
        return [(Anything(), "any = true")]


@frozen(kw_only=True)
class Rule:
    """A named rule, perhaps for some logins only."""

    name: str
    kind: Grants
    logins: frozenset[str] = field(default=frozenset())
    """In lower case. Empty: everybody."""


class AddressRules:
    """All rules."""

    def __init__(
        self, rules: Sequence[Rule], *, subaddresses: bool, events: Events
    ) -> None:
        self._rules = tuple(rules)
        self._subaddresses = subaddresses
        self._events = events

    async def permissions(
        self, login: str, entry: "Entry | None"
    ) -> tuple[Permission, ...]:
        """What the login may use, in the order of the rules.

        Raises:
            DirectoryUnavailable: a rule cannot be followed now.
        """
        found: list[Permission] = []
        for rule in self._rules:
            if not rule.logins or login.lower() in rule.logins:
                found += self._read(rule, await rule.kind.grants(login, entry))
        return tuple(found)

    def _read(
        self, rule: Rule, granted: Sequence[tuple[str | Grant, str]]
    ) -> Iterator[Permission]:
        for address, source in granted:
            try:
                grant = self._grant(address)
            except BadAddress as problem:
                self._events.emit(
                    DIRECTORY_ODD, entry=source, value=address, reason=str(problem)
                )
                continue
            yield Permission(grant, rule.name, source)

    def _grant(self, granted: str | Grant) -> Grant:
        if not isinstance(granted, str):
            return granted
        address = granted.strip()
        if address.startswith("@"):
            return WholeDomain(parse_domain(address[1:]))
        mailbox = parse_mailbox(address)
        return WithSubaddresses(mailbox) if self._subaddresses else Exactly(mailbox)
