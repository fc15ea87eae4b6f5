"""Signing keys, their selectors, and the records that publish them.

RFC 6376 section 3.6.1, RFC 8301 for the sizes, RFC 8463 for Ed25519.
"""

import base64
import hashlib
import re
from datetime import date
from enum import Enum
from typing import Final, Self

from attrs import frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

LEAST_BITS: Final = 1024
"""RFC 8301 section 3.2: verifiers must not take less."""

GOOD_BITS: Final = 2048
"""The same: signers should not use less."""

MOST_BITS: Final = 4096
"""The same: verifiers need not take more."""

_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PKCS1: Final = padding.PKCS1v15()
_SHA256: Final = hashes.SHA256()

_STRING: Final = 250
"""Octets of one string in a zone file; 255 is the most (RFC 1035 3.3)."""


class UnusableKey(ValueError):
    """Not a key that can sign. The message says why, and nothing of the key."""


class KeyEncrypted(UnusableKey):
    """A passphrase is needed, and a server has nobody to ask."""


class KeyTooShort(UnusableKey):
    """Verifiers must refuse what it signs (RFC 8301 section 3.2)."""


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
    """A key that signs. Its representation shows nothing of it."""

    _key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

    @classmethod
    def load(cls, pem: bytes) -> Self:
        """From PEM (PKCS#8 or PKCS#1), not encrypted.

        Raises:
            KeyEncrypted: it needs a passphrase.
            KeyTooShort: RSA of less than 1024 bits.
            UnusableKey: it is no private key, or of another kind.
        """
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except TypeError:
            raise KeyEncrypted(
                "the private key is encrypted; keep it without a passphrase"
            ) from None
        except (ValueError, UnsupportedAlgorithm):
            # What the library says may quote the file.
            raise UnusableKey("there is no private key in PEM form in it") from None
        if isinstance(key, rsa.RSAPrivateKey):
            _check_least(key.key_size)
            return cls(key)
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return cls(key)
        raise UnusableKey("the key is neither an RSA nor an Ed25519 key")

    @classmethod
    def generate(cls, algorithm: Algorithm, bits: int = GOOD_BITS) -> Self:
        """A new key; ``bits`` is for RSA. Takes up to seconds.

        Raises:
            KeyTooShort: less than 1024 bits.
            UnusableKey: more than 4096 bits, which verifiers may refuse.
        """
        if algorithm is Algorithm.ED25519_SHA256:
            return cls(ed25519.Ed25519PrivateKey.generate())
        _check_least(bits)
        if bits > MOST_BITS:
            raise UnusableKey(
                f"an RSA key of {bits} bits is more than verifiers must take;"
                f" at most {MOST_BITS} are safe"
            )
        return cls(rsa.generate_private_key(public_exponent=65537, key_size=bits))

    @property
    def algorithm(self) -> Algorithm:
        """What it signs with."""
        if isinstance(self._key, rsa.RSAPrivateKey):
            return Algorithm.RSA_SHA256
        return Algorithm.ED25519_SHA256

    @property
    def bits(self) -> int:
        """The size that people name a key by."""
        return self._key.key_size if isinstance(self._key, rsa.RSAPrivateKey) else 256

    @property
    def is_short(self) -> bool:
        """True for an RSA key that works today but should be replaced."""
        return self.algorithm is Algorithm.RSA_SHA256 and self.bits < GOOD_BITS

    def sign(self, octets: bytes) -> bytes:
        """The signature over canonical header data."""
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(octets, _PKCS1, _SHA256)
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


def record_name(selector: str, domain: str) -> str:
    """Where verifiers look for it (section 3.6.2.1), no dot at the end."""
    return f"{selector}._domainkey.{domain}"


def zone_lines(selector: str, domain: str, key: PrivateKey) -> str:
    """The record in zone-file form (RFC 1035 section 5.1), to be pasted whole.

    Verifiers put the strings together with nothing between them.
    """
    value = record_value(key)
    pieces = [value[at : at + _STRING] for at in range(0, len(value), _STRING)]
    quoted = "\n".join(f'    "{piece}"' for piece in pieces)
    return f"{record_name(selector, domain)}. IN TXT (\n{quoted} )\n"


def expand_selector(template: str, made: date, hostname: str) -> str:
    """``<year>-<host>`` becomes ``2026-mail``; the host is the name's first label.

    ``made`` is the day the key was made, not today: a selector that changed
    at new year would name a record that nobody has published.

    Raises:
        BadSelector: what comes out is no selector.
    """
    return check_selector(
        template.replace("<year>", f"{made.year:04}").replace(
            "<host>", hostname.partition(".")[0]
        )
    )


def check_selector(text: str) -> str:
    """The selector in lower case (section 3.1).

    Raises:
        BadSelector: it is none. Verifiers could not look for its record.
    """
    selector = text.lower()
    if not all(_LABEL.fullmatch(label) for label in selector.split(".")):
        raise BadSelector(
            f"{text!r} is no selector: each label of it needs"
            " 1 to 63 letters, digits and hyphens, and no hyphen at its ends"
        )
    return selector


def _check_least(bits: int) -> None:
    if bits < LEAST_BITS:
        raise KeyTooShort(
            f"an RSA key of {bits} bits is too short: verifiers refuse"
            f" what it signs; {GOOD_BITS} are good"
        )
