from datetime import UTC, datetime

import pytest

from submitd.mail.address import parse_mailbox
from submitd.mail.message import HeaderSection
from submitd.policy.repair import repair, rewrite_from

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
WHOLE = (
    b"Received: by  somebody;\r\n\tSat, 31 Jan 2026 11:59:59 +0000\r\n"
    b"date:   Sat, 31 Jan 2026 12:00:00 +0100 (CET)\r\n"
    b"MESSAGE-ID : <1@example.org>\r\n"
    b"From: alice@example.org\r\n"
    b"X-Odd:\ttrailing space \r\n"
)


def repaired(octets: bytes) -> bytes:
    section = HeaderSection.parse(octets)
    return repair(section, now=NOW, message_id="7F@submit.example.org").octets


@pytest.mark.rfc("6409", "8")
def test_a_whole_header_section_stays_octet_for_octet() -> None:
    section = HeaderSection.parse(WHOLE)

    assert repair(section, now=NOW, message_id="unused@example.org") is section
    assert section.octets == WHOLE


@pytest.mark.rfc("6409", "8.2")
@pytest.mark.rfc("6409", "8.3")
def test_date_and_message_id_are_added_where_they_are_missing() -> None:
    assert repaired(b"From: alice@example.org\r\n") == (
        b"From: alice@example.org\r\n"
        b"Date: Sat, 31 Jan 2026 12:00:00 +0000\r\n"
        b"Message-ID: <7F@submit.example.org>\r\n"
    )


@pytest.mark.rfc("5322", "3.6.3")
def test_blind_copies_and_return_paths_are_taken_out_with_all_their_lines() -> None:
    assert (
        repaired(
            b"Return-Path: <x@example.org>\r\n"
            b"Bcc: bob@example.org,\r\n carol@example.org\r\n"
            b"bcc: dave@example.org\r\n"
            b"Resent-Bcc: erin@example.org\r\n" + WHOLE
        )
        == WHOLE
    )


def rewritten(octets: bytes) -> bytes:
    own = parse_mailbox("alice@example.org")
    return rewrite_from(HeaderSection.parse(octets), own).octets


def test_a_foreign_author_is_kept_readable_and_gets_the_answers() -> None:
    assert rewritten(
        b"From: Bob\r\n <bob@example.net>\r\nSender: x@example.net\r\nSubject: s\r\n"
    ) == (
        b"Subject: s\r\n"
        b"From: alice@example.org\r\n"
        b"X-Original-From: Bob\r\n <bob@example.net>\r\n"
        b"Reply-To: Bob\r\n <bob@example.net>\r\n"
    )


def test_a_reply_to_that_is_there_stays_alone() -> None:
    assert rewritten(b"Reply-To: list@example.org\r\nFrom: bob@example.net\r\n") == (
        b"Reply-To: list@example.org\r\n"
        b"From: alice@example.org\r\n"
        b"X-Original-From: bob@example.net\r\n"
    )
