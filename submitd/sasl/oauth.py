"""OAUTHBEARER (RFC 7628), and XOAUTH2, which came before it (Google, Microsoft)."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Final

from submitd.sasl.gs2 import read_header
from submitd.sasl.mechanism import Plainly, Step, Token
from submitd.sasl.prepare import prepare

_PAIR: Final = re.compile(r"([A-Za-z]+)=([\x20-\x7e\t\r\n]*)", re.ASCII)
_BEARER: Final = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*)", re.ASCII | re.IGNORECASE)


class OAuthBearer:
    """A token behind a GS2 header."""

    name = "OAUTHBEARER"

    def __init__(self, scope: str, configuration: str) -> None:
        """What a client hears whose token is refused (RFC 7628 section 3.2.2).

        ``scope``: what a token needs; ``configuration``: URL where the issuer
        describes itself. Empty: not said.
        """
        said = {"scope": scope, "openid-configuration": configuration}
        self._refusal = json.dumps(
            {"status": "invalid_token"} | {key: one for key, one in said.items() if one}
        ).encode()

    def start(self) -> "TokenExchange":
        return TokenExchange(_read_bearer, self._refusal)


class XOAuth2:
    """A name and a token, with neither header nor RFC."""

    name = "XOAUTH2"

    def __init__(self, scope: str) -> None:
        """``scope``: what a token needs."""
        said = {"status": "401", "schemes": "bearer", "scope": scope}
        self._refusal = json.dumps(said).encode()

    def start(self) -> "TokenExchange":
        return TokenExchange(_read_xoauth2, self._refusal)


class TokenExchange(Plainly):
    """Waits for the one response; tells in a last challenge why it was refused."""

    first_challenge = b""

    def __init__(self, read: Callable[[str], Token | None], refusal: bytes) -> None:
        self._read = read
        self._refusal = refusal

    def respond(self, response: bytes) -> Step:
        try:
            return self._read(response.decode())
        except UnicodeDecodeError:
            return None

    def last_words(self, *, accepted: bool) -> bytes | None:
        """As `Exchange.last_words`."""
        return None if accepted else self._refusal


def _read_bearer(text: str) -> Token | None:
    header = read_header(text)
    # There is no form of it that binds a channel (RFC 7628 section 3.1).
    if header is None or header.flag == "p":
        return None
    pairs = _pairs(text.removeprefix(header.text), first="\1")
    return None if pairs is None else _token(header.authzid, pairs)


def _read_xoauth2(text: str) -> Token | None:
    user, end, rest = text.partition("\1")
    name = prepare(user.removeprefix("user="))
    if not (end and name and user.startswith("user=")):
        return None
    pairs = _pairs(rest, first="")
    return None if pairs is None else _token(name, pairs)


def _pairs(text: str, first: str) -> Mapping[str, str] | None:
    """``key=value`` with 0x01 behind each, and one more at the end."""
    if not text.startswith(first) or not text.endswith("\1"):
        return None
    *pairs, last = text[len(first) : -1].split("\1")
    found: dict[str, str] = {}
    for one in pairs:
        pair = _PAIR.fullmatch(one)
        if pair is None or pair[1].lower() in found:
            return None
        found[pair[1].lower()] = pair[2]
    return None if last else found


def _token(authzid: str, pairs: Mapping[str, str]) -> Token | None:
    written = pairs.get("auth")
    if written is None:
        return None
    # Without a token a client asks what it would need (RFC 7628 section 4.3).
    found = _BEARER.fullmatch(written) if written else None
    return Token(authzid, found[1] if found else "") if found or not written else None
