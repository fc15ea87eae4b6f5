"""Bearer tokens: signed ones (JWT), and those that their issuer must be asked about."""

import base64
import json
import warnings
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final, Protocol
from urllib.parse import quote_plus

from attrs import field, frozen
from joserfc import jws, jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key
from joserfc.jws import JWSRegistry
from joserfc.jwt import JWTClaimsRegistry
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from submitd.auth.errors import AskedAlready, DirectoryUnavailable
from submitd.auth.files import HalfWritten, TableFile
from submitd.observe.events import ISSUER_DOWN, Events
from submitd.sasl.prepare import prepare

Key = RSAKey | ECKey | OKPKey

_MOST_KEYS: Final = 20
"""Of a set: a token that names none of them is compared with each."""

_MOST_WRITTEN: Final = 200
_LEAST_RSA: Final = 2048
_LONGEST: Final = 320
_MOST_HEADER: Final = 8192
"""Octets of a token's header, in base64: a chain of certificates may be in it."""

_FRESH: Final = 3600.0
"""Seconds after which keys are asked for anew."""

_AGAIN: Final = 60.0
"""Seconds between two questions for keys, whatever tokens come meanwhile."""

_AGAIN_AFTER_FAILURE: Final = 10.0
_LONGEST_KEPT: Final = 24 * 3600.0
"""Seconds for which keys are used though their issuer gives none."""


@frozen(kw_only=True)
class TokenRules:
    """What a token must say to be one for us."""

    issuer: str
    audiences: tuple[str, ...]
    user_claim: str
    scopes: tuple[str, ...]
    leeway: int
    """Seconds that clocks may differ."""

    now: Callable[[], float] = field(repr=False)
    """Seconds since 1970, UTC."""

    def user(self, claims: Mapping[str, Any], *, is_signed: bool) -> str:
        """The login that the claims name.

        ``is_signed``: they stand in a token. Else its issuer has just said them, and
        may leave out who it is, and until when the token is valid (RFC 7662 2.2).

        Raises:
            UnauthorizedLogin: they are not for us, or not now.
        """
        registry = JWTClaimsRegistry(
            now=int(self.now()),
            leeway=self.leeway,
            iss={"essential": is_signed, "value": self.issuer},
            aud={"essential": True, "values": list(self.audiences)},
            exp={"essential": is_signed},
        )
        try:
            registry.validate(dict(claims))
        except JoseError as problem:
            raise UnauthorizedLogin(f"the token's claims: {problem}") from problem
        if claims.get("iss", self.issuer) != self.issuer:
            # Some versions of the library take a list with the right one in it.
            raise UnauthorizedLogin("the token's claims: iss is no single issuer")
        if missing := set(self.scopes) - _scopes_in(claims):
            raise UnauthorizedLogin(f"the token lacks the scope {min(missing)}")
        if other := _other_kind(claims):
            raise UnauthorizedLogin(f"the token is not for access: it is {other}")
        return self._named(claims)

    def _named(self, claims: Mapping[str, Any]) -> str:
        name, user = self.user_claim, claims.get(self.user_claim)
        if not isinstance(user, str) or not 0 < len(user) <= _LONGEST:
            raise UnauthorizedLogin(f"the token names nobody in {name}")
        # Two who are two for the issuer must not be one here.
        if not prepare(user) == user == user.strip():
            raise UnauthorizedLogin(f"the token's {name} is spelled in an odd way")
        if name == "email" and claims.get("email_verified") in (False, "false"):
            raise UnauthorizedLogin("the issuer has not verified the token's email")
        return user


_KINDS: Final = ("typ", "token_type", "token_use")
"""Claims in which issuers say what a token is for: Keycloak, RFC 7662, Cognito."""

_OTHER_KINDS: Final = frozenset(
    {"id", "id_token", "logout", "offline", "refresh", "refresh_token"}
)


def _other_kind(claims: Mapping[str, Any]) -> str:
    """What a token is where it is not for access (RFC 8725 section 3.12), or empty."""
    said = (one.lower() for name in _KINDS if isinstance(one := claims.get(name), str))
    return next((one for one in said if one in _OTHER_KINDS), "")


