"""Connections to the directory: fail-over, time-outs, names verified.

What ldaptor leaves to its users is done here: time-outs for everything,
reconnection, one bind in flight on a connection of its own, and TLS that
checks the server's name.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from attrs import frozen
from ldaptor import ldapfilter
from ldaptor.protocols import pureldap
from ldaptor.protocols.ldap.distinguishedname import (
    DistinguishedName,
    InvalidRelativeDistinguishedName,
)
from ldaptor.protocols.ldap.ldapclient import (
    LDAPClient,
    LDAPClientConnectionLostException,
)
from ldaptor.protocols.ldap.ldaperrors import (
    LDAPConstraintViolation,
    LDAPException,
    LDAPInappropriateAuthentication,
    LDAPInvalidCredentials,
    LDAPNoSuchObject,
    LDAPUnwillingToPerform,
)
from ldaptor.protocols.ldap.ldapsyntax import LDAPEntry
from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.ssl import optionsForClientTLS, platformTrust
from twisted.python.failure import Failure
from zope.interface import implementer

from submitd.auth.errors import AccountLocked, DirectoryRefusesUs, DirectoryUnavailable
from submitd.observe.events import DIRECTORY_DOWN, Events

T = TypeVar("T")

_DOWN: Final = 15.0
"""Seconds for which a server that failed is asked last."""

_BASE: Final = pureldap.LDAP_SCOPE_baseObject
_TREE: Final = pureldap.LDAP_SCOPE_wholeSubtree

_MOST_WAITING: Final = 500


@frozen
class Server:
    """One directory server."""

    host: str
    port: int
    implicit_tls: bool

    @classmethod
    def parse(cls, url: str) -> "Server":
        """From ldap:// or ldaps://. Raises ValueError."""
        parts = urlsplit(url)
        if parts.scheme not in ("ldap", "ldaps") or not parts.hostname:
            raise ValueError(f"{url} is no ldap:// or ldaps:// URL")
        implicit = parts.scheme == "ldaps"
        return cls(parts.hostname, parts.port or (636 if implicit else 389), implicit)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@frozen
class Entry:
    """An entry of the directory: its DN and the attributes asked for."""

    dn: str
    attributes: dict[str, tuple[str, ...]]
    """By attribute name in lower case. What is not UTF-8 is left out."""

    def values(self, attribute: str) -> tuple[str, ...]:
        """All values of an attribute; none where it is not there."""
        return self.attributes.get(attribute.lower(), ())

    def is_named(self, value: str) -> bool:
        """True where its DN begins with this value, of any attribute (RFC 4514)."""
        try:
            rdn, *_ = DistinguishedName(self.dn).split()
        except (InvalidRelativeDistinguishedName, ValueError):
            return False
        return any(_plainly(value) in _forms(pair.value) for pair in rdn.split())


def _forms(value: str) -> Iterator[str]:
    yield _plainly(value)
    with suppress(UnicodeError):
        # ldaptor makes a character of each octet that is escaped.
        yield _plainly(value.encode("latin-1").decode())


def _plainly(value: str) -> str:
    """As directories compare them: case and the number of spaces are nothing."""
    return " ".join(value.split()).casefold()


class Filter:
    """A filter with {places}, filled with objects and never with text."""

    def __init__(self, template: str, places: Sequence[str]) -> None:
        """Raises ValueError: it is no filter."""
        self._marks = {place: f"xplacex{place}xplacex" for place in places}
        text = template
        for place, mark in self._marks.items():
            text = text.replace("{" + place + "}", mark)
        self._text = text
        try:
            self._marked()
        except Exception as problem:
            raise ValueError(f"{template} is no LDAP filter") from problem

    def _marked(self) -> Any:  # noqa: ANN401
        return ldapfilter.parseFilter(self._text)

    def fill(self, values: dict[str, str]) -> Any:  # noqa: ANN401
        """The filter with these values in their places."""
        tree = self._marked()
        marks = {
            mark.encode(): values[place].encode() for place, mark in self._marks.items()
        }
        _fill(tree, marks)
        return tree


