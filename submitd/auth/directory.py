"""People in the directory: found, locked or not."""

import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from attrs import frozen

from submitd.auth.errors import DirectoryUnavailable
from submitd.auth.hashes import is_locked

if TYPE_CHECKING:
    from submitd.auth.ldap import Directory, Entry, Filter

_LOCK_ATTRIBUTES: Final = ("userPassword", "accountStatus", "shadowExpire")
_RETIREMENT: Final = timedelta(days=186)
"""userdir-ldap lets a retiring account work for six months."""


@frozen(kw_only=True)
class PeopleRules:
    """Where people are and what their entries mean."""

    base: str
    person: "Filter"
    uid_attribute: str
    login_domains: frozenset[str]
    lock: "Filter | None"
    honour_locks: bool
    attributes: tuple[str, ...]
    """Further attributes that somebody will ask of an entry."""


class People:
    """Finds the entry of a login."""

    def __init__(
        self,
        directory: "Directory",
        rules: PeopleRules,
        today: Callable[[], date] = lambda: datetime.now(UTC).date(),
    ) -> None:
        self.directory = directory
        self.rules = rules
        self._today = today

    async def find(self, login: str) -> "Entry | None":
        """The person's entry; None: there is none.

        Raises:
            DirectoryUnavailable: cannot tell; also where several match.
        """
        rules = self.rules
        if not (name := stripped(login, rules.login_domains)):
            return None
        found = await self.directory.search(
            rules.base,
            rules.person.fill({"login": name}),
            (rules.uid_attribute, *_LOCK_ATTRIBUTES, *rules.attributes),
            most=2,
        )
        if len(found) > 1:
            raise DirectoryUnavailable(f"several entries match {name!r}")
        return found[0] if found else None

    def uid(self, entry: "Entry") -> str:
        """The login of this entry, the same by whichever of its names it was found.

        The value that its DN begins with; else the least of them: a directory
        gives them in any order. What is sent is counted by it, and sessions are;
        failed log-ins are counted by the name that was typed.

        Raises:
            DirectoryUnavailable: the entry has no such attribute.
        """
        values = entry.values(self.rules.uid_attribute)
        if not values:
            raise DirectoryUnavailable(
                f"{entry.dn} has no {self.rules.uid_attribute} that we may read"
            )
        named = [one for one in values if entry.is_named(one)]
        return min(named or values, key=lambda one: (one.casefold(), one))

    async def lock_of(self, entry: "Entry") -> str:
        """Why the account is locked; empty: it is not.

        Raises:
            DirectoryUnavailable: cannot tell.
        """
        rules = self.rules
        if rules.honour_locks and (reason := lock_in(entry, self._today())):
            return reason
        if rules.lock is not None:
            locked = await self.directory.search(
                entry.dn, rules.lock.fill({}), ("1.1",), base_only=True, most=1
            )
            if locked:
                return "it matches the lock filter"
        return ""


def stripped(login: str, domains: frozenset[str]) -> str:
    """The login without a domain that is ours."""
    name, at, domain = login.strip().rpartition("@")
    return name if at and domain.lower() in domains else login.strip()


def folded(name: str) -> str:
    """One spelling of a name, of those that a directory takes for one (RFC 4518
    section 2.6.1).
    """
    folded = unicodedata.normalize("NFKC", name).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def is_one_of(wanted: str, names: Sequence[str], domains: frozenset[str]) -> bool:
    """True where ``wanted`` is one of these names, in whatever case."""
    folded = [stripped(one, domains).casefold() for one in (wanted, *names)]
    return folded[0] in folded[1:]


def lock_in(entry: "Entry", today: date) -> str:
    """The lock that an entry's own attributes show; empty: none."""
    if any(map(is_locked, entry.values("userPassword"))):
        return "userPassword is locked"
    for value in entry.values("accountStatus"):
        if _is_inactive(value, today):
            return f"accountStatus is {value.split()[0]}"
    for value in entry.values("shadowExpire"):
        if _has_expired(value, today):
            return "shadowExpire has passed"
    return ""


def _is_inactive(status: str, today: date) -> bool:
    words: Sequence[str] = status.lower().split()
    if not words or words[0] == "active":
        return False
    if words[0] != "retiring":
        return True
    try:
        since = date.fromisoformat(words[1])
    except (IndexError, ValueError):
        return False
    return today - since > _RETIREMENT


def _has_expired(days: str, today: date) -> bool:
    try:
        number = int(days)
    except ValueError:
        return False
    return 0 <= number <= (today - date(1970, 1, 1)).days
