"""An authority that issues certificates, asked over ACME (RFC 8555). It all blocks."""

import hashlib
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import requests
from acme import challenges, errors, messages
from acme.client import ClientNetwork, ClientV2
from attrs import frozen
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.b64 import b64encode
from josepy.errors import Error as JoseError
from josepy.jwa import ES256
from josepy.jwk import JWK, JWKEC

from submitd.tls.making import ServerKey, make_request

_STEP_TIME: Final = 30
"""Seconds for one request."""

_SURPRISED: Final = (AttributeError, LookupError, TypeError, ValueError)
"""How the library fails where an answer is JSON, and of another shape."""

_DECISION_TIME: Final = timedelta(minutes=3)
"""For the authority to look at the proofs, and then to issue."""


class NotIssued(Exception):
    """There is no new certificate. The message says why, for an operator."""


class TlsAlpn01Response(challenges.KeyAuthorizationChallengeResponse):
    """That its proof is in place; the library has none of this kind any more."""

    typ = "tls-alpn-01"


challenges.ChallengeResponse.register(TlsAlpn01Response)


class TlsAlpn01(challenges.KeyAuthorizationChallenge):
    """The challenge of RFC 8737."""

    typ = "tls-alpn-01"
    response_cls = TlsAlpn01Response

    def validation(self, account_key: JWK, **_: Any) -> str:  # noqa: ANN401
        """What its proof is made of."""
        return self.key_authorization(account_key)


challenges.Challenge.register(TlsAlpn01)


@frozen
class Proof:
    """What the authority is going to look for (RFC 8555 section 8)."""

    kind: str
    """``http-01``, ``tls-alpn-01`` or ``dns-01``."""

    name: str
    """The domain, without ``*.``."""

    token: str
    authorization: str
    """The key authorization (section 8.1)."""

    @property
    def digest(self) -> bytes:
        """What dns-01 and tls-alpn-01 show of it."""
        return hashlib.sha256(self.authorization.encode("ascii")).digest()

    @property
    def dns_text(self) -> str:
        """The TXT record of ``_acme-challenge.NAME``."""
        return b64encode(self.digest).decode("ascii")


@frozen
class ExternalAccount:
    """What binds our account to one of the authority's customers (section 7.3.4)."""

    key_id: str
    mac_key: str
    """As the authority gave it: base64url."""


