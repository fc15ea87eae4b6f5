"""What DNS publishes for a key of ours, held against the key itself.

A mismatch is for people to read. It never stops signing: a record that was
published a minute ago is not everywhere yet.
"""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from submitd.dkim.key import MOST_BITS, Algorithm, PrivateKey

_TAG: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9_]*)\s*=(.*)", re.DOTALL)
_SPACE: Final = re.compile(r"\s+")


class MalformedRecord(ValueError):
    """Not a list of ``tag=value`` (RFC 6376 section 3.2)."""


class Finding(Enum):
    """One thing found out; its value is the sentence for people."""

    MATCHES = "the published key is this key"
    MISSING = "no record is published"
    SEVERAL = "more than one record is published; verifiers may take any of them"
    MALFORMED = "the record cannot be read as a DKIM key"
    REVOKED = "the record says that the key was revoked (p= is empty)"
    WRONG_TYPE = "the record is for another kind of key (k=)"
    DIFFERS = "the record holds another key"
    NOT_FOR_MAIL = "the record does not allow e-mail (s=)"
    NOT_FOR_SHA256 = "the record does not allow SHA-256 (h=)"
    TESTING = (
        "the record says that the domain is testing (t=y):"
        " verifiers may treat its mail as unsigned"
    )
    SHORT_KEY = "the key has less than 2048 bits and should be replaced"
    LONG_KEY = "the key has more than 4096 bits, which not every verifier takes"

    @property
    def breaks_signatures(self) -> bool:
        """True where verifiers will not find our signatures good."""
        return self not in _HARMLESS


_HARMLESS: Final = frozenset(
    {Finding.MATCHES, Finding.TESTING, Finding.SHORT_KEY, Finding.LONG_KEY}
)


def check_published(key: PrivateKey, records: Sequence[bytes]) -> tuple[Finding, ...]:
    """All that can be said of a key and of what is published for it.

    ``records`` are the TXT records at the key's name, each with its strings
    put together (RFC 6376 section 3.6.2.2); none means that DNS says so. A
    DNS that does not answer is no finding and must be told apart before.
    """
    findings: list[Finding] = []
    match records:
        case []:
            findings.append(Finding.MISSING)
        case [record]:
            findings += _compare(key, record)
        case _:
            findings.append(Finding.SEVERAL)
            for record in records:
                findings += _compare(key, record)
    if key.is_short:
        findings.append(Finding.SHORT_KEY)
    elif key.bits > MOST_BITS:
        findings.append(Finding.LONG_KEY)
    return tuple(dict.fromkeys(findings))


def read_tags(record: bytes) -> dict[str, str]:
    """The tags of a record in their order, white space in values gone.

    Raises:
        MalformedRecord: it is no tag list, or names a tag twice.
    """
    # Only notes may hold more than ASCII, and they are for people.
    parts = record.decode("utf-8", "replace").split(";")
    if len(parts) > 1 and not parts[-1].strip():
        parts.pop()
    tags: dict[str, str] = {}
    for part in parts:
        if (found := _TAG.fullmatch(part)) is None or found[1] in tags:
            raise MalformedRecord(part)
        tags[found[1]] = _SPACE.sub("", found[2])
    return tags


def _compare(key: PrivateKey, record: bytes) -> Iterator[Finding]:
    try:
        tags = read_tags(record)
    except MalformedRecord:
        yield Finding.MALFORMED
        return
    # Where there is a v= it comes first, and its value knows no lower case.
    if "v" in tags and (next(iter(tags)), tags["v"]) != ("v", "DKIM1"):
        yield Finding.MALFORMED
        return
    yield _compare_key(key, tags)
    if not {"*", "email"}.intersection(_listed(tags, "s", "*")):
        yield Finding.NOT_FOR_MAIL
    if "sha256" not in _listed(tags, "h", "sha256"):
        yield Finding.NOT_FOR_SHA256
    if "y" in _listed(tags, "t", ""):
        yield Finding.TESTING


def _compare_key(key: PrivateKey, tags: Mapping[str, str]) -> Finding:
    if "p" not in tags:
        return Finding.MALFORMED
    if not tags["p"]:
        return Finding.REVOKED
    if tags.get("k", "rsa") != key.algorithm.key_type:
        return Finding.WRONG_TYPE
    try:
        published = base64.b64decode(tags["p"], validate=True)
        if key.algorithm is Algorithm.RSA_SHA256:
            published = _key_info(published)
    except ValueError:
        return Finding.MALFORMED
    return Finding.MATCHES if published == key.public_octets() else Finding.DIFFERS


def _key_info(published: bytes) -> bytes:
    """An RSA key as SubjectPublicKeyInfo, which is how we publish ours.

    RFC 6376 section 3.6.1 names RSAPublicKey, and its examples are in the
    other form. Verifiers read both.
    """
    try:
        public = serialization.load_der_public_key(published)
    except (ValueError, UnsupportedAlgorithm) as problem:
        raise MalformedRecord("p=") from problem
    if not isinstance(public, rsa.RSAPublicKey):
        raise MalformedRecord("p=")
    return public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _listed(tags: Mapping[str, str], tag: str, default: str) -> list[str]:
    return tags.get(tag, default).split(":")
