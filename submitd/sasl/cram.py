"""CRAM-MD5 (RFC 2195): off unless asked for, since it needs passwords in the clear."""

import re
from collections.abc import Callable
from typing import Final

from submitd.sasl.mechanism import Digest, Plainly, Step
from submitd.sasl.prepare import prepare

_DIGEST: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


class CramMd5:
    """An HMAC of the server's challenge."""

    name = "CRAM-MD5"

    def __init__(self, nonce: Callable[[], str], hostname: str) -> None:
        """``nonce``: unpredictable, and never the same twice."""
        self._nonce = nonce
        self._hostname = hostname

    def start(self) -> "CramExchange":
        return CramExchange(f"<{self._nonce()}@{self._hostname}>".encode())


class CramExchange(Plainly):
    """Waits for the one response, which must be one to the challenge."""

    def __init__(self, challenge: bytes) -> None:
        self._challenge = challenge
        self._asked = False

    @property
    def first_challenge(self) -> bytes:
        self._asked = True
        return self._challenge

    def respond(self, response: bytes) -> Step:
        try:
            name, _, digest = response.decode().rpartition(" ")
        except UnicodeDecodeError:
            return None
        if not (self._asked and name and _DIGEST.fullmatch(digest)):
            return None
        return Digest(prepare(name) or "", self._challenge, digest)
