"""Mechanisms with nothing left to chance, and the client's side of SCRAM."""

import base64
import hashlib
import hmac
from typing import Final

from submitd.sasl.channel import Channel
from submitd.sasl.cram import CramMd5
from submitd.sasl.external import External
from submitd.sasl.login import Login
from submitd.sasl.mechanism import Mechanism
from submitd.sasl.oauth import OAuthBearer, XOAuth2
from submitd.sasl.plain import Plain
from submitd.sasl.scram import Scram
from submitd.sasl.scram_keys import ScramKeys, make_keys

# RFC 7677 section 3
CLIENT_NONCE: Final = "rOprNGfwEbeRWgbNEkqO"
SERVER_NONCE: Final = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
SALT: Final = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
PENCIL: Final = make_keys("pencil", SALT, 4096)

CHANNEL: Final = Channel({"tls-exporter": b"the exporter's"}.get)


def named(name: str, *, plus_offered: bool = True) -> Mechanism:
    """The mechanism of this name, whose nonces are those of the RFCs' examples."""
    match name:
        case "PLAIN":
            return Plain()
        case "LOGIN":
            return Login()
        case "SCRAM-SHA-256" | "SCRAM-SHA-256-PLUS":
            return Scram(
                lambda: SERVER_NONCE,
                CHANNEL,
                plus=name.endswith("PLUS"),
                plus_offered=plus_offered,
            )
        case "OAUTHBEARER":
            return OAuthBearer("mail.send", "https://id.example.org/configuration")
        case "XOAUTH2":
            return XOAuth2("mail.send")
        case "EXTERNAL":
            return External()
        case "CRAM-MD5":
            return CramMd5(lambda: "1896.697170952", "postoffice.reston.mci.net")
    raise ValueError(name)


def named_all(names: str) -> tuple[Mechanism, ...]:
    """Those of a list with commas."""
    words = [one.strip() for one in names.split(",")]
    plus_offered = "SCRAM-SHA-256-PLUS" in words
    return tuple(named(one, plus_offered=plus_offered) for one in words)


class ScramClient:
    """Says what a client with a name and a password says, step by step."""

    def __init__(
        self,
        password: str,
        *,
        name: str = "user",
        header: str = "n,,",
        nonce: str = CLIENT_NONCE,
        bound: bytes = b"",
    ) -> None:
        """``bound``: the channel binding's data."""
        self._password = password
        self._header = header
        self._bound = bound
        self._bare = f"n={name},r={nonce}"
        self.signature = b""

    def first(self) -> bytes:
        """The client's first message."""
        return (self._header + self._bare).encode()

    def final(self, server_first: bytes, *, nonce: str = "") -> bytes:
        """Its final message; ``nonce``: another one than the server's."""
        said = dict(one.split("=", 1) for one in server_first.decode().split(","))
        salt, rounds = base64.b64decode(said["s"]), int(said["i"])
        keys: ScramKeys = make_keys(self._password, salt, rounds)
        salted = hashlib.pbkdf2_hmac("sha256", self._password.encode(), salt, rounds)
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        binding = base64.b64encode(self._header.encode() + self._bound).decode()
        without_proof = f"c={binding},r={nonce or said['r']}"
        signed = f"{self._bare},{server_first.decode()},{without_proof}".encode()
        mask = hmac.digest(keys.stored_key, signed, "sha256")
        proof = bytes(one ^ other for one, other in zip(client_key, mask, strict=True))
        signature = hmac.digest(keys.server_key, signed, "sha256")
        self.signature = b"v=" + base64.b64encode(signature)
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()