def _fill(node: Any, marks: dict[bytes, bytes]) -> None:  # noqa: ANN401
    """Replace marks in every assertion value below ``node``."""
    for name in ("assertionValue", "matchValue"):
        if (found := getattr(node, name, None)) is not None:
            found.value = _filled(found.value, marks)
    for part in getattr(node, "substrings", None) or ():
        part.value = _filled(part.value, marks)
    for child in getattr(node, "data", None) or ():
        _fill(child, marks)
    if isinstance(node, pureldap.LDAPFilter_not):
        _fill(node.value, marks)


def _filled(value: Any, marks: dict[bytes, bytes]) -> bytes:  # noqa: ANN401
    octets = value if isinstance(value, bytes) else str(value).encode()
    for mark, replacement in marks.items():
        octets = octets.replace(mark, replacement)
    return octets


@implementer(IHandshakeListener)
class _Client(LDAPClient):  # type: ignore[misc]
    """A client that knows whether it is still of use, and when TLS is up."""

    def __init__(self) -> None:
        super().__init__()
        self._securing: Deferred[None] | None = None

    def secured(self) -> Deferred[None]:
        """Fires at the end of the handshake under way; fails with what broke it."""
        self._securing = Deferred()
        return self._securing

    def handshakeCompleted(self) -> None:
        waiting, self._securing = self._securing, None
        if waiting is not None:
            waiting.callback(None)

    def connectionLost(self, reason: Any = None) -> None:  # noqa: ANN401
        super().connectionLost(reason)
        self.connected = 0
        waiting, self._securing = self._securing, None
        if waiting is not None:
            waiting.errback(reason)


class DirectoryServers:
    """Connections to the first server that serves."""

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401
        servers: Sequence[Server],
        *,
        starttls: bool,
        trust: Any,  # noqa: ANN401 - IOpenSSLTrustRoot, private to Twisted
        time_out: float,
        events: Events,
    ) -> None:
        """``trust``: who may vouch for the servers; None: the system's authorities.

        ``time_out``: seconds for one step.
        """
        self._reactor = reactor
        self._servers = tuple(servers)
        self._starttls = starttls
        self.time_out = time_out
        self._events = events
        self._down_until: dict[Server, float] = {}
        self._trust = platformTrust() if trust is None else trust

    async def connect(
        self, prepare: Callable[[_Client], Awaitable[object]] | None = None
    ) -> _Client:
        """A fresh connection, under TLS as configured.

        ``prepare`` is awaited with it; where that fails the next server is tried.

        Raises:
            DirectoryUnavailable: no server serves; `DirectoryRefusesUs` where none
                will until the configuration or the servers are changed.
        """
        now = self._reactor.seconds()
        trouble: list[str] = []
        is_refusal = True
        for server in sorted(
            self._servers, key=lambda one: self._down_until.get(one, 0.0) > now
        ):
            try:
                client = await self._connect(server, prepare)
            except _FAULTS as problem:
                trouble.append(f"{server}: {_words(problem)}")
                is_refusal = is_refusal and isinstance(problem, _REFUSALS)
                self.mark_down(server, problem)
                continue
            self._down_until.pop(server, None)
            client.server = server
            return client
        kind = DirectoryRefusesUs if is_refusal else DirectoryUnavailable
        raise kind("; ".join(trouble))

    def mark_down(self, server: Server, problem: BaseException) -> None:
        """Ask it last for a while."""
        self._down_until[server] = self._reactor.seconds() + _DOWN
        self._events.emit(DIRECTORY_DOWN, server=str(server), reason=_words(problem))

    async def _connect(
        self,
        server: Server,
        prepare: Callable[[_Client], Awaitable[object]] | None,
    ) -> _Client:
        host = server.host
        options = optionsForClientTLS(host, trustRoot=self._trust)
        endpoint: Any = HostnameEndpoint(
            self._reactor, host, server.port, timeout=self.time_out
        )
        if server.implicit_tls:
            endpoint = wrapClientTLS(options, endpoint)
        connecting: Deferred[_Client] = connectProtocol(endpoint, _Client())
        client = await connecting.addTimeout(self.time_out, self._reactor)
        try:
            if self._starttls and not server.implicit_tls:
                upgrade: Deferred[Any] = client.startTLS(options)
                await upgrade.addTimeout(self.time_out, self._reactor)
            if self._starttls or server.implicit_tls:
                # Before the first secret: or a server with a wrong name would
                # look like one that breaks the connection when it is asked.
                await client.secured().addTimeout(self.time_out, self._reactor)
            if prepare is not None:
                await prepare(client)
        except BaseException:
            # Also where the log-in's own time was over meanwhile.
            client.transport.abortConnection()
            raise
        return client


