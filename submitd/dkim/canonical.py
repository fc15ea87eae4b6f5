"""Canonicalisation of header fields and bodies (RFC 6376 section 3.4)."""

import hashlib
import re
from enum import Enum
from typing import Final

_WSP_RUN: Final = re.compile(rb"[ \t]+")


class Canon(Enum):
    """How much change in transit a signature survives."""

    SIMPLE = "simple"
    RELAXED = "relaxed"


def canonical_field(raw: bytes, canon: Canon) -> bytes:
    """One header field as it is hashed, final CRLF included (3.4.1, 3.4.2)."""
    if canon is Canon.SIMPLE:
        return raw
    name, _, body = raw.partition(b":")
    value = _WSP_RUN.sub(b" ", body.replace(b"\r\n", b"")).strip(b" ")
    return name.rstrip(b" \t").lower() + b":" + value + b"\r\n"


class BodyHasher:
    """The body hash, taken while the body streams by, in constant memory.

    What may still turn out to be white space at a line's end, or empty lines
    at the body's end, waits as a count; everything else is hashed at once.
    Lines must end in CRLF; the last one may lack it.
    """

    def __init__(self, canon: Canon) -> None:
        self._relaxed = canon is Canon.RELAXED
        self._hash = hashlib.sha256()
        self._line_ends = 0
        """CRLFs seen that no text has followed."""

        self._rest = b""
        """Behind these: the beginning of a line, or half a CRLF."""

        self._has_text = False
        self._digest: bytes | None = None

    def update(self, octets: bytes) -> None:
        """Take the next octets of the body, cut anywhere."""
        data = self._rest + octets if self._rest else octets
        core = data.rstrip(b" \t\r\n" if self._relaxed else b"\r\n")
        if core:
            if self._line_ends:
                self._hash.update(b"\r\n" * self._line_ends)
                self._line_ends = 0
            self._hash.update(_relaxed(core) if self._relaxed else core)
            self._has_text = True
        tail = data[len(core) :]
        self._line_ends += tail.count(b"\r\n")
        rest = tail[tail.rfind(b"\r\n") + 2 :] if b"\r\n" in tail else tail
        if self._relaxed and len(rest) > 1:
            # Only whether there is white space matters, not how much.
            rest = b" \r" if rest.endswith(b"\r") else b" "
        self._rest = rest

    def digest(self) -> bytes:
        """SHA-256 of the canonical body; nothing may follow."""
        if self._digest is None:
            if not self._relaxed or self._has_text:
                self._hash.update(b"\r\n")
            self._digest = self._hash.digest()
        return self._digest


def _relaxed(octets: bytes) -> bytes:
    # Most text has neither runs nor tabs nor white space before a line end:
    # three searches are far cheaper than a substitution.
    if b"  " in octets or b"\t" in octets:
        octets = _WSP_RUN.sub(b" ", octets)
    if b" \r\n" in octets:
        octets = octets.replace(b" \r\n", b"\r\n")
    return octets
