"""Notices of held mail, as their readers get them."""

from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage

from attrs import evolve

from submitd.mail.address import parse_mailbox
from submitd.mail.notice import HeldMail, notice, to_postmaster, to_submitter

HELD = HeldMail(
    queue_id="0123456789AB",
    login="alice",
    login_quoted="alice",
    reason="The limit is 100 messages an hour, and 100 are used",
    recipients=3,
    sender=parse_mailbox("alice@example.org"),
    session="s1",
)
NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def made(subject: str, lines: tuple[str, ...], to: str) -> EmailMessage:
    header, body = notice(
        subject,
        lines,
        to=parse_mailbox(to),
        postmaster="postmaster@example.org",
        hostname="submit.example.org",
        notice_id="ABCDEFGHJKMN",
        now=NOW,
    )
    assert b"\n" not in (header + body).replace(b"\r\n", b"")
    assert body.isascii()
    return message_from_bytes(header + body, policy=policy.default)


def test_a_submitter_is_told_why_and_what_to_do() -> None:
    found = made(*to_submitter(HELD, "submit.example.org"), "alice@example.org")
    assert found["To"] == "alice@example.org"
    assert found["From"].addresses[0].addr_spec == "postmaster@example.org"
    assert found["Auto-Submitted"] == "auto-generated"
    assert found["Message-ID"] == "<ABCDEFGHJKMN@submit.example.org>"
    text = found.get_content()
    assert HELD.reason in text
    assert "need not send it again" in text
    assert "0123456789AB" in text
    assert "submitctl" not in text


def test_a_postmaster_is_told_the_commands() -> None:
    login = "o'hara söhne"
    held = evolve(HELD, login=login, login_quoted="'o'\"'\"'hara söhne'", sender=None)
    subject, lines = to_postmaster(held, "submit.example.org")
    found = made(subject, lines, "postmaster@example.org")
    assert found["Subject"] == f"Mail of {login} is held"
    text = found.get_content().replace("\r\n", "\n")
    assert "submitctl queue release --login='o'\"'\"'hara söhne'\n" in text
    assert "submitctl queue list --held --login='o'" in text
    assert "from <>\nto 3 recipients" in text


def test_a_long_name_in_the_subject_is_folded() -> None:
    held = evolve(HELD, login="ä" * 200)
    subject, lines = to_postmaster(held, "submit.example.org")
    header, _ = notice(
        subject,
        lines,
        to=parse_mailbox("a@example.org"),
        postmaster="p@example.org",
        hostname="h.example.org",
        notice_id="A",
        now=NOW,
    )
    assert max(map(len, header.split(b"\r\n"))) <= 78
