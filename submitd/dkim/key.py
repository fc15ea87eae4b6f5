"""Signing keys, and the DNS records that publish them (RFC 6376 3.6, RFC 8463)."""

import base64
import binascii
import hashlib
import re
from datetime import date
from enum import Enum
from typing import Final

from attrs import frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

LEAST_BITS: Final = 1024
"""RFC 8301 section 3.2: verifiers must not accept less."""

GOOD_BITS: Final = 2048

_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_TAG: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9_]*)\s*=(.*)", re.DOTALL)


class UnusableKey(ValueError):
    """Not a key that can sign. The message says why, and nothing of the key."""


class BadSelector(ValueError):
    """The selector is no domain label or sequence of labels."""


class Algorithm(Enum):
    """``a=`` of a signature."""

    RSA_SHA256 = "rsa-sha256"
    ED25519_SHA256 = "ed25519-sha256"

    @property
    def key_type(self) -> str:
        """``k=`` of the record."""
        return self.value.partition("-")[0]


@frozen
class PrivateKey:
    """A key that signs."""

    _key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

    @classmethod
    def load(cls, pem: bytes) -> "PrivateKey":
        """From PEM (PKCS#8 or PKCS#1), not encrypted.

        Raises:
            UnusableKey: it is none, of another kind, or too short.
        """
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # What the library says may quote the file.
            raise UnusableKey("holds no unencrypted private key in PEM") from None
        if isinstance(key, rsa.RSAPrivateKey):
            if key.key_size < LEAST_BITS:
                raise UnusableKey(
                    f"RSA key of {key.key_size} bits; at least {GOOD_BITS} are needed"
                )
            return cls(key)
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return cls(key)
        raise UnusableKey("is neither an RSA nor an Ed25519 key")

    @classmethod
    def generate(cls, algorithm: Algorithm, bits: int = GOOD_BITS) -> "PrivateKey":
        """A new key; ``bits`` is for RSA. Takes up to seconds."""
        if algorithm is Algorithm.ED25519_SHA256:
            return cls(ed25519.Ed25519PrivateKey.generate())
        return cls(rsa.generate_private_key(public_exponent=65537, key_size=bits))

    @property
    def algorithm(self) -> Algorithm:
        """What it signs with."""
        if isinstance(self._key, rsa.RSAPrivateKey):
            return Algorithm.RSA_SHA256
        return Algorithm.ED25519_SHA256

    @property
    def is_short(self) -> bool:
        """True for an RSA key that works today but should be replaced."""
        return isinstance(self._key, rsa.RSAPrivateKey) and (
            self._key.key_size < GOOD_BITS
        )

    def sign(self, octets: bytes) -> bytes:
        """The signature over canonical header data."""
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(octets, padding.PKCS1v15(), hashes.SHA256())
        # RFC 8463 section 3: Ed25519 signs the hash, not the data.
        return self._key.sign(hashlib.sha256(octets).digest())

    def pem(self) -> bytes:
        """PKCS#8 in PEM, to be kept secret."""
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def public_octets(self) -> bytes:
        """What ``p=`` holds, not yet base64."""
        public = self._key.public_key()
        if isinstance(public, rsa.RSAPublicKey):
            return public.public_bytes(
                serialization.Encoding.DER,
                serialization.PublicFormat.SubjectPublicKeyInfo,
            )
        return public.public_bytes_raw()


def record_value(key: PrivateKey) -> str:
    """The TXT record's value, as verifiers see it."""
    encoded = base64.b64encode(key.public_octets()).decode("ascii")
    return f"v=DKIM1; k={key.algorithm.key_type}; p={encoded}"


def zone_lines(selector: str, domain: str, key: PrivateKey) -> str:
    """The record in zone-file form: strings of at most 255 octets."""
    value = record_value(key)
    pieces = [value[start : start + 250] for start in range(0, len(value), 250)]
    quoted = "\n".join(f'    "{piece}"' for piece in pieces)
    return f"{selector}._domainkey.{domain}. IN TXT (\n{quoted} )\n"


def expand_selector(template: str, today: date, hostname: str) -> str:
    """``<year>-<host>`` becomes ``2026-mail``; the host is the name's first label.

    Raises:
        BadSelector: what comes out is no selector.
    """
    selector = (
        template.replace("<year>", f"{today.year:04}")
        .replace("<host>", hostname.partition(".")[0])
        .lower()
    )
    if not selector or not all(
        _LABEL.fullmatch(label) for label in selector.split(".")
    ):
        raise BadSelector(f"{selector!r} is no selector: use letters, digits and -")
    return selector


class Finding(Enum):
    """What a published record is to a key of ours."""

    MATCHES = "the published key is this key"
    MISSING = "no record is published"
    SEVERAL = "more than one record is published; verifiers may take either"
    MALFORMED = "the record cannot be read as a DKIM key"
    REVOKED = "the record says that the key was revoked (empty p=)"
    WRONG_TYPE = "the record is for another kind of key (k=)"
    DIFFERS = "the record holds another key"
    NOT_FOR_MAIL = "the record excludes e-mail (s=)"
    NOT_FOR_SHA256 = "the record excludes sha256 (h=)"


def compare(  # noqa: PLR0911 - one return a finding
    key: PrivateKey, records: tuple[str, ...]
) -> Finding:
    """Hold what DNS answered against our key (RFC 6376 section 3.6.1)."""
    if not records:
        return Finding.MISSING
    if len(records) > 1:
        return Finding.SEVERAL
    if (tags := read_tags(records[0])) is None or "p" not in tags:
        return Finding.MALFORMED
    if tags.get("v", "DKIM1") != "DKIM1":
        return Finding.MALFORMED
    if tags["p"] == "":
        return Finding.REVOKED
    if tags.get("k", "rsa") != key.algorithm.key_type:
        return Finding.WRONG_TYPE
    if not {"*", "email"} & set(tags.get("s", "*").split(":")):
        return Finding.NOT_FOR_MAIL
    if "sha256" not in tags.get("h", "sha256").split(":"):
        return Finding.NOT_FOR_SHA256
    try:
        published = base64.b64decode(tags["p"], validate=True)
    except (binascii.Error, ValueError):
        return Finding.MALFORMED
    return Finding.MATCHES if published == key.public_octets() else Finding.DIFFERS


def is_testing(record: str) -> bool:
    """True where the record carries ``t=y``: verifiers treat mail as unsigned."""
    tags = read_tags(record) or {}
    return "y" in tags.get("t", "").split(":")


def read_tags(record: str) -> dict[str, str] | None:
    """A tag list (section 3.2) with white space gone; None where it is none."""
    tags: dict[str, str] = {}
    for part in record.rstrip("; \t").split(";"):
        if (found := _TAG.fullmatch(part)) is None or found[1] in tags:
            return None
        tags[found[1]] = re.sub(r"\s+", "", found[2])
    return tags