def _is_other_type(typ: object) -> bool:
    """True of a JWT that declares a type of its own (RFC 8725 section 3.11), and not
    that of access tokens (RFC 9068 section 2.1).
    """
    said = str(typ).lower().removeprefix("application/")
    return said.endswith("+jwt") and said != "at+jwt"


def _scopes_in(claims: Mapping[str, Any]) -> set[str]:
    """RFC 8693 section 4.2; ``scp`` is Microsoft's and Okta's."""
    found: set[str] = set()
    for name in ("scope", "scp"):
        value = claims.get(name)
        if isinstance(value, str):
            found.update(value.split())
        elif isinstance(value, list):
            found.update(one for one in value if isinstance(one, str))
    return found


@frozen
class Found:
    """Keys that may have signed a token."""

    keys: Sequence[Key]
    is_latest: bool
    """Their issuer has no others, as of this question."""


class KnowsKeys(Protocol):
    """Where an issuer's keys are. Without an id all of them are meant."""

    async def find(self, kid: str) -> Found:
        """The keys of this id that are at hand.

        Raises:
            DirectoryUnavailable: there are none, and their issuer cannot be asked.
        """

    async def renew(self, kid: str) -> Sequence[Key]:
        """The keys of this id, where `find` gave none that has signed the token, nor
        the latest.

        Raises:
            DirectoryUnavailable: cannot tell; AskedAlready is one.
        """


class SignedTokens:
    """Tokens that their issuer has signed (RFC 7519), as `ChecksTokens`."""

    def __init__(
        self,
        keys: KnowsKeys,
        rules: TokenRules,
        algorithms: Sequence[str],
        configuration: str,
    ) -> None:
        """``algorithms``: asymmetric ones alone. With another everybody who has the
        public key could sign.
        """
        self.scope = " ".join(rules.scopes)
        self.configuration = configuration
        self._keys = keys
        self._rules = rules
        self._algorithms = tuple(algorithms)
        # Parameters that nobody knows are ignored (RFC 7515 section 4), but for what
        # "crit" names: issuers put words of their own there, and certificates.
        self._registry = JWSRegistry(
            algorithms=list(algorithms), strict_check_header=False
        )
        self._registry.max_header_length = _MOST_HEADER

    async def user_of(self, token: str) -> str:
        """As `ChecksTokens.user_of`."""
        kid, algorithm, is_ours = self._said(token)
        found = await self._keys.find(kid)
        claims = self._signed_claims(token, algorithm, found.keys)
        if claims is None and is_ours and not found.is_latest:
            # The issuer may have a new key since. That is not known to be a "no".
            keys = await self._keys.renew(kid)
            claims = self._signed_claims(token, algorithm, keys)
        if claims is None:
            raise UnauthorizedLogin("no key of the issuer's has signed the token")
        return self._rules.user(claims, is_signed=True)

    def _said(self, token: str) -> tuple[str, str, bool]:
        """Key id, algorithm, and whether it claims to be from our issuer: nobody has
        vouched for any of that yet.
        """
        try:
            read = jws.extract_compact(token.encode(), registry=self._registry)
            header, payload = read.headers(), json.loads(read.payload or b"")
        except _MALFORMED as problem:
            raise UnauthorizedLogin("this is no signed token") from problem
        try:
            self._registry.check_header(header)
        except _MALFORMED as problem:
            raise UnauthorizedLogin("the token's header is malformed") from problem
        kid, algorithm = header.get("kid", ""), header.get("alg")
        if algorithm not in self._algorithms or not isinstance(kid, str):
            raise UnauthorizedLogin("the token is signed in a way not accepted here")
        if _is_other_type(header.get("typ")):
            raise UnauthorizedLogin(
                f"the token is not for access: it is {header['typ']}"
            )
        if not isinstance(payload, dict):
            raise UnauthorizedLogin("this is no signed token")
        return kid, algorithm, payload.get("iss") == self._rules.issuer

    def _signed_claims(
        self, token: str, algorithm: str, keys: Sequence[Key]
    ) -> Mapping[str, Any] | None:
        """None: none of the keys has signed it."""
        fitting = (key for key in keys if _fits(key, algorithm))
        claims = (self._claims(token, key) for key in fitting)
        return next((one for one in claims if one is not None), None)

    def _claims(self, token: str, key: Key) -> Mapping[str, Any] | None:
        """None: it is not signed by this key."""
        try:
            with _unwarned():
                allowed = list(self._algorithms)
                return jwt.decode(token, key, allowed, self._registry).claims
        except _MALFORMED:
            return None


