"""Tokens: whose they are, and for whom; keys, remembered with bounds."""

import hmac
import json
import warnings
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws, jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from submitd.auth.errors import DirectoryUnavailable
from submitd.auth.files import HalfWritten, TableFile
from submitd.auth.tokens import (
    Found,
    IntrospectedTokens,
    KeysByUrl,
    KeysInFile,
    SignedTokens,
    TokenRules,
    basic_authorization,
    read_key_set,
)
from tests.support.awaited import awaited
from tests.support.in_reactor import in_reactor
from tests.support.recorded_events import RecordedEvents

NOW: Final = 1_800_000_000
ISSUER: Final = "https://id.example.org"
EC: Final = ECKey.generate_key("P-256", {"kid": "ec"})
RSA: Final = RSAKey.generate_key(2048, {"kid": "rsa"})
ED: Final = OKPKey.generate_key("Ed25519", {"kid": "ed"})
CLAIMS: Final[dict[str, Any]] = {
    "iss": ISSUER,
    "aud": "submit",
    "exp": NOW + 60,
    "sub": "alice",
}


def rules(**more: Any) -> TokenRules:  # noqa: ANN401
    values: dict[str, Any] = {
        "issuer": ISSUER,
        "audiences": ("submit", "mail"),
        "user_claim": "sub",
        "scopes": (),
        "leeway": 30,
        "now": lambda: NOW + 0.5,
    }
    return TokenRules(**(values | more))


class Keys:
    """Keys that are there, by id."""

    def __init__(self, *keys: Any) -> None:  # noqa: ANN401
        self.keys = keys
        self.newer: Sequence[Any] = ()
        self.is_latest = True
        self.asked: list[str] = []

    async def find(self, kid: str) -> Found:
        self.asked.append(kid)
        return Found(self._of(kid), self.is_latest)

    async def renew(self, kid: str) -> Sequence[Any]:
        self.asked.append(f"newer {kid}")
        self.keys = (*self.keys, *self.newer)
        return self._of(kid)

    def _of(self, kid: str) -> Sequence[Any]:
        return [one for one in self.keys if not kid or one.kid == kid]


def signed(
    key: Any = EC,  # noqa: ANN401
    algorithm: str = "ES256",
    **claims: object,
) -> str:
    said = {name: one for name, one in (CLAIMS | claims).items() if one is not None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        return jwt.encode(
            {"alg": algorithm, "kid": key.kid},
            said,
            key,
            registry=JWSRegistry(algorithms=[algorithm]),
        )


def checker(*keys: Any, **more: Any) -> tuple[SignedTokens, Keys]:  # noqa: ANN401
    known = Keys(*keys)
    algorithms = ("ES256", "RS256", "PS256", "EdDSA", "Ed25519")
    return SignedTokens(known, rules(**more), algorithms, ""), known


@pytest.mark.rfc("7519", "7.2")
@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(EC, "ES256"), (RSA, "RS256"), (RSA, "PS256"), (ED, "EdDSA"), (ED, "Ed25519")],
)
def test_a_signed_token_names_its_user(key: Any, algorithm: str) -> None:  # noqa: ANN401
    tokens, known = checker(EC, RSA, ED)
    assert awaited(tokens.user_of(signed(key, algorithm))) == "alice"
    assert known.asked == [key.kid]


def test_a_token_without_a_key_id_may_be_any_keys() -> None:
    tokens, _ = checker(ECKey.generate_key("P-256", {"kid": "other"}), RSA, EC)
    token = jwt.encode({"alg": "ES256"}, dict(CLAIMS), EC)
    assert awaited(tokens.user_of(token)) == "alice"


@pytest.mark.parametrize("kid", ["", "new"])
def test_a_key_that_is_new_is_asked_for_with_or_without_its_id(kid: str) -> None:
    tokens, known = checker(EC)
    known.is_latest = False
    new = ECKey.generate_key("P-256", {"kid": "new"})
    known.newer = [new]
    header = {"alg": "ES256"} | ({"kid": kid} if kid else {})
    token = jwt.encode(header, dict(CLAIMS), new)
    assert awaited(tokens.user_of(token)) == "alice"
    assert known.asked == [kid, f"newer {kid}"]


