"""Mailboxes and domains (RFC 5321 sections 2.3.11 and 4.1.2, RFC 6531)."""

import ipaddress
import re
import unicodedata
from functools import lru_cache
from typing import Final

import idna
from attrs import field, frozen

# Not the C1 controls, the line and paragraph separators and lone surrogates:
# they could end a line, or a program, wherever the address is shown.
_NON_ASCII: Final = "\xa0-\u2027\u202a-\ud7ff\ue000-\U0010ffff"
_ATEXT: Final = rf"A-Za-z0-9!#$%&'*+/=?^_`{{|}}~{_NON_ASCII}-"
_DOT_STRING: Final = re.compile(rf"[{_ATEXT}]++(?:\.[{_ATEXT}]++)*+")
_QUOTED: Final = re.compile(rf'"((?:[ !#-\[\]-~{_NON_ASCII}]|\\[ -~])*+)"')
_UNESCAPE: Final = re.compile(r"\\(.)")
_LABEL: Final = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_DOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")

MAX_MAILBOX: Final = 320
"""Octets of local part, ``@`` and domain together.

RFC 5321 section 4.5.3.1.1 asks for 64 octets of local part and for no limit
where none is needed. VERP and SRS build longer ones, so 64 + 1 + 255 octets
are shared between the two parts.
"""

MAX_DOMAIN: Final = 253
"""Octets of a domain: more do not fit a DNS name (RFC 1035 section 2.3.4)."""


class BadAddress(ValueError):
    """The text is no mailbox, or no domain. The message says why."""


def parse_domain(text: str) -> str:
    """The canonical form of a domain or an address literal.

    A domain becomes lower-case A-labels, so that one comparison finds equal
    what is equal (RFC 5890 section 2.3.2.1); an address literal becomes
    ``[192.0.2.1]`` or ``[IPv6:2001:db8::1]``.

    Underscores are taken within a label: hosts bear them, whatever RFC 1123
    says. A dot at the end is not (RFC 5321 section 2.3.5).

    Raises:
        BadAddress: neither, or longer than a name in the DNS can be.
    """
    if text.startswith("["):
        return _parse_literal(text)
    # Before any look at the text: IDNA takes time in the square of its length.
    if len(text) > MAX_DOMAIN:
        raise BadAddress("the domain name is too long")
    if text.isascii():
        ascii_form = text.lower()
    else:
        try:
            ascii_form = idna.encode(text, uts46=True).decode("ascii").lower()
        except idna.IDNAError as problem:
            raise BadAddress("not an internationalized domain name") from problem
    if _DOMAIN.fullmatch(ascii_form) is None:
        raise BadAddress("not a domain name")
    if ascii_form[ascii_form.rfind(".") + 1 :].isdigit():
        # No top-level domain is a number (RFC 3696 section 2).
        raise BadAddress("an IP address needs square brackets")
    return ascii_form


def _parse_literal(text: str) -> str:
    """RFC 5321 section 4.1.3. No tag but ``IPv6`` is registered."""
    inner = text[1:-1]
    try:
        if not text.endswith("]"):
            raise ValueError
        if inner[:5].lower() != "ipv6:":
            return f"[{ipaddress.IPv4Address(inner)}]"
        if "%" in inner:  # a zone means nothing on another host
            raise ValueError
        return f"[IPv6:{ipaddress.IPv6Address(inner[5:])}]"
    except ValueError as problem:
        raise BadAddress("not an address literal") from problem


@frozen
class Mailbox:
    """local-part at domain.

    Make one with `parse_mailbox`: a Mailbox that exists is valid. It is
    kept as it was written, for only its own host may read more into a
    local part (RFC 5321 section 2.3.11); `key` is for comparing.
    """

    local_part: str
    """Without quotes and escapes: what ``"john smith"`` stands for."""

    domain: str
    """As `parse_domain` gives it."""

    _text: str = field(default="", init=False, eq=False, repr=False)

    @property
    def is_ascii(self) -> bool:
        """True where the mailbox can be sent without SMTPUTF8."""
        return self.local_part.isascii()

    @property
    def key(self) -> tuple[str, str]:
        """For comparing: two mailboxes with one key are one person's.

        Case in a local part is not told apart, as directories do not
        (caseIgnoreIA5Match), nor are the composed and decomposed forms of a
        letter (RFC 6532 section 3.1). Lower-casing, not case folding:
        ``ß`` and ``ss`` are two people's.
        """
        local_part = self.local_part
        if not local_part.isascii():
            composed = unicodedata.normalize("NFC", local_part)
            local_part = unicodedata.normalize("NFC", composed.lower())
        return local_part.lower(), self.domain

    def __str__(self) -> str:
        if not self._text:
            object.__setattr__(self, "_text", self._written())
        return self._text

    def _written(self) -> str:
        if _DOT_STRING.fullmatch(self.local_part):
            return f"{self.local_part}@{self.domain}"
        escaped = self.local_part.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"@{self.domain}'


@lru_cache(maxsize=4096)
def parse_mailbox(text: str) -> Mailbox:
    """Read ``local-part@domain`` as in a path, without angle brackets.

    Raises:
        BadAddress: the text is no mailbox (RFC 5321 section 4.1.2, with the
            extensions of RFC 6531 section 3.3), or it is too long.
    """
    if quoted := _QUOTED.match(text):
        local_part = _UNESCAPE.sub(r"\1", quoted[1])
        before, at, domain = text[quoted.end() :].partition("@")
        if before:
            raise BadAddress("not a mailbox")
    else:
        local_part, at, domain = text.rpartition("@")
        if at and _DOT_STRING.fullmatch(local_part) is None:
            raise BadAddress("not a mailbox")
    if not at:
        raise BadAddress("there is no domain")
    mailbox = Mailbox(local_part, parse_domain(domain))
    if len(local_part.encode()) + 1 + len(mailbox.domain) > MAX_MAILBOX:
        raise BadAddress("the address is too long")
    return mailbox
