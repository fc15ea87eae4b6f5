"""A delivery status notification as a message (RFC 3464, RFC 6522, RFC 6533)."""

import quopri
from collections.abc import Sequence
from datetime import datetime
from email.utils import format_datetime
from enum import Enum
from typing import Final

from attrs import frozen

from submitd.mail.address import Mailbox
from submitd.mail.envelope import ForwardPath
from submitd.mail.status import EnhancedCode


class Action(Enum):
    """What happened to a recipient (RFC 3464 section 2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"


@frozen(kw_only=True)
class ReportedRecipient:
    """One recipient's fate."""

    forward_path: ForwardPath
    action: Action
    status: EnhancedCode
    diagnostic: str
    """The remote's reply, code first; or our words where it said nothing."""

    host: str
    """The host that it was about; empty: none was known."""

    attempted_at: datetime | None
    """The last attempt; None: there was none, or its time is not known."""

    retry_until: datetime | None = None
    is_reply: bool = False
    """The diagnostic is what the host said, and not what we saw."""

    is_owed: bool = False
    """The sender hears of it unless they want to hear nothing."""

    may_confirm: bool = False
    """The host was asked to report delivery itself, as the sender wishes."""

    is_senders_time: bool = False
    """The time is over that the sender set, and not ours."""


@frozen(kw_only=True)
class Returned:
    """What a report gives back of the message."""

    header: bytes
    """The header section, empty line included."""

    body: bytes | None
    """None: only the header section is returned."""


@frozen(kw_only=True)
class ReportedMessage:
    """The message that the report is about."""

    queue_id: str
    envid: str | None
    arrived_at: datetime
    returned: Returned
    smtputf8: bool
    release_request: str = ""
    deliver_by: datetime | None = None


_SUBJECTS: Final = {
    Action.FAILED: "Your message could not be delivered",
    Action.DELAYED: "Your message is delayed",
    Action.DELIVERED: "Your message was delivered",
    Action.RELAYED: "Your message was relayed",
}

_WHAT: Final = {
    Action.FAILED: (
        "Your message could not be delivered to the recipients below, and no "
        "further attempt will be made."
    ),
    Action.DELAYED: (
        "Your message has not yet been delivered to the recipients below. This "
        "server keeps trying; you need not send it again."
    ),
    Action.DELIVERED: "Your message was delivered to the recipients below.",
    Action.RELAYED: (
        "Your message was handed on to the servers of the recipients below, "
        "which do not confirm delivery."
    ),
}

_MAY_CONFIRM: Final = (
    "Your message was handed on to the servers of the recipients below, which may "
    "or may not confirm delivery."
)
_SENDERS_TIME: Final = "The time is over that you set for its delivery."

_ADVICE: Final = {
    (1, 1): "The address does not exist there. Check its spelling.",
    (1, 2): "The domain does not exist. Check the spelling behind the @.",
    (1, 10): "This domain takes no mail at all. Ask for another address.",
    (2, 1): "The mailbox is switched off. Reach the person in another way.",
    (2, 2): "The mailbox is full. Try again in some days, or call.",
    (2, 3): "The message is too large for this recipient. Send a link instead.",
    (3, 4): "The message is too large for that server. Send a link instead.",
    (4, 6): "The recipient's mail system sends mail in a circle. Tell its operator.",
    (4, 7): "The recipient's server could not be reached for too long.",
    (6, 3): "That server cannot take this form of message.",
    (6, 7): "That server cannot take addresses or headers with special characters.",
}

_ADVICE_BY_SUBJECT: Final = {
    1: "The address was not accepted. Check its spelling.",
    2: "The mailbox did not take the message.",
    3: "The recipient's mail system could not take the message.",
    4: "The recipient's server could not be reached.",
    5: "The recipient's server did not understand this one. Tell your administrator.",
    6: "The recipient's server objects to what the message contains.",
    7: (
        "The recipient's server refuses the message by its own rules. If its words "
        "do not help, ask the recipient to allow your address."
    ),
}


def delivery_report(
    reported: ReportedMessage,
    recipients: Sequence[ReportedRecipient],
    *,
    to: Mailbox,
    postmaster: str,
    hostname: str,
    report_id: str,
    now: datetime,
) -> tuple[bytes, bytes]:
    """Header section (with its empty line) and body of a report.

    All ``recipients`` have the same action. ``report_id`` is the report's own
    queue id: Message-ID and boundary are made of it.
    """
    action = recipients[0].action
    boundary = f"report-{report_id}"
    parts = (
        _explanation(recipients, hostname),
        _status(reported, recipients, hostname),
        _returned(reported),
    )
    body = b"".join(f"--{boundary}\r\n".encode() + part for part in parts)
    # RFC 2045 section 6.4: the whole says what the most demanding part needs.
    encoding = () if body.isascii() else ("Content-Transfer-Encoding: 8bit",)
    header = "\r\n".join(
        (
            f'From: "Mail delivery at {hostname}" <{postmaster}>',
            f"To: <{to}>",
            f"Subject: {_SUBJECTS[action]}",
            f"Date: {format_datetime(now)}",
            f"Message-ID: <{report_id}@{hostname}>",
            "Auto-Submitted: auto-replied",
            "MIME-Version: 1.0",
            *encoding,
            "Content-Type: multipart/report; report-type=delivery-status;",
            f'\tboundary="{boundary}"',
            "",
            "",
        )
    ).encode()
    return header, body + f"--{boundary}--\r\n".encode()


