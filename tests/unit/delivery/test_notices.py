"""Held mail: who is told, by messages of ours that are signed."""

from datetime import UTC, datetime
from itertools import count

from submitd.auth.submitter import Exactly, Permission, Submitter
from submitd.delivery.notices import HoldNotices
from submitd.delivery.reporter import ReportRules
from submitd.mail.address import Mailbox, parse_mailbox
from submitd.mail.envelope import Envelope, ForwardPath
from submitd.spool.store import Needs, NewMessage

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


def test_the_sender_and_the_postmaster_are_told() -> None:
    sender = parse_mailbox("alice@example.org")
    to_sender, to_postmaster = NOTICES.make(held(sender), who(), "too much")
    for one in (to_sender, to_postmaster):
        assert one.message.envelope.reverse_path is None
        assert one.message.header.startswith(b"DKIM-Signature: x\r\n")
        assert one.message.submitter is None
        assert one.message.session == "HELD"
        assert b"too much" in one.body
    assert to_sender.message.queue_id != to_postmaster.message.queue_id
    assert b"\r\nTo: <alice@example.org>\r\n" in to_sender.message.header
    assert b"\r\nTo: <postmaster@example.org>\r\n" in to_postmaster.message.header
    assert b"--sender 'al ice'" in to_postmaster.body


def test_who_sends_from_nobody_is_told_at_their_own_address() -> None:
    own = parse_mailbox("älice@example.org")
    to_sender, _ = NOTICES.make(held(None), who(str(own)), "too much")
    (path,) = to_sender.message.envelope.forward_paths
    assert path.mailbox == own
    assert to_sender.message.envelope.smtputf8
    assert to_sender.message.needs.smtputf8
    (only,) = NOTICES.make(held(None), who(), "too much")
    assert b"\r\nTo: <postmaster@example.org>\r\n" in only.message.header
