"""Text within a parameter: xtext, and its kin for UTF-8 addresses."""

import re
from typing import Final

from submitd.mail.envelope import escape_utf8_address

_XTEXT: Final = re.compile(rb"(?:[!-*,-<>-~]|\+[0-9A-Fa-f]{2})*+")
_HEX_PAIR: Final = re.compile(r"\+([0-9A-Fa-f]{2})")
_UNICODE: Final = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")


def decode_xtext(octets: bytes) -> str | None:
    """What ``octets`` stand for; None: no xtext, or not printable ASCII inside.

    Line breaks can be written in xtext. Decoded, they would forge fields in
    the reports that quote them. Source: RFC 3461 sections 4, 4.2 and 4.4.
    """
    if _XTEXT.fullmatch(octets) is None:
        return None
    text = octets.decode("ascii")
    if "+" in text:
        text = _HEX_PAIR.sub(lambda pair: chr(int(pair[1], 16)), text)
    return text if text.isascii() and text.isprintable() else None


def encode_xtext(text: str) -> bytes:
    """Printable ASCII as xtext (RFC 3461 section 4)."""
    return "".join(f"+{ord(one):02X}" if one in "+= " else one for one in text).encode(
        "ascii"
    )


def decode_utf8_address(octets: bytes, *, raw: bool) -> str | None:
    r"""An address of type ``utf-8``; None: not one.

    ``raw``: UTF-8 may stand there as it is, for SMTPUTF8 is in use.
    Otherwise it is written ``\x{20AC}``. Source: RFC 6533 section 3.
    """
    try:
        text = octets.decode("utf-8" if raw else "ascii")
        text = _UNICODE.sub(lambda found: chr(int(found[1], 16)), text)
    except ValueError:  # no UTF-8, or a number above U+10FFFF
        return None
    return text if text and text.isprintable() else None


def encode_utf8_address(text: str) -> bytes:
    """An address of type ``utf-8`` in ASCII (RFC 6533 section 3)."""
    return escape_utf8_address(text).encode("ascii")
