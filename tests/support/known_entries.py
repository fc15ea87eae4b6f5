"""A directory of a few entries, for what is decided above the protocol."""

from collections.abc import Sequence
from typing import Any

from attrs import define, field
from ldaptor.protocols import pureldap

from submitd.auth.directory import People, PeopleRules
from submitd.auth.errors import AccountLocked, DirectoryUnavailable
from submitd.auth.ldap import Entry, Filter


def entry(uid: str, **attributes: str | tuple[str, ...]) -> Entry:
    """A person's entry."""
    values = {"uid": uid} | attributes
    return Entry(
        f"uid={uid},ou=users,dc=example,dc=org",
        {
            name.lower(): (value,) if isinstance(value, str) else value
            for name, value in values.items()
        },
    )


@define
class KnownEntries:
    """Stands in for `Directory`; slapd itself is in the integration tests."""

    entries: Sequence[Entry] = ()
    passwords: dict[str, str] = field(factory=dict)
    """By DN."""

    locked: frozenset[str] = frozenset()
    """DNs whose bind the server refuses as locked."""

    answers: bool = True
    asked: list[str] = field(factory=list)
    """"filter" for a search, DN for a bind, in order."""

    async def search(
        self,
        base: str,
        wanted: Any,  # noqa: ANN401
        attributes: Sequence[str],  # noqa: ARG002
        *,
        base_only: bool = False,
        most: int = 0,  # noqa: ARG002
    ) -> list[Entry]:
        """Entries whose uid, owner or lock the filter names."""
        if not self.answers:
            raise DirectoryUnavailable("silent")
        self.asked.append("filter")
        if base_only:
            return [
                one
                for one in self.entries
                if one.dn == base and one.values("mailDisableMessage")
            ]
        return [
            one
            for one in self.entries
            if wanted.toWire() in (_equal("uid", one), _equal("owner", one))
        ]

    async def bind(self, dn: str, password: str) -> bool:
        """True where it is the password."""
        if not self.answers:
            raise DirectoryUnavailable("silent")
        self.asked.append(dn)
        if dn in self.locked:
            raise AccountLocked("the directory says so")
        return self.passwords.get(dn) == password


def _equal(name: str, one: Entry) -> bytes:
    """The filter that finds this entry by its first value, as on the wire."""
    value = (one.values(name) or ("",))[0]
    wire: bytes = pureldap.LDAPFilter_equalityMatch(
        pureldap.LDAPAttributeDescription(name), pureldap.LDAPAssertionValue(value)
    ).toWire()
    return wire


def people(known: KnownEntries, **rules: Any) -> People:  # noqa: ANN401
    """The people of that directory."""
    defaults: dict[str, Any] = {
        "base": "ou=users,dc=example,dc=org",
        "person": Filter("(uid={login})", ["login"]),
        "uid_attribute": "uid",
        "login_domains": frozenset({"example.org"}),
        "lock": None,
        "honour_locks": True,
        "attributes": ("mail",),
    }
    return People(known, PeopleRules(**(defaults | rules)))  # type: ignore[arg-type]