def _explanation(recipients: Sequence[ReportedRecipient], hostname: str) -> bytes:
    may_confirm = any(one.may_confirm for one in recipients)
    lines = [_MAY_CONFIRM if may_confirm else _WHAT[recipients[0].action], ""]
    for one in recipients:
        lines.append(f"  {one.forward_path.mailbox}")
        if one.action in (Action.FAILED, Action.DELAYED):
            who = f"{one.host} said" if one.is_reply else "The reason"
            lines.append(f"    {who}: {_one_line(one.diagnostic)}")
            advice = _SENDERS_TIME if one.is_senders_time else _advice(one.status)
            lines.append(f"    {advice}")
        if one.retry_until is not None:
            until = one.retry_until.strftime("%Y-%m-%d %H:%M UTC")
            lines.append(f"    This server will try until {until}.")
        lines.append("")
    lines += [f"-- The mail server {hostname}", ""]
    text = "\r\n".join(lines).encode()
    return (
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
        + _quoted_printable(text)
        + b"\r\n"
    )


def _quoted_printable(text: bytes) -> bytes:
    encoded = quopri.encodestring(text.replace(b"\r\n", b"\n"))
    return encoded.replace(b"\n", b"\r\n")


def _advice(status: EnhancedCode) -> str:
    return _ADVICE.get(
        (status.subject, status.detail),
        _ADVICE_BY_SUBJECT.get(
            status.subject, "The recipient's server gave no reason."
        ),
    )


def _status(
    reported: ReportedMessage, recipients: Sequence[ReportedRecipient], hostname: str
) -> bytes:
    """The machine's part (RFC 3464 section 2; RFC 6533 section 3)."""
    blocks = [
        [
            f"Reporting-MTA: dns; {hostname}",
            *(
                [f"Original-Envelope-Id: {_one_line(reported.envid)}"]
                if reported.envid is not None
                else []
            ),
            f"Arrival-Date: {format_datetime(reported.arrived_at)}",
            *_wished_for(reported),
        ]
    ]
    utf8 = reported.smtputf8 or not all(
        one.forward_path.mailbox.is_ascii for one in recipients
    )
    blocks.extend(_recipient_block(one, utf8=utf8) for one in recipients)
    octets = "".join("\r\n".join(block) + "\r\n\r\n" for block in blocks).encode()
    if octets.isascii():
        return b"Content-Type: message/delivery-status\r\n\r\n" + octets
    return (
        b"Content-Type: message/global-delivery-status; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: 8bit\r\n\r\n" + octets
    )


def _wished_for(reported: ReportedMessage) -> list[str]:
    """What the sender had asked for (RFC 2852 section 5, RFC 4865 section 5.1.2)."""
    lines = []
    if reported.deliver_by is not None:
        lines.append(f"Deliver-By-Date: {format_datetime(reported.deliver_by)}")
    if reported.release_request:
        lines.append(f"Future-Release-Request: {reported.release_request}")
    return lines


def _recipient_block(one: ReportedRecipient, *, utf8: bool) -> list[str]:
    """``utf8``: for readers who know RFC 6533; for others all of it is ASCII."""
    path = one.forward_path
    kind = "rfc822" if path.mailbox.is_ascii else "utf-8"
    block = []
    if path.orcpt is not None:
        original = _one_line(path.orcpt.address if utf8 else path.orcpt.in_ascii)
        block.append(f"Original-Recipient: {path.orcpt.address_type}; {original}")
    block += [
        f"Final-Recipient: {kind}; {path.mailbox}",
        f"Action: {one.action.value}",
        f"Status: {one.status}",
    ]
    if one.host:
        block.append(f"Remote-MTA: dns; {one.host}")
    if one.diagnostic:
        kind = "smtp" if one.is_reply else "X-submitd"
        words = one.diagnostic
        if not utf8:
            words = words.encode("ascii", "replace").decode()
        block.append(f"Diagnostic-Code: {kind}; {_folded(words)}")
    if one.attempted_at is not None:
        block.append(f"Last-Attempt-Date: {format_datetime(one.attempted_at)}")
    if one.retry_until is not None:
        block.append(f"Will-Retry-Until: {format_datetime(one.retry_until)}")
    return block


def _one_line(text: str) -> str:
    return "".join(one if one.isprintable() else "?" for one in text)


def _folded(text: str) -> str:
    """Long words of a remote host, on lines that every program reads."""
    words = _one_line(text).split(" ")
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) > 60:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return "\r\n ".join(line for line in lines if line)


def _returned(reported: ReportedMessage) -> bytes:
    """The message, or its header section, as it left us (RFC 6522 section 4)."""
    returned = reported.returned
    octets = returned.header + (returned.body or b"")
    plain_header = returned.header.isascii()
    if returned.body is not None:
        kind = "message/rfc822" if plain_header else "message/global"
    else:
        kind = "text/rfc822-headers" if plain_header else "message/global-headers"
    encoding = "7bit" if octets.isascii() else "8bit"
    end = b"" if octets.endswith(b"\r\n") else b"\r\n"
    return (
        f"Content-Type: {kind}\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n".encode()
        + octets
        + end
    )