def test_nobody_is_asked_for_new_keys_without_need() -> None:
    """Not for another issuer's token, nor where keys have just been asked for."""
    tokens, known = checker(EC)
    other = ECKey.generate_key("P-256", {"kid": "other"})
    with pytest.raises(UnauthorizedLogin, match="no key"):
        awaited(tokens.user_of(signed(other)))
    known.is_latest = False
    with pytest.raises(UnauthorizedLogin, match="no key"):
        awaited(tokens.user_of(signed(other, iss="https://evil.example")))
    assert awaited(tokens.user_of(signed())) == "alice"
    assert known.asked == ["other", "other", "ec"]


@pytest.mark.rfc("7519", "4.1")
@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"iss": "https://id.example.com"}, "iss"),
        ({"iss": None}, "iss"),
        ({"iss": [ISSUER]}, "iss"),
        ({"aud": "other"}, "aud"),
        ({"aud": ["other", "third"]}, "aud"),
        ({"aud": None}, "aud"),
        ({"aud": []}, "aud"),
        ({"exp": NOW - 31}, "expired"),
        ({"exp": None}, "exp"),
        ({"exp": "tomorrow"}, "exp"),
        ({"exp": True}, "exp"),
        ({"nbf": NOW + 60}, "nbf|valid"),
        ({"sub": None}, "names nobody"),
        ({"sub": ""}, "names nobody"),
        ({"sub": "a\0b"}, "odd"),
        ({"sub": ["alice"]}, "names nobody|sub"),
        ({"sub": "a" * 321}, "names nobody"),
        ({"sub": "al\u00adice"}, "odd"),
        ({"sub": "\uff41lice"}, "odd"),
        ({"sub": "alice "}, "odd"),
        ({"sub": "a\u0327\u0301lice"}, "odd"),
        ({"typ": "Refresh"}, "it is refresh"),
        ({"typ": "ID"}, "it is id"),
        ({"token_use": "id"}, "it is id"),
    ],
)
def test_a_token_must_be_for_us_and_for_now(
    claims: Mapping[str, Any], reason: str
) -> None:
    tokens, _ = checker(EC)
    with pytest.raises(UnauthorizedLogin, match=reason):
        awaited(tokens.user_of(signed(**claims)))


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": ["other", "mail"]},
        {"exp": NOW - 29},
        {"nbf": NOW + 29},
        {"exp": NOW + 60.5},
        {"typ": "Bearer", "token_use": "access"},
        {"email_verified": False},
    ],
)
def test_clocks_may_differ_a_little_and_audiences_may_be_several(
    claims: Mapping[str, Any],
) -> None:
    tokens, _ = checker(EC)
    assert awaited(tokens.user_of(signed(**claims))) == "alice"


@pytest.mark.parametrize(
    ("verified", "is_taken"),
    [(True, True), ("true", True), (None, True), (False, False), ("false", False)],
)
def test_an_address_is_no_name_where_the_issuer_has_not_verified_it(
    verified: object, is_taken: bool
) -> None:
    """Anybody may write another's address into a profile."""
    tokens, _ = checker(EC, user_claim="email")
    token = signed(email="alice@example.org", email_verified=verified)
    if is_taken:
        assert awaited(tokens.user_of(token)) == "alice@example.org"
    else:
        with pytest.raises(UnauthorizedLogin, match="not verified"):
            awaited(tokens.user_of(token))


@pytest.mark.parametrize(
    ("claims", "is_enough"),
    [
        ({"scope": "openid send read"}, True),
        ({"scp": ["send", "read", 5]}, True),
        ({"scp": "send", "scope": "read"}, True),
        ({"scope": "send"}, False),
        ({"scope": "sending read"}, False),
        ({}, False),
        ({"scope": 5}, False),
    ],
)
def test_a_token_needs_all_scopes(claims: Mapping[str, Any], is_enough: bool) -> None:
    tokens, _ = checker(EC, scopes=("send", "read"))
    assert tokens.scope == "send read"
    if is_enough:
        assert awaited(tokens.user_of(signed(**claims))) == "alice"
    else:
        with pytest.raises(UnauthorizedLogin, match="scope"):
            awaited(tokens.user_of(signed(**claims)))


def unsigned(header: object, claims: object = CLAIMS, signature: str = "") -> str:
    parts = (
        urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=")
        for one in (header, claims)
    )
    return ".".join([*parts, signature])