class Authority:
    """One authority, and our account with it."""

    def __init__(
        self,
        url: str,
        account_key: ec.EllipticCurvePrivateKey,
        ca_file: Path | None = None,
    ) -> None:
        """``url`` is its directory's; ``ca_file`` vouches for that web server.

        Raises:
            NotIssued: it cannot be reached, or is no ACME server.
        """
        self._url = url
        self._key = JWKEC(key=account_key)
        trust = ca_file or ssl.get_default_verify_paths().cafile
        network = ClientNetwork(
            self._key,
            alg=ES256,
            # A path is what requests takes; the library hands it on.
            verify_ssl=str(trust) if trust else True,  # type: ignore[arg-type]
            user_agent="submitd",
            timeout=_STEP_TIME,
        )
        self._client: ClientV2 = self._asked(
            lambda: ClientV2(ClientV2.get_directory(url, network), network)
        )

    @property
    def terms(self) -> str:
        """Where its terms of service are; empty: it has none."""
        return str(self._client.directory.meta.terms_of_service or "")

    def register(self, contact: str, external: ExternalAccount | None) -> None:
        """Make an account, or find the one that this key has.

        ``contact``: an address for the authority's warnings, or empty. The
        terms of service are agreed to.

        Raises:
            NotIssued: it does not want us.
        """
        binding = None
        if external is not None:
            binding = messages.ExternalAccountBinding.from_data(
                account_public_key=self._key.public_key(),
                kid=external.key_id,
                hmac_key=external.mac_key,
                directory=self._client.directory,
            )
        new = messages.NewRegistration.from_data(
            email=contact or None,
            terms_of_service_agreed=True,
            external_account_binding=binding,
        )
        try:
            self._asked(lambda: self._client.new_account(new))
        except errors.ConflictError as known:
            self._client.net.account = messages.RegistrationResource(
                uri=known.location, body=messages.Registration()
            )

    def issue(
        self,
        names: Sequence[str],
        key: ServerKey,
        kind: str,
        present: Callable[[Sequence[Proof]], None],
        profile: str = "",
    ) -> bytes:
        """A certificate with its chain, as PEM.

        ``present`` puts the proofs where ``kind`` of challenge wants them, and
        returns when they can be seen.

        Raises:
            NotIssued: the authority refuses, or did not see what it looked for.
        """
        request = make_request(names, key)
        order = self._asked(lambda: self._client.new_order(request, profile or None))
        asked = [
            self._challenge(one, kind)
            for one in order.authorizations
            if one.body.status != messages.STATUS_VALID
        ]
        present([proof for _, proof in asked])
        for body, _ in asked:
            self._asked(partial(self._answer, body))
        # The library compares with a time that has no zone.
        deadline = datetime.now() + _DECISION_TIME  # noqa: DTZ005
        issued = self._asked(lambda: self._client.poll_and_finalize(order, deadline))
        return str(issued.fullchain_pem).encode("ascii")

    def renew_at(self, certificate: bytes) -> datetime | None:
        """When the authority would like it to be renewed (RFC 9773), if it says so.

        Raises:
            NotIssued: it could not be asked.
        """
        at, _ = self._asked(lambda: self._client.renewal_time(certificate))
        return None if at is None else at.astimezone(UTC)

    def _answer(self, body: messages.ChallengeBody) -> None:
        self._client.answer_challenge(body, body.response(self._key))

    def _challenge(
        self, authorization: messages.AuthorizationResource, kind: str
    ) -> tuple[messages.ChallengeBody, Proof]:
        name = str(authorization.body.identifier.value)
        offered = {one.chall.typ: one for one in authorization.body.challenges}
        if (body := offered.get(kind)) is None:
            kinds = ", ".join(sorted(map(str, offered)))
            raise NotIssued(f"{name}: no {kind} for it here, only {kinds}")
        return body, Proof(
            kind,
            name,
            body.chall.encode("token"),
            body.chall.key_authorization(self._key),
        )

    def _asked(self, question: Callable[[], Any]) -> Any:  # noqa: ANN401
        try:
            return question()
        except errors.ConflictError:
            raise
        except errors.ValidationError as refused:
            raise NotIssued(_unseen(refused)) from refused
        except errors.IssuanceError as refused:
            raise NotIssued(_told(refused.error)) from refused
        except messages.Error as refused:
            raise NotIssued(_told(refused)) from refused
        except errors.TimeoutError as problem:
            took = f"{_DECISION_TIME.total_seconds():g} s"
            raise NotIssued(f"{self._url} did not decide in {took}") from problem
        except requests.RequestException as problem:
            raise NotIssued(f"{self._url}: {_cause(problem)}") from problem
        except (errors.Error, JoseError, *_SURPRISED) as problem:
            raise NotIssued(f"{self._url} speaks no ACME: {problem!r}") from problem


def terms_of(url: str, ca_file: Path | None) -> str:
    """Where the authority's terms of service are; empty: it has none.

    Raises:
        NotIssued: as `Authority`.
    """
    nobody = ec.generate_private_key(ec.SECP256R1())
    return Authority(url, nobody, ca_file).terms


def _told(problem: messages.Error) -> str:
    """What the authority says, its details on one line."""
    parts = [problem, *(problem.subproblems or ())]
    said = [str(one.detail or one.title or one.typ) for one in parts]
    return f"{problem.code or problem.typ}: {'; '.join(said)}"


def _unseen(refused: errors.ValidationError) -> str:
    return "; ".join(
        f"{one.body.identifier.value}: {_told(challenge.error)}"
        for one in refused.failed_authzrs
        for challenge in one.body.challenges
        if challenge.error is not None
    )


def _cause(problem: BaseException) -> str:
    """The innermost reason, which is what requests hides behind three layers."""
    while (inner := problem.__cause__ or problem.__context__) is not None:
        problem = inner
    return str(problem) or type(problem).__name__