class _BindRefused(Exception):
    """Our own account may not log in."""


_REFUSALS: Final = (_BindRefused, SSL.Error, CertificateError, VerificationError)

_FAULTS: Final = (
    *_REFUSALS,
    TimedOut,
    ConnectError,
    ConnectionClosed,
    OSError,
    LDAPException,
)


_NO: Final = (
    LDAPInvalidCredentials,
    # What directories say of an entry without a password, and of no entry.
    LDAPInappropriateAuthentication,
    LDAPNoSuchObject,
)

_LOCKED: Final = (LDAPUnwillingToPerform, LDAPConstraintViolation)
"""What directories with a lock or a count of failures of their own say."""

_STALE: Final = (ConnectionClosed, LDAPClientConnectionLostException)
"""The connection had ended unseen; that says nothing about its server."""


def _words(problem: BaseException) -> str:
    if isinstance(problem, _BindRefused):
        return str(problem)
    return f"{type(problem).__name__} {problem}".strip()[:200]


class Directory:
    """Searches on a shared connection; binds on connections of their own."""

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401
        servers: DirectoryServers,
        *,
        bind_dn: str,
        bind_password: str,
        connections: int,
    ) -> None:
        """``bind_dn``: our own account; empty: anonymous."""
        self._reactor = reactor
        self._servers = servers
        self._bind_dn = bind_dn
        self._bind_password = bind_password
        self._reader: _Client | None = None
        self._waiters: list[Deferred[_Client]] | None = None
        """Who waits for the reader; None: nobody is connecting one."""

        self._closed = False
        self._idle: list[_Client] = []
        self._turns = DeferredSemaphore(connections)
        self._waiting = 0

    async def search(
        self,
        base: str,
        wanted: Any,  # noqa: ANN401
        attributes: Sequence[str],
        *,
        base_only: bool = False,
        most: int = 1000,
    ) -> list[Entry]:
        """The entries that match ``wanted``, a filled `Filter`.

        Raises:
            DirectoryUnavailable: cannot tell; also with more than ``most``.
        """

        def ask(client: _Client) -> Deferred[Any]:
            return LDAPEntry(client, base).search(  # type: ignore[no-any-return]
                filterObject=wanted,
                attributes=tuple(attributes),
                scope=_BASE if base_only else _TREE,
                sizeLimit=most + 1,
            )

        found = await self._reading(ask)
        if len(found) > most:
            raise DirectoryUnavailable(f"more than {most} entries match below {base}")
        return [_entry(one) for one in found]

    async def _reading(self, ask: Callable[[_Client], Deferred[Any]]) -> Any:  # noqa: ANN401
        """On the shared connection; once more where that had gone stale."""
        for attempt in (1, 2):
            client = await self._shared()
            try:
                return await ask(client).addTimeout(
                    self._servers.time_out, self._reactor
                )
            except _FAULTS as problem:
                self._drop(client)
                if attempt == 2 or not isinstance(problem, _STALE):
                    self._servers.mark_down(client.server, problem)
                if attempt == 2:
                    raise DirectoryUnavailable(_words(problem)) from problem
        raise AssertionError("two attempts return or raise")

    async def _shared(self) -> _Client:
        if self._reader is not None and self._reader.connected:
            return self._reader
        mine: Deferred[_Client] = Deferred()
        if self._waiters is not None:
            # Somebody is connecting: all wait for the one connection.
            self._waiters.append(mine)
        else:
            self._waiters = [mine]
            Deferred.fromCoroutine(self._open_reader()).addBoth(self._opened)
        return await mine

    def _opened(self, result: _Client | Failure) -> None:
        """All who wait hear it; who gave up waiting is in nobody's way."""
        waiters, self._waiters = self._waiters or (), None
        if not isinstance(result, Failure):
            self._reader = result
            if self._closed:
                self._drop(result)
        for waiting in waiters:
            if waiting.called:
                continue
            if isinstance(result, Failure):
                waiting.errback(result)
            else:
                waiting.callback(result)

    async def _open_reader(self) -> _Client:
        return await self._servers.connect(
            self._bind_as_ourselves if self._bind_dn else None
        )

    async def _bind_as_ourselves(self, client: _Client) -> None:
        try:
            await client.bind(self._bind_dn, self._bind_password).addTimeout(
                self._servers.time_out, self._reactor
            )
        except LDAPException as problem:
            raise _BindRefused(
                f"cannot bind as {self._bind_dn}: {_words(problem)}"
            ) from problem

    def _drop(self, client: _Client) -> None:
        if self._reader is client:
            self._reader = None
        client.connected = 0
        if client.transport is not None:
            client.transport.abortConnection()

    async def bind(self, dn: str, password: str) -> bool:
        """True where ``password`` is that of ``dn``; it must not be empty.

        Raises:
            AccountLocked: the directory lets nobody in under this name.
            DirectoryUnavailable: cannot tell.
        """
        if not password:
            # RFC 4513 section 5.1.2: it would succeed without proving anything.
            raise ValueError("a bind with an empty password proves nothing")
        if self._waiting >= _MOST_WAITING:
            raise DirectoryUnavailable("too many log-ins are waiting")
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        try:
            return await self._bind(dn, password)
        finally:
            self._turns.release()

    async def _bind(self, dn: str, password: str) -> bool:
        for attempt in (1, 2):
            self._idle = [one for one in self._idle if one.connected]
            if self._idle:
                client = self._idle.pop()
            else:
                client = await self._servers.connect()
            try:
                await client.bind(dn, password.encode()).addTimeout(
                    self._servers.time_out, self._reactor
                )
            except _NO:
                self._idle.append(client)
                return False
            except _LOCKED as problem:
                self._idle.append(client)
                raise AccountLocked(f"the directory: {_words(problem)}") from problem
            except _FAULTS as problem:
                client.connected = 0
                client.transport.abortConnection()
                if not isinstance(problem, _STALE):
                    self._servers.mark_down(client.server, problem)
                if attempt == 2:
                    raise DirectoryUnavailable(_words(problem)) from problem
                continue
            except BaseException:
                # The log-in's own time is over: nobody hears the answer.
                client.transport.abortConnection()
                raise
            self._idle.append(client)
            return True
        raise AssertionError("two attempts return or raise")

    def close(self) -> None:
        """Close all connections."""
        for client in self._idle:
            client.transport.abortConnection()
        self._idle = []
        self._closed = True
        if self._reader is not None:
            self._drop(self._reader)


def _entry(found: Any) -> Entry:  # noqa: ANN401
    attributes: dict[str, tuple[str, ...]] = {}
    for name, values in found.items():
        texts = []
        for value in values:
            try:
                texts.append(
                    (value if isinstance(value, bytes) else value.encode()).decode()
                )
            except UnicodeDecodeError:
                continue  # no name, address or hash is anything but UTF-8
        key = name.decode() if isinstance(name, bytes) else str(name)
        attributes[key.lower()] = tuple(texts)
    return Entry(found.dn.getText(), attributes)