@pytest.mark.rfc("8725", "3.1")
def test_only_configured_algorithms_are_looked_at() -> None:
    """Not "none", and not a key that everybody knows as a shared secret."""
    tokens, known = checker(EC, RSA)
    head, claims, _ = unsigned({"alg": "HS256", "kid": "rsa"}).split(".")
    public = RSA.as_pem(private=False)
    made = hmac.digest(public, f"{head}.{claims}".encode(), "sha256")
    hmac_token = f"{head}.{claims}.{urlsafe_b64encode(made).decode().rstrip('=')}"
    for token in (
        unsigned({"alg": "none", "kid": "ec"}),
        unsigned({"alg": "ES384", "kid": "ec"}, signature="AAAA"),
        unsigned({"alg": ["ES256"], "kid": "ec"}, signature="AAAA"),
        unsigned({"kid": "ec"}, signature="AAAA"),
        unsigned({"alg": "ES256", "kid": 5}, signature="AAAA"),
        unsigned({"alg": "ES256", "kid": "ec", "crit": ["x"], "x": 1}, signature="AA"),
        hmac_token,
    ):
        with pytest.raises(UnauthorizedLogin):
            awaited(tokens.user_of(token))
    assert known.asked in ([], ["ec"])


def raw(header: Mapping[str, Any], payload: bytes = b"") -> str:
    """Signed by EC, whatever it says."""
    return jws.serialize_compact(
        {"alg": "ES256", "kid": "ec", **header},
        payload or json.dumps(CLAIMS).encode(),
        EC,
        registry=JWSRegistry(algorithms=["ES256"], strict_check_header=False),
    )


@pytest.mark.rfc("7515", "4")
@pytest.mark.parametrize(
    "header",
    [{"pi.atm": "1"}, {"nonce": "x"}, {"x5c": ["A" * 2000]}, {"typ": "at+jwt"}],
)
def test_what_else_a_header_says_is_ignored(header: Mapping[str, Any]) -> None:
    tokens, _ = checker(EC)
    assert awaited(tokens.user_of(raw(header))) == "alice"


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (raw({"x5c": ["A" * 8192]}), "no signed token"),
        (raw({"typ": "logout+jwt"}), "it is logout"),
        (raw({"typ": "application/secevent+jwt"}), "it is application/secevent"),
        (unsigned({"alg": "ES256", "crit": ["x"], "x": 1}), "header"),
        (unsigned({"alg": "ES256", "crit": 5}), "header"),
        (unsigned({"alg": "ES256", "x5c": 5}), "header"),
        (unsigned({"alg": "ES256"}), "no key"),
        (raw({}, b"[]"), "no signed token"),
        (raw({}, b"{"), "no signed token"),
        (raw({}, b"[" * 5000), "no signed token"),
    ],
)
def test_a_refusal_tells_form_from_signature(token: str, reason: str) -> None:
    tokens, _ = checker(EC)
    with pytest.raises(UnauthorizedLogin, match=reason):
        awaited(tokens.user_of(token))


def test_a_key_signs_in_its_own_way_alone() -> None:
    narrow = RSAKey.import_key({**RSA.as_dict(private=False), "alg": "RS256"})
    tokens, _ = checker(narrow)
    assert awaited(tokens.user_of(signed(RSA, "RS256"))) == "alice"
    for token in (
        signed(RSA, "PS256"),
        signed(ECKey.generate_key("P-256", {"kid": "rsa"})),
        signed(RSAKey.generate_key(2048, {"kid": "rsa"}), "RS256"),
    ):
        with pytest.raises(UnauthorizedLogin, match="no key"):
            awaited(tokens.user_of(token))


def test_a_changed_token_is_not_signed() -> None:
    tokens, _ = checker(EC)
    head, _, signature = signed().split(".")
    claims = urlsafe_b64encode(json.dumps({**CLAIMS, "sub": "bob"}).encode()).decode()
    with pytest.raises(UnauthorizedLogin, match="no key"):
        awaited(tokens.user_of(f"{head}.{claims.rstrip('=')}.{signature}"))


DEEP: Final = urlsafe_b64encode(b"[" * 9000).decode()


@pytest.mark.parametrize(
    "token", ["", ".", "..", "a.b.c", "....", f"{DEEP}.{DEEP}.AAAA", "å.å.å", "\ud800"]
)
def test_what_is_no_token_is_refused(token: str) -> None:
    tokens, known = checker(EC)
    with pytest.raises(UnauthorizedLogin):
        awaited(tokens.user_of(token))
    assert known.asked == []


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["alg", "kid", "crit", "b64", "iss", "aud", "exp", "sub"]),
            inner | st.sampled_from(["ES256", "ec", ISSUER]),
            max_size=5,
        )
    ),
    max_leaves=8,
)


