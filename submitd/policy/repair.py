"""The changes that submission may make (RFC 6409 section 8), and no other."""

from datetime import datetime
from email.utils import format_datetime
from typing import Final

from submitd.mail.address import Mailbox
from submitd.mail.message import HeaderSection

_TAKEN_OUT: Final = ("bcc", "resent-bcc", "return-path")


def repair(section: HeaderSection, *, now: datetime, message_id: str) -> HeaderSection:
    """Add Date and Message-ID where missing; take out Bcc and Return-Path.

    ``message_id`` comes without angle brackets. Where nothing is to be done
    the section itself is returned.
    """
    keys = {one.key for one in section.fields}
    if not keys.isdisjoint(_TAKEN_OUT):
        section = section.without(*_TAKEN_OUT)
    if "date" not in keys:
        section = section.append(f"Date: {format_datetime(now)}\r\n".encode("ascii"))
    if "message-id" not in keys:
        section = section.append(f"Message-ID: <{message_id}>\r\n".encode("ascii"))
    return section


def rewrite_from(section: HeaderSection, own: Mailbox) -> HeaderSection:
    """Put the submitter's own mailbox into From, where a foreign one stood.

    What the author wrote stays readable in X-Original-From, and answers go
    where the author wanted them: Reply-To, unless there is one.
    """
    (written,) = section.get_all("from")
    original = written.body
    changed = section.without("from", "sender").append(
        b"From: " + str(own).encode() + b"\r\n",
        b"X-Original-From:" + original + b"\r\n",
    )
    if section.get_all("reply-to"):
        return changed
    return changed.append(b"Reply-To:" + original + b"\r\n")