_MALFORMED: Final = (JoseError, ValueError, TypeError, KeyError, RecursionError)
"""What the library raises for octets that are no token, or not this key's."""


@contextmanager
def _unwarned() -> Iterator[None]:
    """What is allowed is configured: no word from the library about its tastes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        yield


def _fits(key: Key, algorithm: str) -> bool:
    own = key.get("alg") if key.alg else None
    kind = {"R": "RSA", "P": "RSA"}.get(algorithm[0], "OKP")
    kind = "EC" if algorithm.startswith("ES") else kind
    return key.key_type == kind and own in (None, algorithm)


def read_key_set(text: str) -> tuple[Key, ...]:
    """The keys of a JWK set (RFC 7517) that can verify signatures.

    Raises:
        HalfWritten: it is no JWK set, or has none of these.
    """
    try:
        found = json.loads(text)
        written = found["keys"]
    except (ValueError, TypeError, KeyError, RecursionError) as problem:
        raise HalfWritten("it is no JWK set") from problem
    if not isinstance(written, list):
        raise HalfWritten("it is no JWK set")
    usable = (key for one in written[:_MOST_WRITTEN] if (key := _key(one)) is not None)
    keys = tuple(islice(usable, _MOST_KEYS))
    if not keys:
        raise HalfWritten("it has no key that can verify signatures")
    return keys


def _key(written: object) -> Key | None:
    """None: of a kind, size or use that is not for us (RFC 7517 section 5)."""
    if not isinstance(written, dict) or written.get("use", "sig") != "sig":
        return None
    if written.get("kty") not in ("RSA", "EC", "OKP"):
        return None  # among them "oct", with which everybody could sign
    try:
        with _unwarned():
            key: Any = import_key({str(name): one for name, one in written.items()})
        if isinstance(key, RSAKey) and key.public_key.key_size < _LEAST_RSA:
            return None
    except _MALFORMED:
        return None
    return key  # type: ignore[no-any-return]


def _of(keys: Sequence[Key], kid: str) -> Sequence[Key]:
    return [key for key in keys if key.kid == kid] if kid else keys


class KeysInFile:
    """A JWK set in a file, as `KnowsKeys`."""

    def __init__(self, table: TableFile[tuple[Key, ...]]) -> None:
        self._table = table

    async def find(self, kid: str) -> Found:
        """As `KnowsKeys.find`."""
        return Found(_of(await self._table.table(), kid), is_latest=True)

    async def renew(self, kid: str) -> Sequence[Key]:
        """As `KnowsKeys.renew`."""
        return (await self.find(kid)).keys


class KeysByUrl:
    """A JWK set of a web server's, remembered, as `KnowsKeys`.

    It is asked for again when it is old, for which nobody waits, and when it has no key
    that has signed a token, but not more often than once a minute: tokens are
    anybody's to make up.
    """

    def __init__(
        self, clock: IReactorTime, get: Callable[[], Awaitable[bytes]], events: Events
    ) -> None:
        """``get``: the set, or DirectoryUnavailable."""
        self._clock = clock
        self._get = get
        self._events = events
        self._keys: Sequence[Key] = ()
        self._as_of = 0.0
        """When they were asked for that are here."""

        self._asked_at: float | None = None
        self._trouble = ""
        """Why the last question came to nothing; empty: it did not."""

        self._waiting: list[Deferred[None]] | None = None
        """Who waits for an answer; None: nobody has asked."""

    async def find(self, kid: str) -> Found:
        """As `KnowsKeys.find`."""
        began = self._clock.seconds()
        if self._age > _LONGEST_KEPT:
            self._keys = ()
            await self._refresh()
            if not self._keys:
                raise DirectoryUnavailable(self._trouble)
        elif self._age > _FRESH:
            Deferred.fromCoroutine(self._refresh())
        return Found(_of(self._keys, kid), is_latest=self._as_of >= began)

    async def renew(self, kid: str) -> Sequence[Key]:
        """As `KnowsKeys.renew`."""
        was_asked = await self._refresh()
        if self._trouble:
            raise DirectoryUnavailable(self._trouble)
        if not was_asked:
            raise AskedAlready("the issuer was asked for its keys a moment ago")
        return _of(self._keys, kid)

    @property
    def _age(self) -> float:
        return self._clock.seconds() - self._as_of if self._keys else float("inf")

    async def _refresh(self) -> bool:
        """Ask, or wait for who has asked; False: it is too soon to ask again."""
        mine: Deferred[None] = Deferred()
        if self._waiting is None:
            now = self._clock.seconds()
            again = _AGAIN_AFTER_FAILURE if self._trouble else _AGAIN
            if self._asked_at is not None and now - self._asked_at < again:
                return False
            self._asked_at = now
            self._waiting = [mine]
            Deferred.fromCoroutine(self._fetch(now)).addBoth(self._fetched)
        else:
            self._waiting.append(mine)
        await mine
        return True

    async def _fetch(self, now: float) -> None:
        try:
            self._keys = read_key_set((await self._get()).decode())
        except (DirectoryUnavailable, HalfWritten, UnicodeDecodeError) as problem:
            self._trouble = f"the issuer's keys: {problem}"
            self._events.emit(ISSUER_DOWN, reason=self._trouble)
        else:
            self._trouble = ""
            self._as_of = now

    def _fetched(self, result: Failure | None) -> Failure | None:
        """All who wait go on; who gave up waiting is in nobody's way."""
        waiting, self._waiting = self._waiting or [], None
        for one in waiting:
            if not one.called:
                one.callback(None)
        return result


