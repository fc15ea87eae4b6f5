"""Held mail: who is told, by messages of ours that are signed."""

import quopri
import subprocess
from datetime import UTC, datetime
from itertools import count

import pytest
from attrs import evolve

from submitd.auth.submitter import (
    Anything,
    Exactly,
    Grant,
    Permission,
    Submitter,
    WholeDomain,
)
from submitd.delivery.notices import HoldNotices
from submitd.delivery.reporter import ReportRules
from submitd.mail.address import Mailbox, parse_mailbox
from submitd.mail.envelope import Envelope, ForwardPath
from submitd.mail.usage import Stored
from submitd.spool.store import Needs, NewMessage, Reminder

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
NUMBERS = count(1)

NOTICES = HoldNotices(
    lambda: f"N{next(NUMBERS)}",
    ReportRules(
        hostname="submit.example.org",
        postmaster="postmaster@example.org",
        returned_content=0,
    ),
    lambda header, _body, _at: b"DKIM-Signature: x\r\n" + header,
)


def held(sender: Mailbox | None) -> NewMessage:
    return NewMessage(
        queue_id="HELD",
        envelope=Envelope(
            reverse_path=sender,
            forward_paths=(ForwardPath(parse_mailbox("bob@example.net")),),
            accepted_at=NOW,
        ),
        header=b"",
        needs=Needs(),
        submitter="alice",
        session="s1",
    )


def who(*addresses: str) -> Submitter:
    grants = [Exactly(parse_mailbox(one)) for one in addresses]
    return Submitter("al ice", tuple(Permission(one, "r", "s") for one in grants))


def test_the_submitter_and_the_postmaster_are_told() -> None:
    sender = parse_mailbox("shop@example.org")
    made = NOTICES.make(held(sender), who("alice@example.org"), "too much")
    to_sender, to_postmaster = made.reports
    assert made.told == parse_mailbox("alice@example.org")
    for one in (to_sender, to_postmaster):
        assert one.message.envelope.reverse_path is None
        assert one.message.header.startswith(b"DKIM-Signature: x\r\n")
        assert one.message.submitter is None
        assert one.message.session == "HELD"
        assert b"too much" in one.body
    assert to_sender.message.queue_id != to_postmaster.message.queue_id
    assert b"\r\nTo: <alice@example.org>\r\n" in to_sender.message.header
    assert b"\r\nTo: <postmaster@example.org>\r\n" in to_postmaster.message.header
    assert b"--login=3D'al ice'" in to_postmaster.body


def test_an_address_of_their_own_may_be_any() -> None:
    own = parse_mailbox("älice@example.org")
    to_sender, _ = NOTICES.make(held(None), who(str(own)), "too much").reports
    (path,) = to_sender.message.envelope.forward_paths
    assert path.mailbox == own
    assert to_sender.message.envelope.smtputf8
    assert to_sender.message.needs.smtputf8


def granted(grant: Grant) -> Submitter:
    return Submitter("alice", (Permission(grant, "r", "s"),))


def test_who_has_no_address_is_told_where_their_mail_says_if_it_is_theirs() -> None:
    """Not anybody whom a thief may name: that would be backscatter."""
    theirs = granted(WholeDomain("example.org"))
    sender = parse_mailbox("shop@example.org")
    assert NOTICES.make(held(sender), theirs, "too much").told == sender
    for whose, reverse_path in (
        (theirs, None),
        (theirs, parse_mailbox("somebody@example.net")),
        (granted(Anything()), sender),
    ):
        made = NOTICES.make(held(reverse_path), whose, "too much")
        assert made.told is None
        (only,) = made.reports
        assert b"\r\nTo: <postmaster@example.org>\r\n" in only.message.header


def test_a_day_later_the_same_are_told_again() -> None:
    due = Reminder(
        login="al ice",
        told=parse_mailbox("alice@example.org"),
        told_at=NOW,
        held=Stored(3, 4_500),
    )
    to_sender, to_postmaster = NOTICES.remind(due, NOW)
    assert b"\r\nTo: <alice@example.org>\r\n" in to_sender.message.header
    assert b"3 messages, 5 kB" in to_sender.body
    assert b"--login=3D'al ice'" in to_postmaster.body
    assert to_postmaster.message.session == "reminder"
    (only,) = NOTICES.remind(evolve(due, told=None, held=Stored(1, 10)), NOW)
    assert b"mail of al ice: 1 message, 1 kB" in only.body


@pytest.mark.parametrize(
    "login", ["alice", "-x", "o'hara söhne", "a\nb", "x\n    submitctl", "\\n'\r\t;ä"]
)
def test_a_shell_takes_the_commands_whatever_the_login_is(login: str) -> None:
    *_, notice = NOTICES.make(held(None), Submitter(login, ()), "too much").reports
    lines = quopri.decodestring(notice.body).decode().splitlines()
    commands = [one for one in lines if one.startswith("    ")]
    said = subprocess.run(
        [
            "bash",
            "-c",
            "submitctl() { printf '%s\\0' \"$@\"; }\n" + "\n".join(commands),
        ],
        check=True,
        capture_output=True,
    ).stdout.decode()
    assert said.split("\0") == [
        *("queue", "list", "--held", f"--login={login}"),
        *("quota", "show", "--", login),
        *("queue", "release", f"--login={login}"),
        *("queue", "remove", "--held", f"--login={login}"),
        "",
    ]
