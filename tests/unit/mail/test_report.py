"""Reports as programs and people read them (RFC 3464, RFC 6522, RFC 6533)."""

import subprocess
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from submitd.mail.address import parse_mailbox
from submitd.mail.envelope import ForwardPath, OriginalRecipient
from submitd.mail.report import (
    Action,
    ReportedMessage,
    ReportedRecipient,
    Returned,
    delivery_report,
)
from submitd.mail.status import EnhancedCode

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
HEADER = b"From: alice@example.org\r\nSubject: hi\r\n\r\n"


def recipient(**changes: Any) -> ReportedRecipient:  # noqa: ANN401
    facts: dict[str, Any] = {
        "forward_path": ForwardPath(parse_mailbox("bob@example.net")),
        "action": Action.FAILED,
        "status": EnhancedCode(5, 1, 1),
        "diagnostic": "550 5.1.1 No such mailbox",
        "host": "mx.example.net",
        "attempted_at": NOW,
        "is_reply": True,
    }
    return ReportedRecipient(**(facts | changes))


def report(
    *recipients: ReportedRecipient,
    header: bytes = HEADER,
    body: bytes | None = b"text\r\n",
    envid: str | None = None,
    smtputf8: bool = False,
    **wishes: Any,  # noqa: ANN401
) -> bytes:
    return b"".join(
        delivery_report(
            ReportedMessage(
                queue_id="1CE",
                envid=envid,
                arrived_at=NOW - timedelta(hours=1),
                returned=Returned(header=header, body=body),
                smtputf8=smtputf8,
                **wishes,
            ),
            recipients or (recipient(),),
            to=parse_mailbox("alice@example.org"),
            postmaster="postmaster@example.org",
            hostname="submit.example.org",
            report_id="1CF",
            now=NOW,
        )
    )


def parsed(octets: bytes) -> EmailMessage:
    message = message_from_bytes(octets, policy=policy.SMTP)
    assert isinstance(message, EmailMessage)
    return message


def parts_of(octets: bytes) -> list[Any]:
    parts = parsed(octets).get_payload()
    assert isinstance(parts, list)
    return parts


@pytest.mark.rfc("6522", "3")
def test_a_report_has_three_parts() -> None:
    message = parsed(report())
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["To"] == "alice@example.org"
    assert [part.get_content_type() for part in parts_of(report())] == [
        "text/plain",
        "message/delivery-status",
        "message/rfc822",
    ]


@pytest.mark.rfc("3464", "2.3")
def test_the_machine_readable_part_names_what_happened() -> None:
    path = ForwardPath(
        parse_mailbox("bob@example.net"), None, OriginalRecipient("rfc822", "b@x.org")
    )
    octets = report(recipient(forward_path=path), envid="abc\x07")
    message, bob = parts_of(octets)[1].get_payload()
    assert message["Reporting-MTA"] == "dns; submit.example.org"
    assert message["Original-Envelope-Id"] == "abc?"
    assert message["Arrival-Date"] == "Sat, 31 Jan 2026 11:00:00 +0000"
    assert dict(bob.items()) == {
        "Original-Recipient": "rfc822; b@x.org",
        "Final-Recipient": "rfc822; bob@example.net",
        "Action": "failed",
        "Status": "5.1.1",
        "Remote-MTA": "dns; mx.example.net",
        "Diagnostic-Code": "smtp; 550 5.1.1 No such mailbox",
        "Last-Attempt-Date": "Sat, 31 Jan 2026 12:00:00 +0000",
    }


def test_a_person_reads_who_what_and_what_to_do() -> None:
    text = parts_of(report())[0].get_content()
    assert "could not be delivered" in text
    assert "bob@example.net" in text
    assert "mx.example.net said: 550 5.1.1 No such mailbox" in text
    assert "Check its spelling" in text


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (EnhancedCode(5, 2, 2), "The mailbox is full"),
        (EnhancedCode(5, 7, 26), "refuses the message by its own rules"),
        (EnhancedCode(5, 0, 0), "gave no reason"),
    ],
)
def test_each_class_of_failure_has_its_advice(
    status: EnhancedCode, advice: str
) -> None:
    assert advice in parts_of(report(recipient(status=status)))[0].get_content()


@pytest.mark.rfc("3464", "2.3.6")
def test_what_no_host_said_is_not_put_into_its_mouth() -> None:
    silent = recipient(
        diagnostic="no answer in 300 s", is_reply=False, status=EnhancedCode(5, 4, 7)
    )
    octets = report(silent)
    assert "The reason: no answer in 300 s" in parts_of(octets)[0].get_content()
    assert b"Diagnostic-Code: X-submitd; no answer in 300 s" in octets
    nobody = report(recipient(host="", diagnostic=""))
    assert b"Remote-MTA" not in nobody
    assert b"Diagnostic-Code" not in nobody


@pytest.mark.rfc("3464", "2.3.9")
def test_a_delay_says_until_when_it_will_be_tried() -> None:
    later = NOW + timedelta(days=4)
    octets = report(recipient(action=Action.DELAYED, retry_until=later), body=None)
    assert b"Action: delayed" in octets
    assert b"Will-Retry-Until: Wed, 04 Feb 2026 12:00:00 +0000" in octets
    assert "will try until 2026-02-04 12:00 UTC" in parts_of(octets)[0].get_content()
    assert parts_of(octets)[2].get_content_type() == "text/rfc822-headers"


def test_a_success_has_no_advice() -> None:
    octets = report(recipient(action=Action.RELAYED, diagnostic="250 ok"), body=None)
    assert "said" not in parts_of(octets)[0].get_content()
    assert b"Action: relayed" in octets


