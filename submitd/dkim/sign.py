"""Signing a message: its header fields, a body hash, and keys (RFC 6376 section 5)."""

import base64
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from attrs import field, frozen, validators

from submitd.dkim.canonical import BodyHasher, Canon, canonical_field
from submitd.dkim.key import PrivateKey

OVERSIGNED: Final = (
    "From",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Reply-To",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
)
"""Signed once more than they occur: nobody can add another one unnoticed."""

SIGNED: Final = (
    "Sender",
    "In-Reply-To",
    "References",
    "Content-Transfer-Encoding",
    "Content-ID",
    "Content-Description",
    "Resent-From",
    "Resent-Sender",
    "Resent-To",
    "Resent-Cc",
    "Resent-Date",
    "Resent-Message-ID",
    "List-Id",
    "List-Help",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Subscribe",
    "List-Post",
    "List-Owner",
    "List-Archive",
    "Autocrypt",
)
"""Signed where they occur. A list that adds its own leaves the signature whole."""

_LINE: Final = 76


@frozen
class SigningKey:
    """A key under the name that it is published by."""

    selector: str
    key: PrivateKey = field(repr=False)


@frozen(kw_only=True)
class Signer:
    """Signs for one domain, with each of its keys."""

    domain: str
    """``d=``, in A-labels."""

    keys: tuple[SigningKey, ...] = field(validator=validators.min_len(1))
    header_canon: Canon = Canon.RELAXED
    body_canon: Canon = Canon.RELAXED
    signed: tuple[str, ...] = SIGNED
    oversigned: tuple[str, ...] = OVERSIGNED

    def body_hasher(self) -> BodyHasher:
        """A fresh hasher for one message's body."""
        return BodyHasher(self.body_canon)

    def sign(
        self, fields: Sequence[bytes], body_hash: bytes, signed_at: datetime
    ) -> bytes:
        """One DKIM-Signature field a key, to be put on top.

        ``fields`` are the header fields as they stand, each with its CRLF.
        """
        names, chosen = self._choose(fields)
        canonical = b"".join(canonical_field(raw, self.header_canon) for raw in chosen)
        return b"".join(
            self._signature(one, names, canonical, body_hash, signed_at)
            for one in self.keys
        )

    def _choose(self, fields: Sequence[bytes]) -> tuple[list[str], list[bytes]]:
        """The ``h=`` list and the fields it means, in its order (5.4.2)."""
        present: dict[str, list[bytes]] = {}
        for raw in fields:
            name = raw.partition(b":")[0].rstrip(b" \t").decode("latin-1").lower()
            present.setdefault(name, []).append(raw)
        names: list[str] = []
        chosen: list[bytes] = []
        for wanted, once_more in self._wanted():
            # From the bottom up, so that a field put on top later is another.
            found = present.get(wanted.lower(), ())
            chosen += reversed(found)
            names += [wanted] * (len(found) + once_more)
        return names, chosen

    def _wanted(self) -> Iterator[tuple[str, int]]:
        for name in self.oversigned:
            yield name, 1
        for name in self.signed:
            yield name, 0

    def _signature(
        self,
        one: SigningKey,
        names: Sequence[str],
        canonical: bytes,
        body_hash: bytes,
        signed_at: datetime,
    ) -> bytes:
        canons = f"{self.header_canon.value}/{self.body_canon.value}"
        hashed = base64.b64encode(body_hash).decode("ascii")
        start = "\r\n".join(
            (
                f"DKIM-Signature: v=1; a={one.key.algorithm.value}; c={canons};",
                f"\td={self.domain};",
                f"\ts={one.selector}; t={int(signed_at.timestamp())};",
                *_folded("h=", names, ":", ";"),
                f"\tbh={hashed};",
                "\tb=",
            )
        ).encode("ascii")
        # Without its final CRLF, and with an empty b= (section 3.7).
        own = canonical_field(start + b"\r\n", self.header_canon)[:-2]
        signature = base64.b64encode(one.key.sign(canonical + own)).decode("ascii")
        pieces = [signature[at : at + 72] for at in range(0, len(signature), 72)]
        return start + "\r\n\t ".join(pieces).encode("ascii") + b"\r\n"


def _folded(tag: str, words: Sequence[str], separator: str, end: str) -> Iterator[str]:
    line = "\t" + tag
    for number, word in enumerate(words):
        piece = word + (separator if number < len(words) - 1 else end)
        if len(line) + len(piece) > _LINE:
            yield line
            line = "\t "
        line += piece
    yield line
