"""Credentials checkers: who proves to be whom (`twisted.cred`)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from zope.interface import implementer

from submitd.auth.directory import People, stripped
from submitd.auth.errors import AccountLocked, DirectoryUnavailable
from submitd.auth.files import TableFile
from submitd.auth.hashes import HashThreads, UnknownScheme, clear_text, is_locked
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

    async def account(self, login: str) -> str:
        """The canonical login of somebody who was proved otherwise.

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

    def __init__(self, people: People, keys_attribute: str = "") -> None:
        """``keys_attribute``: where an entry has keys for SCRAM; empty: nowhere."""
        self._people = people
        self._keys_attribute = keys_attribute

    @property
    def serves_keys(self) -> bool:
        """As `KnowsAccounts.serves_keys`."""
        return bool(self._keys_attribute)

    async def account(self, login: str) -> str:
        """As `KnowsAccounts.account`."""
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
        self._looked_through: object = None
        self._serves = (False, False)

    async def prove(self, login: str, password: str) -> str:
        """As `Proves.prove`."""
        table = await self._table.table()
        name = self._name_in(table, login)
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

    def _name_in(self, table: Mapping[str, str], login: str) -> str | None:
        name = stripped(login, self._domains)
        spellings = (login, name, login.lower(), name.lower())
        return next((one for one in spellings if one in table), None)

    # As `KnowsAccounts`

    async def load(self) -> None:
        """Read the file, so that `serves_keys` and `serves_secrets` can tell."""
        with suppress(DirectoryUnavailable):  # its reason is in the log
            await self._table.table()

    @property
    def serves_keys(self) -> bool:
        """All who can log in have keys: who knows SCRAM tries nothing else."""
        return self._served()[0]

    @property
    def serves_secrets(self) -> bool:
        """As `KnowsAccounts.serves_secrets`."""
        return self._served()[1]

    def _served(self) -> tuple[bool, bool]:
        table = self._table.latest
        if table is not self._looked_through:
            self._looked_through = table
            stored = [one for one in (table or {}).values() if not is_locked(one)]
            self._serves = (
                bool(stored) and all(read_keys(one) is not None for one in stored),
                any(clear_text(one) for one in stored),
            )
        return self._serves

    async def account(self, login: str) -> str:
        """As `KnowsAccounts.account`."""
        table = await self._table.table()
        name = self._name_in(table, login)
        if name is None:
            raise NotTheirs(_REFUSED)
        if is_locked(table[name]):
            raise AccountLocked("the password file locks it")
        return name

    async def keys(self, login: str) -> ScramKeys:
        """As `KnowsAccounts.keys`."""
        table = await self._table.table()
        keys = read_keys(table.get(self._name_in(table, login) or "", ""))
        if keys is None:
            raise NotTheirs(_REFUSED)
        return keys

    async def secret(self, login: str) -> str:
        """As `KnowsAccounts.secret`."""
        table = await self._table.table()
        secret = clear_text(table.get(self._name_in(table, login) or "", ""))
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
