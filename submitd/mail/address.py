"""Mailboxes and domains (RFC 5321 sections 2.3.11 and 4.1.2, RFC 6531)."""

import ipaddress
import re
from typing import Final

import idna
from attrs import frozen

_ATEXT: Final = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~-"
_DOT_STRING: Final = re.compile(
    rf"[{_ATEXT}\x80-\U0010ffff]+(?:\.[{_ATEXT}\x80-\U0010ffff]+)*"
)
_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?")
_QUOTED: Final = re.compile(r'"((?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*)"')
_UNESCAPE: Final = re.compile(r"\\(.)")

MAX_LOCAL_PART: Final = 64
MAX_DOMAIN: Final = 255


class BadAddress(ValueError):
    """The text is no mailbox, or no domain. The message says why."""


def parse_domain(text: str) -> str:
    """The canonical form of a domain or an address literal.

    A domain becomes lower-case A-labels, so that one comparison finds equal
    what is equal (RFC 5890 section 2.3.2.1); an address literal becomes
    ``[192.0.2.1]`` or ``[IPv6:2001:db8::1]``.

    Raises:
        BadAddress: neither, or longer than RFC 5321 section 4.5.3.1.2 allows.
    """
    if text.startswith("["):
        return _parse_literal(text)
    try:
        # Exact and fast for what nearly every domain is: plain ASCII.
        ascii_form = (
            text if text.isascii() else idna.encode(text, uts46=True).decode("ascii")
        ).lower()
    except idna.IDNAError as problem:
        raise BadAddress(f"not a domain name: {problem}") from problem
    if len(ascii_form) > MAX_DOMAIN:
        raise BadAddress("the domain name is too long")
    for label in ascii_form.split("."):
        if len(label) > 63 or _LABEL.fullmatch(label) is None:
            raise BadAddress("not a domain name")
    return ascii_form


def _parse_literal(text: str) -> str:
    inner = text[1:-1]
    try:
        if not text.endswith("]"):
            raise ValueError
        if inner[:5].lower() == "ipv6:":
            return f"[IPv6:{ipaddress.IPv6Address(inner[5:])}]"
        return f"[{ipaddress.IPv4Address(inner)}]"
    except ValueError as problem:
        raise BadAddress("not an address literal") from problem


@frozen
class Mailbox:
    """local-part at domain.

    Make one with `parse_mailbox`: a Mailbox that exists is valid.
    """

    local_part: str
    """Without quotes and escapes: what ``"john smith"`` stands for."""

    domain: str
    """As `parse_domain` gives it."""

    @property
    def is_ascii(self) -> bool:
        """True where the mailbox can be sent without SMTPUTF8."""
        return self.local_part.isascii()

    @property
    def key(self) -> tuple[str, str]:
        """For comparing: two mailboxes with one key are one person's.

        Case in a local part is not told apart, as directories do not
        (caseIgnoreIA5Match); docs/decisions says more.
        """
        return self.local_part.casefold(), self.domain

    def __str__(self) -> str:
        if _DOT_STRING.fullmatch(self.local_part):
            return f"{self.local_part}@{self.domain}"
        escaped = self.local_part.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"@{self.domain}'


def parse_mailbox(text: str) -> Mailbox:
    """Read ``local-part@domain`` as in a path, without angle brackets.

    Raises:
        BadAddress: the text is no mailbox (RFC 5321 section 4.1.2, with the
            extensions of RFC 6531 section 3.3), or a part is too long
            (RFC 5321 section 4.5.3.1).
    """
    if quoted := _QUOTED.match(text):
        local_part = _UNESCAPE.sub(r"\1", quoted[1])
        rest = text[quoted.end() :]
    else:
        at = text.rfind("@")
        local_part, rest = text[: max(at, 0)], text[max(at, 0) :]
        if _DOT_STRING.fullmatch(local_part) is None:
            raise BadAddress("not a mailbox")
    if not rest.startswith("@"):
        raise BadAddress("there is no domain")
    if len(local_part.encode("utf-8", "surrogatepass")) > MAX_LOCAL_PART:
        raise BadAddress("the local part is too long")
    return Mailbox(local_part, parse_domain(rest[1:]))
