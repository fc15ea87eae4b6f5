"""Transfer encodings over pieces cut anywhere (RFC 2045 sections 6.7 and 6.8)."""

import binascii
import re
from typing import Final

_CRLF: Final = b"\r\n"
_OCTETS: Final = 57
"""Octets in one line of base64, and what comes of them."""

_LINE: Final = 76
_SEGMENT: Final = 4096
"""Of a line without end so much is encoded at once: memory has a bound."""

_TWENTY_FIVE: Final = re.compile(rb"(?:=[0-9A-F]{2}|[^=]){1,25}")
"""Quoted octets that fit into a line with a soft line break, whatever they are."""


class Base64:
    """``base64``: lines with a CR LF between them, and none at the end."""

    name: Final = b"base64"

    def __init__(self) -> None:
        self._rest = b""
        self._begun = False

    def feed(self, octets: bytes) -> bytes:
        """The encoded form of ``octets``, as far as whole lines go."""
        octets = self._rest + octets
        whole = len(octets) // _OCTETS * _OCTETS
        self._rest = octets[whole:]
        return self._lines(octets[:whole])

    def finish(self) -> bytes:
        """What is left."""
        return self._lines(self._rest)

    def _lines(self, octets: bytes) -> bytes:
        if not octets:
            return b""
        text = binascii.b2a_base64(octets, newline=False)
        lines = _CRLF.join([text[at : at + _LINE] for at in range(0, len(text), _LINE)])
        begun, self._begun = self._begun, True
        return _CRLF + lines if begun else lines


class QuotedPrintable:
    """``quoted-printable`` for text whose lines end with CR LF.

    The last line has an end only where the text's has one.
    """

    name: Final = b"quoted-printable"

    def __init__(self) -> None:
        self._line = b""
        self._continues = False
        """A soft line break stands before it."""

    def feed(self, octets: bytes) -> bytes:
        """The encoded form of ``octets``, as far as whole lines go."""
        octets = self._line + octets
        encoded: list[bytes] = []
        start = 0
        while True:
            end = octets.find(_CRLF, start, start + _SEGMENT + 2)
            if end >= 0:
                encoded += (_quoted(octets[start:end], self._continues), _CRLF)
                self._continues = False
                start = end + 2
            elif len(octets) - start >= _SEGMENT + 2:
                # With an octet behind it, so that it leaves room for the break.
                segment = octets[start : start + _SEGMENT] + b"x"
                text = _quoted(segment, self._continues)
                encoded += (text[:-1], b"=\r\n")
                self._continues = True
                start += _SEGMENT
            else:
                self._line = octets[start:]
                return b"".join(encoded)

    def finish(self) -> bytes:
        """What is left."""
        return _quoted(self._line, self._continues)


def _quoted(line: bytes, continues: bool) -> bytes:
    # It breaks lines with a lone LF where it is given none that ends with CR LF.
    quoted = binascii.b2a_qp(line, istext=True)
    if b"=\n--" in quoted or (continues and quoted.startswith(b"--")):
        # A delimiter's octets within a line are none, and must not become one.
        quoted = quoted.replace(b"=\n", b"").replace(b"-", b"=2D")
        quoted = b"=\n".join(_TWENTY_FIVE.findall(quoted))
    return quoted.replace(b"\n", _CRLF)