class IntrospectedTokens:
    """Tokens that their issuer is asked about (RFC 7662), as `ChecksTokens`."""

    def __init__(
        self,
        post: Callable[[Mapping[str, str]], Awaitable[bytes]],
        rules: TokenRules,
        configuration: str,
        events: Events,
    ) -> None:
        """``post``: the end point's answer to a form, or DirectoryUnavailable."""
        self.scope = " ".join(rules.scopes)
        self.configuration = configuration
        self._post = post
        self._rules = rules
        self._events = events

    async def user_of(self, token: str) -> str:
        """As `ChecksTokens.user_of`."""
        form = {"token": token, "token_type_hint": "access_token"}
        try:
            said = _object(await self._post(form))
        except DirectoryUnavailable as problem:
            self._events.emit(ISSUER_DOWN, reason=str(problem))
            raise
        if said.get("active") is not True:
            raise UnauthorizedLogin("its issuer says that the token is not valid")
        # Some servers write null for what is not there.
        claims = {name: one for name, one in said.items() if one is not None}
        return self._rules.user(claims, is_signed=False)


def _object(octets: bytes) -> Mapping[str, Any]:
    try:
        said = json.loads(octets)
    except (ValueError, RecursionError) as problem:
        raise DirectoryUnavailable("the issuer's answer is no JSON") from problem
    if not isinstance(said, dict):
        raise DirectoryUnavailable("the issuer's answer is no JSON object")
    return said


def basic_authorization(user: str, password: str) -> str:
    """The field value for a client of the issuer's (RFC 6749 section 2.3.1)."""
    both = f"{quote_plus(user)}:{quote_plus(password)}"
    return "Basic " + base64.b64encode(both.encode()).decode()
