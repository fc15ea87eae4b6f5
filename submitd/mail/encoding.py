"""Transfer encodings over pieces cut anywhere (RFC 2045 sections 6.7 and 6.8)."""

import binascii
from typing import Final

_CRLF: Final = b"\r\n"
_OCTETS: Final = 57
"""Octets in one line of base64, and what comes of them."""

_LINE: Final = 76
_SEGMENT: Final = 4096
"""Of a line without end so much is encoded at once: memory has a bound."""


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

    def feed(self, octets: bytes) -> bytes:
        """The encoded form of ``octets``, as far as whole lines go."""
        octets = self._line + octets
        encoded: list[bytes] = []
        start = 0
        while True:
            end = octets.find(_CRLF, start, start + _SEGMENT + 2)
            if end >= 0:
                encoded += (_quoted(octets[start:end]), _CRLF)
                start = end + 2
            elif len(octets) - start >= _SEGMENT + 2:
                # With an octet behind it, so that it leaves room for the break.
                text = _quoted(octets[start : start + _SEGMENT] + b"x")
                encoded += (text[:-1], b"=\r\n")
                start += _SEGMENT
            else:
                self._line = octets[start:]
                return b"".join(encoded)

    def finish(self) -> bytes:
        """What is left."""
        return _quoted(self._line)


def _quoted(line: bytes) -> bytes:
    # It breaks lines with a lone LF where it is given none that ends with CR LF.
    return binascii.b2a_qp(line, istext=True).replace(b"\n", _CRLF)