@given(JSON, JSON, st.sampled_from(["", "AAAA", "A" * 86, "!"]))
def test_no_made_up_token_raises_anything_else(
    header: object, claims: object, signature: str
) -> None:
    tokens, _ = checker(EC)
    with pytest.raises(UnauthorizedLogin):
        awaited(tokens.user_of(unsigned(header, claims, signature)))


@given(JSON)
def test_no_claims_of_a_true_issuer_raise_anything_else(claims: object) -> None:
    tokens, _ = checker(EC)
    said = dict(CLAIMS) | (claims if isinstance(claims, dict) else {})
    with suppress(UnauthorizedLogin):
        assert awaited(tokens.user_of(jwt.encode({"alg": "ES256"}, said, EC)))


# Key sets


@pytest.mark.rfc("7517", "5")
def test_keys_that_cannot_verify_are_passed_over() -> None:
    written = [
        EC.as_dict(private=False),
        {**RSA.as_dict(private=False), "use": "sig"},
        {**RSA.as_dict(private=False), "use": "enc", "kid": "enc"},
        OctKey.generate_key(256, {"kid": "oct"}).as_dict(),
        {"kty": "AKP", "kid": "new"},
        {"kty": "EC", "kid": "broken"},
        {"kty": "EC", "crv": "P-256", "x": 5, "y": [], "kid": "odd"},
        "nonsense",
    ]
    keys = read_key_set(json.dumps({"keys": written}))
    assert [one.kid for one in keys] == ["ec", "rsa"]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "5", '{"keys": 5}', '{"keys": []}', "[" * 100_000, '{"keys":[5]}'],
)
def test_what_is_no_key_set_is_none(text: str) -> None:
    with pytest.raises(HalfWritten):
        read_key_set(text)


def test_so_many_keys_are_taken_and_no_more() -> None:
    """A token without an id is compared with each."""
    odd = {"kty": "oct", "k": "AAAA"}
    own = EC.as_dict(private=False)
    written: list[object] = [odd] * 30
    written += [{**own, "kid": str(number)} for number in range(30)]
    keys = read_key_set(json.dumps({"keys": written}))
    assert [one.kid for one in keys] == [str(number) for number in range(20)]


@in_reactor
async def test_keys_may_stand_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(json.dumps({"keys": [EC.as_dict(private=False)]}))
    keys = KeysInFile(TableFile(Clock(), path, read_key_set, RecordedEvents()))
    for kid in ("ec", ""):
        found = await keys.find(kid)
        assert found.is_latest
        assert [one.kid for one in found.keys] == ["ec"]
        assert await keys.renew(kid) == found.keys
    assert (await keys.find("rsa")).keys == []


