"""Received fields: made here, and counted against loops (RFC 5321 section 4.4)."""

from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache

from attrs import frozen

from submitd.mail.message import HeaderSection


@frozen(kw_only=True)
class TlsFacts:
    """What a client and we agreed upon."""

    version: str
    cipher: str


@frozen(kw_only=True)
class Origin:
    """How a message came to us. What is hidden is None."""

    client_name: str | None
    """As it called itself in HELO or EHLO."""

    client_address: str | None
    esmtp: bool
    authenticated: bool
    smtputf8: bool
    tls: TlsFacts | None
    priority: int = 0
    """MT-PRIORITY, as it was assigned."""

    @property
    def protocol(self) -> str:
        """The ``with`` keyword (RFC 3848, RFC 6531 section 4.3)."""
        if self.smtputf8:
            base = "UTF8SMTP"
        else:
            base = "ESMTP" if self.esmtp else "SMTP"
        if base == "SMTP":
            return base
        return f"{base}{'S' * (self.tls is not None)}{'A' * self.authenticated}"


def received_field(
    origin: Origin, *, hostname: str, queue_id: str, at: datetime
) -> bytes:
    """The Received field that goes on top, CRLF included.

    Without a client's name and address there is no ``from`` clause: where a
    person was when they wrote is nobody's business further on.
    """
    lines = []
    if origin.client_name is not None or origin.client_address is not None:
        name = _as_token(origin.client_name or "unknown")
        lines.append(f"from {name} ([{_as_literal(origin.client_address)}])")
    lines.append(f"by {hostname} with {origin.protocol}")
    if origin.tls is not None:
        lines.append(f"(version={origin.tls.version} cipher={origin.tls.cipher})")
    # RFC 6710 section 4.1: who looks for what made a message late finds it here.
    priority = f" PRIORITY {origin.priority}" if origin.priority else ""
    lines.append(f"id {queue_id}{priority}; {_date_time(at.replace(microsecond=0))}")
    return ("Received: " + "\r\n\t".join(lines) + "\r\n").encode("ascii")


@lru_cache(maxsize=1)
def _date_time(at: datetime) -> str:
    """The same for all messages of a second."""
    return format_datetime(at)


def _as_literal(address: str | None) -> str:
    """What stands in the brackets (RFC 5321 section 4.1.3)."""
    if address is None:
        return "unknown"
    return f"IPv6:{address}" if ":" in address else address


def _as_token(name: str) -> str:
    # A client may call itself anything; in a trace field it must not look
    # like a clause or a comment of ours, nor bring octets beyond ASCII into
    # a message that may go where these are not understood.
    safe = "".join(
        one if one.isascii() and (one.isalnum() or one in ".-_:[]") else "?"
        for one in name[:255]
    )
    return safe or "unknown"


def count_received(section: HeaderSection) -> int:
    """How many hosts this message has passed (RFC 5321 section 6.3)."""
    return len(section.get_all("received"))
