"""Canonicalisation of header fields and bodies (RFC 6376 section 3.4)."""

import hashlib
import re
from enum import Enum
from typing import Final

_WAITING: Final = (b"", b" ", b"\r", b" \r")
"""What, behind the last line end, only the next octets give a meaning."""

_BARE: Final = re.compile(rb".*(?:(?<!\r)\n|\r(?!\n|\Z)| (?!\r?\Z))", re.DOTALL)
"""As far as the last CR or LF that is no line end, or a space before it."""

_MANY_LINE_ENDS: Final = b"\r\n" * 2048


class Canon(Enum):
    """How much change in transit a signature survives."""

    SIMPLE = "simple"
    RELAXED = "relaxed"


def canonical_field(raw: bytes, canon: Canon) -> bytes:
    """One header field as it is hashed, final CRLF included (3.4.1, 3.4.2).

    ``raw`` is the whole field as it stands. Octets above 127 stay as they
    are, so UTF-8 needs no thought here (RFC 8616 section 5).
    """
    if canon is Canon.SIMPLE:
        return raw
    name, _, body = raw.partition(b":")
    value = _single_spaced(body.replace(b"\r\n", b"")).strip(b" ")
    return b"%b:%b\r\n" % (name.rstrip(b" \t").lower(), value)


class BodyHasher:
    """The body hash, taken while the body streams by, in constant memory.

    What may still turn out to be white space at a line's end, or empty lines
    at the body's end, is kept as a count; all else is hashed at once.

    A last line without CRLF counts as if it had one, for so it will arrive:
    a message cannot end in any other way in DATA (RFC 5321 section 4.1.1.4).
    """

    def __init__(self, canon: Canon) -> None:
        self._relaxed = canon is Canon.RELAXED
        self._ending = b" \t\r\n" if self._relaxed else b"\r\n"
        self._hash = hashlib.sha256()
        self._has_text = False
        self._line_ends = 0
        """CRLFs that no text has followed yet."""

        self._rest = b""
        """Behind these: white space as one space, or half a CRLF, or both."""

    def update(self, octets: bytes) -> None:
        """Take the next octets of the body, cut anywhere."""
        if self._rest:
            octets = self._rest + octets
        text = octets.rstrip(self._ending)
        tail = octets[len(text) :]
        if self._relaxed:
            text, tail = _relaxed(text), _relaxed(tail)
        line_ends = tail.count(b"\r\n")
        if tail[2 * line_ends :] not in _WAITING and (found := _BARE.match(tail)):
            # A bare CR or LF is text. SMTP admits none (RFC 5321 section
            # 2.3.8), but binary content may (RFC 3030 section 3).
            text += found[0]
            tail = tail[found.end() :]
            line_ends = tail.count(b"\r\n")
        self._rest = tail[2 * line_ends :]
        if text:
            _hash_line_ends(self._hash, self._line_ends)
            self._hash.update(text)
            self._has_text = True
            self._line_ends = 0
        self._line_ends += line_ends

    def digest(self) -> bytes:
        """SHA-256 of the canonical form of the body so far."""
        final = self._hash.copy()
        has_text = self._has_text
        if self._rest.endswith(b"\r"):  # half a CRLF no longer
            _hash_line_ends(final, self._line_ends)
            final.update(self._rest)
            has_text = True
        # An empty body is one empty line when simple, and nothing when relaxed.
        if has_text or not self._relaxed:
            final.update(b"\r\n")
        return final.digest()


def _hash_line_ends(body: "hashlib._Hash", count: int) -> None:
    # In pieces: a body of nothing but empty lines must not be built anew.
    many, few = divmod(2 * count, len(_MANY_LINE_ENDS))
    for _ in range(many):
        body.update(_MANY_LINE_ENDS)
    if few:
        body.update(_MANY_LINE_ENDS[:few])


def _relaxed(octets: bytes) -> bytes:
    octets = _single_spaced(octets)
    return octets.replace(b" \r\n", b"\r\n") if b" \r\n" in octets else octets


def _single_spaced(octets: bytes) -> bytes:
    # Several times as fast as a regular expression, and linear: each pass
    # halves what is left of the runs.
    if b"\t" in octets:
        octets = octets.replace(b"\t", b" ")
    while b"  " in octets:
        octets = octets.replace(b"  ", b" ")
    return octets