@pytest.mark.rfc("6533", "3")
def test_what_is_not_ascii_goes_in_its_own_kinds_of_parts() -> None:
    path = ForwardPath(parse_mailbox("žofie@example.net"))
    octets = report(
        recipient(forward_path=path), header="Subject: ž\r\n\r\n".encode(), body=b"x"
    )
    kinds = [part.get_content_type() for part in parts_of(octets)]
    assert kinds == ["text/plain", "message/global-delivery-status", "message/global"]
    assert "Final-Recipient: utf-8; žofie@example.net".encode() in octets
    only = report(header="Subject: ž\r\n\r\n".encode(), body=None)
    assert parts_of(only)[2].get_content_type() == "message/global-headers"


def test_long_words_of_a_host_are_folded_and_cannot_break_out() -> None:
    words = "550 " + "go away " * 40 + "\r\nStatus: 2.0.0"
    octets = report(recipient(diagnostic=words))
    assert octets.count(b"\nStatus:") == 1
    assert max(len(line) for line in octets.split(b"\r\n")) <= 100


@pytest.mark.peers("sisimai")
@pytest.mark.rfc("3464", "2")
def test_sisimai_reads_it_as_a_bounce(tmp_path: Path) -> None:
    """What mailing lists and newsletters use to learn of dead addresses."""
    mailbox = tmp_path / "bounce.eml"
    mailbox.write_bytes(b"From MAILER-DAEMON Sat Jan 31 12:00:00 2026\n" + report())
    script = (
        "my $r = Sisimai->make($ARGV[0]); print join(' ', "
        "$$r[0]->recipient->address, $$r[0]->deliverystatus, $$r[0]->reason)"
    )
    said = subprocess.run(
        ["perl", "-MSisimai", "-e", script, str(mailbox)],
        capture_output=True,
        check=True,
    ).stdout
    assert said == b"bob@example.net 5.1.1 userunknown"


@pytest.mark.rfc("6533", "3")
def test_words_of_a_host_in_utf8_make_no_report_for_readers_who_know_it() -> None:
    """Else it could not be sent to a host without 8BITMIME, and nobody would hear."""
    octets = report(recipient(diagnostic="550 5.1.1 Empfänger unbekannt"))
    assert octets.isascii()
    assert b"Diagnostic-Code: smtp; 550 5.1.1 Empf?nger unbekannt" in octets
    assert "Empfänger unbekannt" in parts_of(octets)[0].get_content()


@pytest.mark.rfc("2045", "6.4")
def test_a_report_that_returns_8_bit_content_says_so() -> None:
    assert b"\r\nContent-Transfer-Encoding: 8bit\r\n" in report(body="ä\r\n".encode())
    assert b"Content-Transfer-Encoding: 8bit" not in report()


@pytest.mark.rfc("4865", "5.1.2")
@pytest.mark.rfc("2852", "5")
def test_a_report_tells_when_the_message_was_to_go_and_to_arrive() -> None:
    message, _ = parts_of(
        report(release_request="for;3600", deliver_by=NOW + timedelta(hours=1))
    )[1].get_payload()
    assert message["Future-Release-Request"] == "for;3600"
    assert message["Deliver-By-Date"] == "Sat, 31 Jan 2026 13:00:00 +0000"
    assert message["Arrival-Date"] == "Sat, 31 Jan 2026 11:00:00 +0000"


@pytest.mark.rfc("6533", "3")
def test_an_original_recipient_in_utf8_is_escaped_for_who_knows_none() -> None:
    path = ForwardPath(
        parse_mailbox("bob@example.net"), None, OriginalRecipient("UTF-8", "bøb@x.org")
    )
    (status,) = [
        part
        for part in parts_of(report(recipient(forward_path=path)))
        if part.get_content_type() == "message/delivery-status"
    ]
    assert status.get_payload()[1]["Original-Recipient"] == r"UTF-8; b\x{F8}b@x.org"


@pytest.mark.rfc("6533", "3")
def test_an_original_recipient_in_utf8_stands_as_it_is_for_who_asked_so() -> None:
    path = ForwardPath(
        parse_mailbox("bob@example.net"), None, OriginalRecipient("utf-8", "bøb@x.org")
    )
    octets = report(recipient(forward_path=path), smtputf8=True)
    assert parts_of(octets)[1].get_content_type() == "message/global-delivery-status"
    assert "Original-Recipient: utf-8; bøb@x.org\r\n".encode() in octets


@pytest.mark.rfc("3464", "2.3.7")
def test_where_nothing_was_tried_no_attempt_is_dated() -> None:
    assert b"Last-Attempt-Date" in report()
    assert b"Last-Attempt-Date" not in report(recipient(attempted_at=None))


@pytest.mark.parametrize(
    ("is_senders_time", "words"),
    [(True, "that you set"), (False, "could not be reached for too long")],
)
def test_whose_time_is_over_is_said(is_senders_time: bool, words: str) -> None:
    late = recipient(status=EnhancedCode(5, 4, 7), is_senders_time=is_senders_time)
    assert words in parts_of(report(late))[0].get_content()


@pytest.mark.parametrize(
    ("may_confirm", "words"),
    [(True, "which may or may not confirm"), (False, "which do not confirm")],
)
def test_of_a_host_that_was_asked_to_confirm_nobody_says_that_it_does_not(
    may_confirm: bool, words: str
) -> None:
    relayed = recipient(action=Action.RELAYED, may_confirm=may_confirm)
    text = parts_of(report(relayed))[0].get_content()
    assert words in " ".join(text.split())