class Web:
    """A web server with a key set."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.keys = [EC]
        self.asked = 0
        self.is_down = False
        self.says: bytes | None = None
        self.waits: Deferred[None] | None = None
        self.events = RecordedEvents()
        self.known = KeysByUrl(self.clock, self.get, self.events)

    async def get(self) -> bytes:
        self.asked += 1
        if self.waits is not None:
            await self.waits
        if self.is_down:
            raise DirectoryUnavailable("down")
        written = [one.as_dict(private=False) for one in self.keys]
        return self.says or json.dumps({"keys": written}).encode()

    def finds(self, kid: str = "ec") -> bool:
        return bool(awaited(self.known.find(kid)).keys)

    def renews(self, kid: str) -> bool:
        return bool(awaited(self.known.renew(kid)))


def test_keys_are_asked_for_once_and_again_when_they_are_old() -> None:
    web = Web()
    for _ in range(3):
        assert web.finds()
    assert web.asked == 1
    web.clock.advance(3601)
    assert web.finds()
    assert web.asked == 2


def test_nobody_waits_for_keys_where_older_ones_are_at_hand() -> None:
    web = Web()
    assert awaited(web.known.find("ec")).is_latest
    web.clock.advance(3601)
    web.waits = Deferred()
    for _ in range(3):
        assert not awaited(web.known.find("ec")).is_latest
        web.clock.advance(100)
    assert web.asked == 2
    # Who needs a newer one waits for that question, and makes none of his own.
    web.keys.append(ECKey.generate_key("P-256", {"kid": "new"}))
    newer = Deferred.fromCoroutine(web.known.renew("new"))
    web.waits.callback(None)
    assert [one.kid for one in awaited(newer)] == ["new"]
    assert web.asked == 2


def test_new_keys_are_asked_for_once_a_minute_and_it_cannot_be_told_between() -> None:
    """Anybody can make up a key id: that must not make new tokens wrong."""
    web = Web()
    assert web.finds()
    web.keys.append(ECKey.generate_key("P-256", {"kid": "new"}))
    for _ in range(6):
        assert not web.finds("new")
        with pytest.raises(DirectoryUnavailable, match="a moment ago"):
            web.renews("new")
        web.clock.advance(10)
    assert web.asked == 1
    assert web.renews("new")
    assert web.finds("new")
    assert web.asked == 2
    with pytest.raises(DirectoryUnavailable):
        web.renews("none")
    web.clock.advance(60)
    assert not web.renews("none")


def test_an_issuer_that_is_down_leaves_its_keys_in_use_for_a_day() -> None:
    web = Web()
    assert web.finds()
    web.is_down = True
    for _ in range(23):
        web.clock.advance(3601)
        assert web.finds()
    # A key that it might have meanwhile is "cannot tell", and no refusal.
    with pytest.raises(DirectoryUnavailable, match="down"):
        web.renews("new")
    web.clock.advance(3601)
    with pytest.raises(DirectoryUnavailable, match="down"):
        web.finds()
    assert {name for name, _ in web.events.emitted} == {"issuer-down"}


@pytest.mark.parametrize("said", [b"\xff", b"{}", b"<html>"])
def test_an_issuer_that_says_nonsense_is_down(said: bytes) -> None:
    web = Web()
    web.says = said
    for _ in range(3):
        with pytest.raises(DirectoryUnavailable):
            web.finds()
    assert web.asked == 1
    web.says = None
    web.clock.advance(10)
    assert web.finds()


def test_all_who_wait_for_keys_get_them_from_one_question() -> None:
    web = Web()
    web.waits = Deferred()
    heard: list[object] = []
    waiting = [Deferred.fromCoroutine(web.known.find("ec")) for _ in range(3)]
    for one in waiting:
        one.addBoth(heard.append)
    waiting[0].cancel()
    assert web.asked == 1
    web.waits.callback(None)
    assert isinstance(heard[0], Failure)
    assert [len(one.keys) for one in heard[1:]] == [1, 1]  # type: ignore[attr-defined]


# Introspection


class EndPoint:
    """What an issuer says of tokens."""

    def __init__(self, says: object) -> None:
        self.says = says
        self.forms: list[Mapping[str, str]] = []

    async def post(self, form: Mapping[str, str]) -> bytes:
        self.forms.append(form)
        if self.says is None:
            raise DirectoryUnavailable("down")
        return (
            self.says
            if isinstance(self.says, bytes)
            else json.dumps(self.says).encode()
        )


def introspected(says: object) -> str:
    tokens = IntrospectedTokens(EndPoint(says).post, rules(), "", RecordedEvents())
    return awaited(tokens.user_of("opaque"))


@pytest.mark.rfc("7662", "2.2")
def test_an_issuer_says_whose_token_it_is() -> None:
    said = {"active": True, "aud": "submit", "sub": "alice"}
    assert introspected(said) == "alice"
    assert introspected(said | {"exp": NOW + 60, "iss": ISSUER}) == "alice"
    assert introspected(said | {"token_type": "Bearer"}) == "alice"
    absent = dict.fromkeys(("exp", "nbf", "iat", "iss", "jti", "scope", "typ"))
    assert introspected(said | absent) == "alice"


@pytest.mark.rfc("7662", "2.2")
@pytest.mark.parametrize(
    "more",
    [
        {"active": False},
        {"active": "true"},
        {"active": 1},
        {"active": None},
        {"aud": "other"},
        {"aud": None},
        {"exp": NOW - 60},
        {"iss": "https://id.example.com"},
        {"sub": None},
        {"token_type": "refresh_token"},
    ],
)
def test_a_token_that_is_not_active_or_not_ours_is_refused(
    more: Mapping[str, object],
) -> None:
    with pytest.raises(UnauthorizedLogin):
        introspected({"active": True, "aud": "submit", "sub": "alice", **more})


@pytest.mark.parametrize("says", [None, b"", b"<html>", b"[]", b"5", b"[" * 100_000])
def test_an_issuer_that_cannot_be_asked_refuses_nobody(says: object) -> None:
    with pytest.raises(DirectoryUnavailable):
        introspected(says)


@pytest.mark.rfc("6749", "2.3.1")
def test_our_name_and_secret_are_encoded_twice() -> None:
    assert basic_authorization("a:b", "c d%") == "Basic YSUzQWI6YytkJTI1"
