from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from submitd.mail.address import parse_mailbox
from submitd.mail.envelope import Envelope, ForwardPath, Notify, OriginalRecipient

BOB = parse_mailbox("bob@example.net")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _envelope(**changes: Any) -> Envelope:  # noqa: ANN401
    facts: dict[str, Any] = {
        "reverse_path": None,
        "forward_paths": (ForwardPath(BOB),),
        "accepted_at": NOW,
    }
    return Envelope(**(facts | changes))


@pytest.mark.rfc("3461", "4.1")
@pytest.mark.parametrize(
    ("notify", "wanted"),
    [
        (None, Notify.FAILURE | Notify.DELAY),
        (Notify.NEVER, Notify.NEVER),
        (Notify.SUCCESS, Notify.SUCCESS),
        (Notify.FAILURE | Notify.DELAY, Notify.FAILURE | Notify.DELAY),
    ],
)
def test_a_recipient_is_reported_on_as_the_sender_wishes(
    notify: Notify | None, wanted: Notify
) -> None:
    forward_path = ForwardPath(BOB, notify)

    for event in (Notify.SUCCESS, Notify.FAILURE, Notify.DELAY):
        assert forward_path.wants(event) == (event in wanted)


@pytest.mark.rfc("5321", "6.1")
def test_a_message_from_nobody_is_a_report() -> None:
    """Its failure must be dropped, or two hosts report to each other for ever."""
    assert _envelope().is_report
    assert not _envelope(reverse_path=BOB).is_report


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"forward_paths": ()}, "forward_paths"),
        ({"declared_size": -1}, "declared_size"),
        ({"accepted_at": NOW.replace(tzinfo=None)}, "time zone"),
    ],
)
def test_an_envelope_that_exists_is_valid(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        _envelope(**changes)


@pytest.mark.rfc("4865", "4.2")
def test_what_is_to_be_sent_later_is_no_older_than_that() -> None:
    later = NOW + timedelta(hours=1)
    assert _envelope().sent_from == NOW
    assert _envelope(release_at=later).sent_from == later
    # The content took longer to come than the message was to be held.
    assert _envelope(release_at=NOW - timedelta(seconds=1)).sent_from == NOW


@pytest.mark.parametrize("priority", [-10, 10])
def test_a_priority_has_one_digit(priority: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        _envelope(priority=priority)


@pytest.mark.rfc("6533", "3")
@pytest.mark.parametrize(
    ("kind", "address", "written"),
    [
        ("utf-8", "jürgen+a=b\\@x.org", r"j\x{FC}rgen\x{2B}a\x{3D}b\x{5C}@x.org"),
        ("rfc822", "a+b@x.org", "a+b@x.org"),
    ],
)
def test_an_original_recipient_has_a_form_in_ascii(
    kind: str, address: str, written: str
) -> None:
    assert OriginalRecipient(kind, address).in_ascii == written
