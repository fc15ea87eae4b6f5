"""Ways to log in beside passwords: what is offered, and how each is proved."""

import hashlib
import hmac
from bisect import bisect_right
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import accumulate
from typing import Final, Protocol

from attrs import field, frozen
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import ICredentials
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from zope.interface import implementer

from submitd.auth.checkers import KnowsAccounts, NotTheirs, first_answer
from submitd.auth.directory import is_one_of
from submitd.auth.errors import AccountLocked
from submitd.auth.passwords import ScramLook
from submitd.auth.throttle import Attempt
from submitd.sasl.channel import CertificateNames, Channel
from submitd.sasl.cram import CramMd5
from submitd.sasl.external import External
from submitd.sasl.login import Login
from submitd.sasl.mechanism import (
    MECHANISMS,
    Certificate,
    Digest,
    KeysProof,
    Mechanism,
    Proof,
    Token,
)
from submitd.sasl.oauth import OAuthBearer, XOAuth2
from submitd.sasl.plain import Plain
from submitd.sasl.prepare import prepare
from submitd.sasl.scram import Scram
from submitd.sasl.scram_keys import ScramKeys

PASSWORDS: Final = (Plain(), Login())

_ANOTHER: Final = "may not act as another"


class ChecksTokens(Protocol):
    """Who may say whose a token is."""

    async def user_of(self, token: str) -> str:
        """The login that it names.

        Raises:
            UnauthorizedLogin: it is not valid here.
            DirectoryUnavailable: cannot tell.
        """

    scope: str
    """What a token needs, as its client is told."""

    configuration: str
    """URL where the issuer describes itself; empty: unknown."""


class NamesLogins(Protocol):
    """A rule from certificates to logins."""

    def logins(self, names: CertificateNames) -> tuple[str, ...]:
        """The logins that it may be for, in order."""


class IProof(ICredentials):
    """A proof without a password, as cred sees it."""


@implementer(IProof)
@frozen(kw_only=True)
class Shown:
    """What a client has shown, on its way to be proved."""

    account: str
    """Who they say they are; empty where only the proof can tell."""

    is_guessable: bool
    """As `Attempt.is_guessable`."""

    tells_apart: str = field(repr=False)
    """What this failure is told from others by."""

    prove: Callable[[], Awaitable[str]] = field(repr=False)
    """The canonical login. Raises UnauthorizedLogin, DirectoryUnavailable."""


@implementer(ICredentialsChecker)
class ProofChecker:
    """Asks a proof to prove itself."""

    credentialInterfaces = (IProof,)

    def requestAvatarId(self, credentials: Shown) -> Deferred[bytes | tuple[()]]:
        """The canonical login, once proved."""
        return Deferred.fromCoroutine(self._prove(credentials))

    async def _prove(self, shown: Shown) -> bytes | tuple[()]:
        return (await shown.prove()).encode()


@frozen
class KnownKeys:
    """Keys for SCRAM, and where they are from."""

    keys: ScramKeys
    source: KnowsAccounts | None
    """None: nobody has such keys. What the client hears looks the same."""

    question: Attempt | None = None
    """What is open until the client shows its proof."""


@frozen
class MadeUpKeys:
    """Keys of names that have none, so that no name is learnt from its having some."""

    secret: bytes = field(repr=False)
    usual: ScramLook
    """What keys look like where no source can tell."""

    def of(self, account: str, looks: Mapping[ScramLook, int]) -> ScramKeys:
        """Always the same for a name; nothing proves to have their password.

        ``looks``: those of all keys. Of made up ones as many look so as of these.
        """
        look = self._look(account, looks) if looks else self.usual
        # Another look has another salt, as where somebody has changed a password.
        seen = f"{look.iterations} {look.salt} {account}"
        return ScramKeys(
            self._octets("salt", seen, look.salt),
            look.iterations,
            self._octets("stored key", seen, 32),
            self._octets("server key", seen, 32),
        )

    def _look(self, account: str, looks: Mapping[ScramLook, int]) -> ScramLook:
        ordered = sorted(looks)
        ends = list(accumulate(looks[one] for one in ordered))
        drawn = int.from_bytes(self._octets("look", account, 8))
        return ordered[bisect_right(ends, drawn * ends[-1] >> 64)]

    def _octets(self, use: str, text: str, size: int) -> bytes:
        return hashlib.shake_256(self.secret + f"\0{use}\0{text}".encode()).digest(size)


