"""Credentials checkers: who proves to be whom (`twisted.cred`)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from zope.interface import implementer

from submitd.auth.directory import People
from submitd.auth.errors import AccountLocked, DirectoryUnavailable
from submitd.auth.files import TableFile
from submitd.auth.hashes import HashThreads, UnknownScheme, clear_text, is_locked
from submitd.auth.passwords import PasswordTable, ScramLook
from submitd.observe.events import DIRECTORY_ODD, Events
from submitd.sasl.scram_keys import ScramKeys, read_keys

if TYPE_CHECKING:
    from submitd.auth.ldap import Entry

S = TypeVar("S")
T = TypeVar("T")

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


class KnowsAccounts(Protocol):
    """A source, as ways to log in without a password see it.

    Each coroutine raises `NotTheirs` where it does not speak for the user, and
    DirectoryUnavailable where it cannot tell.
    """

    @property
    def serves_keys(self) -> bool:
        """SCRAM can be offered as far as this source is concerned."""

    @property
    def serves_secrets(self) -> bool:
        """Some passwords are stored in the clear, as CRAM-MD5 needs them."""

    @property
    def looks(self) -> Mapping[ScramLook, int]:
        """What its keys look like, and how many do; empty: it cannot tell."""

    async def account(self, login: str, *, by_others: bool) -> str:
        """The canonical login of somebody who was proved otherwise.

        ``by_others``: it is the word of others that names them, for whom two spellings
        may be two people; else whoever has proved to be one is the other, too.

        Raises:
            AccountLocked: it is locked.
        """

    async def keys(self, login: str) -> ScramKeys:
        """The stored keys for SCRAM."""

    async def secret(self, login: str) -> str:
        """The stored password."""


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


class DirectoryAccounts:
    """What a directory knows of people beside their passwords: as `KnowsAccounts`."""

    serves_secrets = False
    looks: Mapping[ScramLook, int] = MappingProxyType({})

    def __init__(self, people: People, keys_attribute: str = "") -> None:
        """``keys_attribute``: where an entry has keys for SCRAM; empty: nowhere."""
        self._people = people
        self._keys_attribute = keys_attribute

    @property
    def serves_keys(self) -> bool:
        """As `KnowsAccounts.serves_keys`."""
        return bool(self._keys_attribute)

    async def account(self, login: str, *, by_others: bool) -> str:  # noqa: ARG002
        """As `KnowsAccounts.account`: which spellings are one the directory says."""
        entry = await self._people.find(login)
        if entry is None:
            raise NotTheirs(_REFUSED)
        return await _settled(self._people, entry, proved=True)

    async def keys(self, login: str) -> ScramKeys:
        """As `KnowsAccounts.keys`."""
        entry = await self._people.find(login) if self._keys_attribute else None
        values = () if entry is None else entry.values(self._keys_attribute)
        for keys in map(read_keys, values):
            if keys is not None:
                return keys
        raise NotTheirs(_REFUSED)

    async def secret(self, login: str) -> str:  # noqa: ARG002
        """As `KnowsAccounts.secret`: who has such a directory needs another one."""
        raise NotTheirs(_REFUSED)


class DirectoryChecker(DirectoryAccounts):
    """Search for the user's entry, then bind as it."""

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
        return await _settled(people, entry, proved=proved)


class DirectoryHashChecker(DirectoryAccounts):
    """Read a stored hash with our own account, and compare."""

    def __init__(
        self,
        people: People,
        attribute: str,
        threads: HashThreads,
        events: Events,
        keys_attribute: str = "",
    ) -> None:
        super().__init__(people, keys_attribute)
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
        return await _settled(self._people, entry, proved=proved)


async def _settled(people: People, entry: "Entry", *, proved: bool) -> str:
    # A lock is looked at for all alike: it must not show in the time taken.
    lock = await people.lock_of(entry)
    if not proved:
        raise NotTheirs(_REFUSED)
    if lock:
        raise AccountLocked(lock)
    return people.uid(entry)


class PasswordFileChecker:
    """A file of passwords: an exported ``mail-passwords``, or Dovecot's form."""

    def __init__(
        self,
        table: TableFile[PasswordTable],
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
        name, value = await self._found(login)
        stored = () if name is None else (value,)
        proved = await self._hashes.check(stored, password, f"password file: {name}")
        if name is None:
            raise NotTheirs(_REFUSED)
        if is_locked(value):
            raise AccountLocked("the password file locks it")
        if proved:
            return name
        if self._authoritative:
            raise UnauthorizedLogin(_REFUSED)
        raise NotTheirs(_REFUSED)

    async def _found(
        self, login: str, *, in_any_spelling: bool = True
    ) -> tuple[str | None, str]:
        """Its name for this login and what it stores; None: it has none."""
        table = await self._table.table()
        name = table.name(login, self._domains)
        if name is None and in_any_spelling:
            name = table.spelled(login, self._domains)
        return name, "" if name is None else table.stored[name]

    # As `KnowsAccounts`

    async def load(self) -> None:
        """Read the file, so that `serves_keys` and `serves_secrets` can tell."""
        with suppress(DirectoryUnavailable):  # its reason is in the log
            await self._table.table()

    @property
    def serves_keys(self) -> bool:
        """As `KnowsAccounts.serves_keys`."""
        table = self._table.latest
        return table is not None and table.serves_keys

    @property
    def serves_secrets(self) -> bool:
        """As `KnowsAccounts.serves_secrets`."""
        table = self._table.latest
        return table is not None and table.serves_secrets

    @property
    def looks(self) -> Mapping[ScramLook, int]:
        """As `KnowsAccounts.looks`."""
        table = self._table.latest
        return {} if table is None else table.looks

    async def account(self, login: str, *, by_others: bool) -> str:
        """As `KnowsAccounts.account`."""
        name, value = await self._found(login, in_any_spelling=not by_others)
        if name is None:
            raise NotTheirs(_REFUSED)
        if is_locked(value):
            raise AccountLocked("the password file locks it")
        return name

    async def keys(self, login: str) -> ScramKeys:
        """As `KnowsAccounts.keys`."""
        _, value = await self._found(login)
        keys = read_keys(value)
        if keys is None:
            raise NotTheirs(_REFUSED)
        return keys

    async def secret(self, login: str) -> str:
        """As `KnowsAccounts.secret`."""
        _, value = await self._found(login)
        secret = clear_text(value)
        if not secret:
            raise NotTheirs(_REFUSED)
        return secret


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
        return (
            await first_answer(
                self._sources, lambda source: source.prove(login, password)
            )
        ).encode()


async def first_answer(sources: Sequence[S], ask: Callable[[S], Awaitable[T]]) -> T:
    """The first answer that is no `NotTheirs`.

    Raises:
        UnauthorizedLogin: one said no for all; `NotTheirs`: each for itself.
        DirectoryUnavailable: some said no, others could not say: the sum is "cannot
            tell".
    """
    silent: DirectoryUnavailable | None = None
    for source in sources:
        try:
            return await ask(source)
        except NotTheirs:
            continue
        except DirectoryUnavailable as problem:
            silent = silent or problem
    if silent is not None:
        raise silent
    raise NotTheirs(_REFUSED)
