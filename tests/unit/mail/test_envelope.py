from datetime import UTC, datetime
from typing import Any

import pytest

from submitd.mail.address import parse_mailbox
from submitd.mail.envelope import Envelope, ForwardPath, Notify

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