class Proofs:
    """All ways to log in, as far as they can be served."""

    def __init__(
        self,
        mechanisms: Sequence[str],
        sources: Sequence[KnowsAccounts],
        *,
        made_up: MadeUpKeys,
        tokens: ChecksTokens | None,
        certificates: NamesLogins | None,
        login_domains: frozenset[str],
        nonce: Callable[[], str],
        hostname: str,
    ) -> None:
        """``mechanisms``: those that are wanted, of `MECHANISMS`.

        ``nonce``: unpredictable printable ASCII without a comma.
        """
        self._wanted = tuple(one for one in MECHANISMS if one in mechanisms)
        self._sources = tuple(sources)
        self._made_up = made_up
        self._tokens = tokens
        self._certificates = certificates
        self._domains = login_domains
        self.nonce = nonce
        """Never the same twice."""

        self._hostname = hostname

    # What is offered

    def mechanisms(self, channel: Channel | None) -> tuple[Mechanism, ...]:
        """What a client can be offered now; ``channel`` None: TLS is still to come."""
        offered = (self._mechanism(name, channel) for name in self._wanted)
        return tuple(one for one in offered if one is not None)

    def _mechanism(self, name: str, channel: Channel | None) -> Mechanism | None:
        match name:
            case "PLAIN":
                return PASSWORDS[0]
            case "LOGIN":
                return PASSWORDS[1]
            case "SCRAM-SHA-256-PLUS" | "SCRAM-SHA-256":
                return self._scram(channel, plus=name.endswith("PLUS"))
            case "OAUTHBEARER" | "XOAUTH2":
                return self._bearer(name)
            case "EXTERNAL":
                is_shown = channel is not None and channel.certificate is not None
                return External() if is_shown and self._certificates else None
            case _:
                is_served = any(one.serves_secrets for one in self._sources)
                return CramMd5(self.nonce, self._hostname) if is_served else None

    def _scram(self, channel: Channel | None, *, plus: bool) -> Scram | None:
        # Each source: a client that knows SCRAM tries nothing else, and would fail
        # with the right password of somebody who has no keys.
        if not self._sources or not all(one.serves_keys for one in self._sources):
            return None
        # A client that can bind takes PLUS, and would fail where we cannot.
        can_bind = channel is not None and channel.can_bind
        if plus and not can_bind:
            return None
        plus_offered = can_bind and "SCRAM-SHA-256-PLUS" in self._wanted
        return Scram(self.nonce, channel, plus=plus, plus_offered=plus_offered)

    def _bearer(self, name: str) -> Mechanism | None:
        tokens = self._tokens
        if tokens is None:
            return None
        if name == "XOAUTH2":
            return XOAuth2(tokens.scope)
        return OAuthBearer(tokens.scope, tokens.configuration)

    # How it is proved

    async def keys(self, authcid: str, account: str) -> KnownKeys:
        """The keys of a name, or made up ones; ``account``: its canonical spelling.

        Raises:
            DirectoryUnavailable: cannot tell.
        """

        async def known(source: KnowsAccounts) -> KnownKeys:
            return KnownKeys(await source.keys(authcid), source)

        try:
            return await first_answer(self._sources, known)
        except NotTheirs:
            looks = [Counter(one.looks) for one in self._sources]
            known_looks = sum(looks, Counter()) if all(looks) else {}
            return KnownKeys(self._made_up.of(account, known_looks), None)

    def shown(
        self, proof: Proof, known: KnownKeys | None, channel: Channel | None
    ) -> Shown:
        """A mechanism's claim as credentials; ``known``: what `keys` gave before."""
        match proof:
            case KeysProof():
                return self._by_keys(proof, known)
            case Digest():
                return self._by_digest(proof)
            case Token():
                return self._by_token(proof)
            case Certificate():
                names = None if channel is None else channel.certificate
                return self._by_certificate(proof, names)

    def _by_keys(self, proof: KeysProof, known: KnownKeys | None) -> Shown:
        async def prove() -> str:
            source = None if known is None else known.source
            if proof.fault or source is None:
                raise UnauthorizedLogin(proof.fault or "nobody of that name has keys")
            login = await source.account(proof.authcid, by_others=False)
            return self._acting(proof.authzid, proof.authcid, login)

        return Shown(
            account=proof.authcid,
            is_guessable=True,
            # What a wrong password has left in it, nobody can tell: each counts.
            tells_apart=self.nonce(),
            prove=prove,
        )

    def _by_digest(self, proof: Digest) -> Shown:
        async def secret_of(source: KnowsAccounts) -> tuple[str, KnowsAccounts]:
            return await source.secret(proof.authcid), source

        async def prove() -> str:
            secret, source = await first_answer(self._sources, secret_of)
            made = hmac.new(secret.encode(), proof.challenge, hashlib.md5).hexdigest()
            if not hmac.compare_digest(made, proof.digest):
                raise UnauthorizedLogin("wrong password")
            return await source.account(proof.authcid, by_others=False)

        return Shown(
            account=proof.authcid,
            is_guessable=True,
            tells_apart=self.nonce(),
            prove=prove,
        )

    def _by_token(self, proof: Token) -> Shown:
        digest = hashlib.sha256(proof.token.encode()).hexdigest()

        async def prove() -> str:
            tokens = self._tokens
            if tokens is None or not proof.token:
                raise UnauthorizedLogin("no token")
            user = await tokens.user_of(proof.token)
            try:
                login = await self._account(user)
            except NotTheirs:
                raise UnauthorizedLogin(f"nobody here is called {user}") from None
            return self._acting(proof.authzid, user, login)

        return Shown(
            account=proof.authzid,
            is_guessable=False,
            tells_apart=digest,
            prove=prove,
        )

    def _by_certificate(
        self, proof: Certificate, names: CertificateNames | None
    ) -> Shown:
        rule = self._certificates
        found = () if names is None or rule is None else rule.logins(names)
        # Two who are two for the authority must not be one here.
        logins = [one for one in found if prepare(one) == one]
        wanted = proof.authzid

        async def prove() -> str:
            refusal = "the certificate names nobody who is known here"
            lock: AccountLocked | None = None
            for name in sorted(logins, key=lambda one: not self._is(wanted, one)):
                try:
                    login = await self._account(name)
                except NotTheirs:
                    continue
                except AccountLocked as found:
                    if not wanted or self._is(wanted, name):
                        raise
                    lock = found
                    continue
                if not wanted or self._is(wanted, name, login):
                    return login
                refusal = _ANOTHER
            raise lock or UnauthorizedLogin(refusal)

        return Shown(
            account=wanted,
            is_guessable=False,
            tells_apart="" if names is None else names.fingerprint,
            prove=prove,
        )

    def _is(self, wanted: str, *names: str) -> bool:
        return is_one_of(wanted, names, self._domains)

    def _acting(self, wanted: str, name: str, login: str) -> str:
        """``login``. Nobody acts as another: who is proved may be called by the name
        that proved it, as a mail address, or by the canonical login.
        """
        if wanted and not self._is(wanted, name, login):
            raise UnauthorizedLogin(_ANOTHER)
        return login

    async def _account(self, login: str) -> str:
        """Whom others call so. Raises as `first_answer`; a lock says whose it is, as no
        password does.
        """
        try:
            return await first_answer(
                self._sources, lambda source: source.account(login, by_others=True)
            )
        except AccountLocked as lock:
            raise AccountLocked(f"{login}: {lock}") from lock
