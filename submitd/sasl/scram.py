"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677)."""

import binascii
import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Final

from submitd.sasl.channel import Channel
from submitd.sasl.gs2 import Gs2Header, read_header, read_name
from submitd.sasl.mechanism import KeysProof, KeysWanted, Step
from submitd.sasl.scram_keys import DIGEST, ScramKeys

_PRINTABLE: Final = r"[\x21-\x2b\x2d-\x7e]+"
"""RFC 5802 section 7: printable ASCII without the comma."""

_NO_CHANNEL: Final = "not the channel binding that was offered"
_WRONG_CHANNEL: Final = "bound to another channel: somebody may be in between"
_WRONG_PROOF: Final = "wrong password, or nobody of that name has keys"

_EXTENSIONS: Final = r"(?:,[A-Za-z]=[^,\0]+)*"
"""Optional ones, which are ignored. ``m=``, a mandatory one, stands before all else
and is refused by not being read."""

_FIRST: Final = re.compile(
    rf"n=(?P<name>[^,\0]+),r=(?P<nonce>{_PRINTABLE}){_EXTENSIONS}", re.ASCII
)
_FINAL: Final = re.compile(
    rf"(?P<without_proof>c=(?P<binding>[A-Za-z0-9+/=]+),r=(?P<nonce>{_PRINTABLE})"
    rf"{_EXTENSIONS}),p=(?P<proof>[A-Za-z0-9+/=]+)",
    re.ASCII,
)


class Scram:
    """With a password of which the server has keys alone; and proves that it has."""

    def __init__(
        self,
        nonce: Callable[[], str],
        channel: Channel | None,
        *,
        plus: bool,
        plus_offered: bool,
    ) -> None:
        """``nonce``: unpredictable printable ASCII without a comma.

        ``plus``: the form that binds to ``channel``. ``plus_offered``: EHLO names it.
        """
        self.name = "SCRAM-SHA-256-PLUS" if plus else "SCRAM-SHA-256"
        self._nonce = nonce
        self._channel = channel
        self._plus = plus
        self._plus_offered = plus_offered

    def start(self) -> "ScramExchange":
        return ScramExchange(self._nonce(), self._bound)

    def _bound(self, header: Gs2Header) -> bytes | None:
        """What ``c=`` of the final message must hold; None: refused.

        RFC 5802 section 6: a client that says ``y`` has seen no PLUS. Where it was
        offered somebody in between has taken it away.
        """
        flags = "p" if self._plus else ("n" if self._plus_offered else "ny")
        if header.flag not in flags:
            return None
        bound = header.text.encode()
        if header.flag != "p":
            return bound
        channel = self._channel
        data = None if channel is None else channel.binding(header.binding)
        return None if data is None else bound + data


class ScramExchange:
    """Name and nonce; salt and nonce; proof; the server's own proof."""

    first_challenge = b""

    def __init__(self, nonce: str, bound: Callable[[Gs2Header], bytes | None]) -> None:
        self._nonce = nonce
        self._bound_to = bound
        self._bound = b""
        self._name = self._authzid = ""
        self._first = ""
        self._server_first = ""
        self._keys: ScramKeys | None = None
        self._signature = b""

    def respond(self, response: bytes) -> Step:
        try:
            text = response.decode()
        except UnicodeDecodeError:
            return None
        return self._read_first(text) if self._keys is None else self._read_final(text)

    def _read_first(self, text: str) -> Step:
        header = read_header(text)
        if header is None:
            return None
        self._first = text.removeprefix(header.text)
        found = _FIRST.fullmatch(self._first)
        name = None if found is None else read_name(found["name"])
        if found is None or name is None:
            return None
        bound = self._bound_to(header)
        if bound is None or not name:
            return KeysProof(name, header.authzid, _NO_CHANNEL)
        self._authzid, self._bound, self._name = header.authzid, bound, name
        self._nonce = found["nonce"] + self._nonce
        return KeysWanted(name)

    def take_keys(self, keys: ScramKeys) -> bytes:
        """As `Exchange.take_keys`."""
        self._keys = keys
        salt = binascii.b2a_base64(keys.salt, newline=False).decode()
        self._server_first = f"r={self._nonce},s={salt},i={keys.iterations}"
        return self._server_first.encode()

    def _read_final(self, text: str) -> Step:
        found = _FINAL.fullmatch(text)
        if found is None:
            return None
        try:
            bound = binascii.a2b_base64(found["binding"], strict_mode=True)
            proof = binascii.a2b_base64(found["proof"], strict_mode=True)
        except binascii.Error:
            return None
        assert self._keys is not None  # noqa: S101
        signed = f"{self._first},{self._server_first},{found['without_proof']}"
        is_right = self._proves(proof, signed.encode(), self._keys)
        fault = "" if is_right and found["nonce"] == self._nonce else _WRONG_PROOF
        if is_right and not hmac.compare_digest(bound, self._bound):
            fault = _WRONG_CHANNEL
        return KeysProof(self._name, self._authzid, fault)

    def _proves(self, proof: bytes, signed: bytes, keys: ScramKeys) -> bool:
        self._signature = hmac.digest(keys.server_key, signed, DIGEST)
        mask = hmac.digest(keys.stored_key, signed, DIGEST)
        if len(proof) != len(mask):
            return False
        client_key = bytes(one ^ other for one, other in zip(proof, mask, strict=True))
        made = hashlib.new(DIGEST, client_key).digest()
        return hmac.compare_digest(made, keys.stored_key)

    def last_words(self, *, accepted: bool) -> bytes | None:
        """Only who has proved to know the password hears that we know its keys."""
        if not accepted:
            return None
        return b"v=" + binascii.b2a_base64(self._signature, newline=False)
