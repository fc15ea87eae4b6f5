"""What a message's own header section says of how it is to travel."""

from typing import Any, Final

import pytest
from twisted.internet.defer import Deferred

from submitd.auth.submitter import Anything, Exactly, Permission, Submitter
from submitd.mail.address import parse_mailbox
from submitd.mail.envelope import Body, ForwardPath, SubmittedBy, TlsDemand
from submitd.mail.trace import Origin
from submitd.server.desk import _vouched_for
from submitd.server.intake import ContentIntake, ContentRules
from submitd.smtp.event import SenderOffered
from submitd.spool.store import NewMessage, Spooled
from tests.support.awaited import awaited
from tests.support.recorded_events import RecordedEvents

ALICE: Final = parse_mailbox("alice@example.org")
EVE: Final = parse_mailbox("eve@example.org")


class _Upload:
    queue_id = "q"

    def __init__(self) -> None:
        self.message: NewMessage | None = None
        self.is_abandoned = False

    async def accept(self, message: NewMessage, tail: bytes) -> Spooled | None:  # noqa: ARG002
        self.message = message
        return None

    async def abandon(self) -> None:
        self.is_abandoned = True


class _Broken:
    """An allowance with a fault."""

    async def accept(self, *_: object) -> Spooled:
        raise ValueError("a notice could not be made")


def content_for(
    upload: _Upload,
    allowance: _Broken | None = None,
    **wishes: Any,  # noqa: ANN401
) -> ContentIntake:
    return ContentIntake(
        ContentRules(
            hostname="submit.example.org",
            message_id_domain="example.org",
            header_size=None,
            received_fields=None,
            rewrite_foreign_from=False,
            signers={},
            sign_or_refuse=False,
        ),
        upload,  # type: ignore[arg-type]
        who=Submitter("alice", (Permission(Anything(), "all", "test"),)),
        session="s",
        sender=SenderOffered(ALICE, Body.SEVEN_BIT, False, None, None, None, **wishes),
        reverse_path=ALICE,
        forward_paths=(ForwardPath(parse_mailbox("bob@example.net")),),
        origin=Origin(
            client_name=None,
            client_address=None,
            esmtp=True,
            authenticated=True,
            smtputf8=False,
            tls=None,
        ),
        events=RecordedEvents(),
        allowance=allowance,  # type: ignore[arg-type]
    )


def accepted(header: str, **wishes: Any) -> NewMessage:  # noqa: ANN401
    """What enters the spool of such a message."""
    upload = _Upload()
    content = content_for(upload, **wishes)
    text = f"From: alice@example.org\r\n{header}\r\ntext\r\n"
    assert content.feed(text.encode()) is None
    Deferred.fromCoroutine(content.finish())
    assert not upload.is_abandoned
    assert upload.message is not None
    return upload.message


def test_after_a_fault_nothing_is_left_of_the_content() -> None:
    """Its chunks would take room on disk until a restart."""
    upload = _Upload()
    content = content_for(upload, _Broken())
    assert content.feed(b"From: alice@example.org\r\n\r\ntext\r\n") is None
    with pytest.raises(ValueError, match="a notice"):
        awaited(content.finish())
    assert upload.is_abandoned


@pytest.mark.rfc("8689", "4.1")
@pytest.mark.parametrize(
    ("header", "demand"),
    [
        ("TLS-Required: No\r\n", TlsDemand.OPTIONAL),
        ("tls-required:\r\n no\r\n", TlsDemand.OPTIONAL),
        ("TLS-Required: yes\r\nTLS-Required: no\r\n", TlsDemand.OPTIONAL),
        ("TLS-Required: yes\r\n", None),
        ("TLS-Required: no thanks\r\n", None),
        ("", None),
    ],
)
def test_a_field_tells_that_tls_is_not_required(
    header: str, demand: TlsDemand | None
) -> None:
    message = accepted(header)
    assert message.envelope.tls_demand is demand
    # The field itself goes on: other hosts obey it, too.
    assert header.encode() in message.header


@pytest.mark.rfc("8689", "4.1")
def test_requiretls_outweighs_the_field() -> None:
    message = accepted("TLS-Required: No\r\n", tls_demand=TlsDemand.REQUIRED)
    assert message.envelope.tls_demand is TlsDemand.REQUIRED


@pytest.mark.rfc("4954", "5")
@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (None, None),
        (SubmittedBy(None), SubmittedBy(None)),
        (SubmittedBy(ALICE), SubmittedBy(ALICE)),
        (SubmittedBy(EVE), SubmittedBy(None)),
    ],
)
def test_who_submitted_it_is_believed_of_ones_own_mailboxes(
    said: SubmittedBy | None, kept: SubmittedBy | None
) -> None:
    alice = Submitter("alice", (Permission(Exactly(ALICE), "own", "test"),))
    offered = SenderOffered(
        ALICE, Body.SEVEN_BIT, False, None, None, None, submitted_by=said
    )
    assert _vouched_for(alice, offered).submitted_by == kept
