"""Whose name a message carries: a header section, read strictly or refused."""

from datetime import UTC, datetime

from submitd.mail.address import Mailbox
from submitd.mail.message import HeaderSection, MalformedHeader
from submitd.policy.content import (
    Authors,
    UnreadableAddresses,
    read_authors,
    read_mailboxes,
)
from submitd.policy.repair import repair, rewrite_from
from submitd.smtp.reply import Reply

_NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
_OWN = Mailbox("alice", "example.org")


def one_input(octets: bytes) -> None:
    """``octets`` as a header section, and as the value of one From field."""
    for utf8 in (False, True):
        try:
            mailboxes = read_mailboxes(octets, smtputf8=utf8)
        except UnreadableAddresses:
            pass
        else:
            # Without its backslashes a local part may look like an encoded word;
            # nobody may use it whose rules do not give them exactly this one.
            if any("=?" in one.local_part for one in mailboxes):
                continue
            plain = ", ".join(f"<{one}>" for one in mailboxes).encode()
            assert read_mailboxes(plain, smtputf8=utf8) == mailboxes
    try:
        section = HeaderSection.parse(octets)
    except MalformedHeader:
        return
    for utf8 in (False, True):
        authors = read_authors(section, smtputf8=utf8)
        if isinstance(authors, Reply):
            assert authors.code == 550
            authors.encode()
        else:
            _check(section, authors, utf8=utf8)


def _check(section: HeaderSection, authors: Authors, *, utf8: bool) -> None:
    """What leaves us says the same as what was checked."""
    mended = repair(section, now=_NOW, message_id="a@example.org")
    again = HeaderSection.parse(mended.octets)
    assert read_authors(again, smtputf8=utf8) == authors
    changed = HeaderSection.parse(rewrite_from(section, _OWN).octets)
    read = read_authors(changed, smtputf8=utf8)
    assert isinstance(read, Authors)
    assert read.authors == (_OWN,)
