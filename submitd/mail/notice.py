"""What we write by ourselves when mail is held: to its sender, to the postmaster."""

import quopri
from datetime import datetime
from email.header import Header
from email.utils import format_datetime

from attrs import frozen

from submitd.mail.address import Mailbox


@frozen(kw_only=True)
class HeldMail:
    """What there is to tell."""

    queue_id: str
    login: str
    """In one line."""

    login_quoted: str
    """As a shell takes it."""

    reason: str
    recipients: int
    sender: Mailbox | None
    session: str


@frozen(kw_only=True)
class StillHeld:
    """What there is to tell a day later."""

    login: str
    """In one line."""

    login_quoted: str
    """As a shell takes it."""

    amount: str
    """Messages and octets, as people read it."""


Text = tuple[str, tuple[str, ...]]
"""Subject, and the lines of the text."""


def to_submitter(held: HeldMail, hostname: str) -> Text:
    """To whoever may have sent it."""
    return (
        "Your message is held",
        (
            f"The mail server {hostname} has accepted your message, and holds it.",
            "",
            f"The reason: {held.reason}.",
            "",
            "You need not send it again. Your administrator has been told, and can",
            "let it go. Further messages over the limit are held as well; of those of",
            "the next hours you will not be told. A day from now, and each day after,",
            "you will be reminded while any is held.",
            "",
            "If you have not sent so much, somebody else may have your password:",
            "change it, and call your administrator.",
            "",
            f"Its number is {held.queue_id}.",
        ),
    )


def to_postmaster(held: HeldMail, hostname: str) -> Text:
    """To who can let it go."""
    name = held.login_quoted
    return (
        f"Mail of {held.login} is held",
        (
            f"{hostname} holds mail of {held.login}, which is over a limit of [quota].",
            "",
            f"The reason: {held.reason}.",
            "",
            f"The first message is {held.queue_id}, from <{held.sender or ''}>",
            f"to {held.recipients} recipients, in session {held.session}.",
            "Of those of the next hours you will not be told, and once a day while any",
            "is held.",
            "",
            *_commands(name),
        ),
    )


def remind_submitter(held: StillHeld, hostname: str) -> Text:
    """To whom `to_submitter` went."""
    return (
        "Mail of yours is still held",
        (
            f"The mail server {hostname} still holds mail that you have sent:",
            f"{held.amount}. It was not delivered.",
            "",
            "Your administrator is reminded, too, and can let it go. Call them if it",
            "matters, or if you have not sent it: somebody else may have your password",
            "then.",
        ),
    )


def remind_postmaster(held: StillHeld, hostname: str) -> Text:
    """To whom `to_postmaster` went."""
    return (
        f"Mail of {held.login} is still held",
        (
            f"{hostname} still holds mail of {held.login}: {held.amount}.",
            "",
            *_commands(held.login_quoted),
        ),
    )


def _commands(name: str) -> tuple[str, ...]:
    return (
        "Look at what is held, and at what has been sent:",
        f"    submitctl queue list --held --login={name}",
        f"    submitctl quota show -- {name}",
        "Let all of it go:",
        f"    submitctl queue release --login={name}",
        "Delete all of it, where the account is stolen; and lock the account:",
        f"    submitctl queue remove --held --login={name}",
    )


def notice(
    subject: str,
    lines: tuple[str, ...],
    *,
    to: Mailbox,
    postmaster: str,
    hostname: str,
    notice_id: str,
    now: datetime,
) -> tuple[bytes, bytes]:
    """Header section (with its empty line) and body: ASCII, but for addresses."""
    text = "\n".join((*lines, "", f"-- The mail server {hostname}", ""))
    header = "\r\n".join(
        (
            f'From: "Mail server {hostname}" <{postmaster}>',
            f"To: <{to}>",
            f"Subject: {_field_text(subject)}",
            f"Date: {format_datetime(now)}",
            f"Message-ID: <{notice_id}@{hostname}>",
            "Auto-Submitted: auto-generated",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=utf-8",
            "Content-Transfer-Encoding: quoted-printable",
            "",
            "",
        )
    )
    body = quopri.encodestring(text.encode("utf-8", "replace"))
    return header.encode(), body.replace(b"\n", b"\r\n")


def _field_text(text: str) -> str:
    """What is not plain ASCII, in encoded words (RFC 2047)."""
    if text.isascii() and text.isprintable():
        return text
    return Header(text, "utf-8", header_name="Subject").encode(linesep="\r\n")
