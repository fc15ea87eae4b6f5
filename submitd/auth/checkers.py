"""Credentials checkers: who proves to be whom (`twisted.cred`)."""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from zope.interface import implementer

from submitd.auth.directory import People, stripped
from submitd.auth.errors import AccountLocked, DirectoryUnavailable
from submitd.auth.files import TableFile
from submitd.auth.hashes import HashThreads, UnknownScheme, is_locked
from submitd.observe.events import DIRECTORY_ODD, Events

if TYPE_CHECKING:
    from submitd.auth.ldap import Entry

_REFUSED: Final = "user name or password refused"
"""One message for both, so that a guesser learns no user names."""

_NOBODY: Final = (
    "$6$rounds=5000$submitd.nobody$"
    "pBgGk8cQXF5oZ1IVQGd8K3c5kq0m0oDqkT0w1l1a5W0m3fJ0pS0WQn9xqz8v7r6y5u4t3s2r1q0p9o8n7m6l50"
)


class Proves(Protocol):
    """One source of log-ins."""

    async def prove(self, login: str, password: str) -> str:
        """The canonical login, once proved.

        Raises:
            UnauthorizedLogin: no; `NotTheirs` where others may be asked.
            DirectoryUnavailable: cannot tell.
        """


class NotTheirs(UnauthorizedLogin):
    """No, but this source does not speak for the user: ask the next one."""


class _Hashes:
    """Checks stored values, and takes as long where there is none."""

    def __init__(self, threads: HashThreads, events: Events) -> None:
        self._threads = threads
        self._events = events
        self._usual = _NOBODY

    async def check(self, stored: Sequence[str], password: str, whose: str) -> bool:
        """True where one of the values is the password's. None stored: False."""
        compared = False
        for value in stored:
            if is_locked(value):
                continue
            try:
                proved = await self._threads.verify(value, password)
            except UnknownScheme as problem:
                self._events.emit(DIRECTORY_ODD, entry=whose, reason=str(problem))
                continue
            compared, self._usual = True, value
            if proved:
                return True
        if not compared:
            await self._threads.verify(self._usual, password)
        return False


class DirectoryChecker:
    """Search for the user's entry, then bind as it."""

    def __init__(self, people: People) -> None:
        self._people = people

    async def prove(self, login: str, password: str) -> str:
        """As `Proves.prove`."""
        people = self._people
        entry = await people.find(login)
        if entry is None:
            # A bind that cannot succeed, so that "unknown" takes as long.
            with suppress(AccountLocked):
                await people.directory.bind(f"uid=nobody,{people.rules.base}", password)
            raise NotTheirs(_REFUSED)
        proved = await people.directory.bind(entry.dn, password)
        return await _settled(people, entry, login, proved=proved)


class DirectoryHashChecker:
    """Read a stored hash with our own account, and compare."""

    def __init__(
        self, people: People, attribute: str, threads: HashThreads, events: Events
    ) -> None:
        self._people = people
        self._attribute = attribute
        self._hashes = _Hashes(threads, events)

    async def prove(self, login: str, password: str) -> str:
        """As `Proves.prove`."""
        entry = await self._people.find(login)
        if entry is None:
            await self._hashes.check((), password, "")
            raise NotTheirs(_REFUSED)
        stored = entry.values(self._attribute)
        proved = await self._hashes.check(stored, password, entry.dn)
        return await _settled(self._people, entry, login, proved=proved)


async def _settled(people: People, entry: "Entry", login: str, *, proved: bool) -> str:
    # A lock is looked at for all alike: it must not show in the time taken.
    lock = await people.lock_of(entry)
    if not proved:
        raise NotTheirs(_REFUSED)
    if lock:
        raise AccountLocked(lock)
    return people.uid(entry, login)


class PasswordFileChecker:
    """A file of passwords: an exported ``mail-passwords``, or Dovecot's form."""

    def __init__(
        self,
        table: TableFile[dict[str, str]],
        threads: HashThreads,
        events: Events,
        *,
        login_domains: frozenset[str],
        authoritative: bool,
    ) -> None:
        """``authoritative``: its "no" is final for users that it knows."""
        self._table = table
        self._hashes = _Hashes(threads, events)
        self._domains = login_domains
        self._authoritative = authoritative

    async def prove(self, login: str, password: str) -> str:
        """As `Proves.prove`."""
        table = await self._table.table()
        name = next(
            (
                one
                for one in (
                    login,
                    stripped(login, self._domains),
                    login.lower(),
                    stripped(login, self._domains).lower(),
                )
                if one in table
            ),
            None,
        )
        stored = () if name is None else (table[name],)
        proved = await self._hashes.check(stored, password, f"password file: {name}")
        if name is None:
            raise NotTheirs(_REFUSED)
        if is_locked(table[name]):
            raise AccountLocked("the password file locks it")
        if proved:
            return name
        if self._authoritative:
            raise UnauthorizedLogin(_REFUSED)
        raise NotTheirs(_REFUSED)


@implementer(ICredentialsChecker)
class StackedChecker:
    """Asks its sources in order. ``Portal`` keeps one checker an interface."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, sources: Sequence[Proves]) -> None:
        self._sources = tuple(sources)

    def requestAvatarId(
        self, credentials: IUsernamePassword
    ) -> Deferred[bytes | tuple[()]]:
        """The canonical login, once proved."""
        return Deferred.fromCoroutine(
            self._prove(credentials.username.decode(), credentials.password.decode())
        )

    async def _prove(self, login: str, password: str) -> bytes | tuple[()]:
        # A simple bind with a name and an empty password is "unauthenticated":
        # many directories answer it with success (RFC 4513 section 5.1.2).
        # Without this line anyone who knows a user name is that user.
        if not password or not login:
            raise UnauthorizedLogin("empty user name or password")
        silent: DirectoryUnavailable | None = None
        for source in self._sources:
            try:
                return (await source.prove(login, password)).encode()
            except NotTheirs:
                continue
            except DirectoryUnavailable as problem:
                silent = silent or problem
        if silent is not None:
            # One said no, another could not say: the sum is "cannot tell".
            raise silent
        raise UnauthorizedLogin(_REFUSED)
