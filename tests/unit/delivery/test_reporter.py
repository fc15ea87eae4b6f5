"""Who hears what, and how the report is sent."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred

from submitd.delivery.reporter import Reporter, ReportRules
from submitd.mail.address import parse_mailbox
from submitd.mail.envelope import (
    ByMode,
    DeliverBy,
    Envelope,
    ForwardPath,
    Notify,
    Ret,
    TlsDemand,
)
from submitd.mail.report import Action, ReportedRecipient
from submitd.mail.status import EnhancedCode
from submitd.observe.metrics import Metrics
from submitd.spool.store import Needs, Report, Spooled
from tests.support.recorded_events import RecordedEvents

NOW: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
BOB: Final = ForwardPath(parse_mailbox("bob@example.net"))


def message(**wishes: Any) -> Spooled:  # noqa: ANN401
    facts: dict[str, Any] = {
        "reverse_path": parse_mailbox("alice@example.org"),
        "forward_paths": (BOB,),
        "accepted_at": NOW,
    }
    return Spooled(
        queue_id="q",
        envelope=Envelope(**(facts | wishes)),
        needs=Needs(),
        submitter="alice",
        session="s",
        header_size=14,
        body_size=6,
        recipients=(),
        header=b"Subject: x\r\n\r\n",
        body=(b"text\r\n",),
    )


def news(action: Action, notify: Notify | None = None, **facts: Any) -> Any:  # noqa: ANN401
    return ReportedRecipient(
        forward_path=evolve(BOB, notify=notify),
        action=action,
        status=EnhancedCode(2 if action is Action.RELAYED else 5, 0, 0),
        diagnostic="said",
        host="mx",
        attempted_at=NOW,
        **facts,
    )


class _Names:
    def new_queue_id(self) -> str:
        return "report-1"


def reporter() -> Reporter:
    return Reporter(
        _Names(),  # type: ignore[arg-type]
        ReportRules(
            hostname="submit.example.org",
            postmaster="postmaster@example.org",
            returned_content=1000,
        ),
        lambda header, *_: header,
        RecordedEvents(),
        Metrics(),
    )


def reports(spooled: Spooled, *about: ReportedRecipient) -> list[Report]:
    making = Deferred.fromCoroutine(reporter().reports(spooled, about, NOW))
    made: list[Report] = making.result  # type: ignore[assignment]
    return made


@pytest.mark.rfc("2852", "4.1.4")
@pytest.mark.parametrize(
    ("notify", "is_owed", "is_wanted"),
    [
        (None, False, False),
        (None, True, True),
        (Notify.FAILURE, True, True),
        (Notify.NEVER, True, False),
        (Notify.SUCCESS, False, True),
    ],
)
def test_what_is_owed_is_told_to_all_but_who_wants_to_hear_nothing(
    notify: Notify | None, is_owed: bool, is_wanted: bool
) -> None:
    about = evolve(BOB, notify=notify), Action.RELAYED
    asked = reporter().is_wanted
    assert asked(message(), *about, is_owed=is_owed) is is_wanted
    assert not asked(message(reverse_path=None), *about, is_owed=is_owed)
    news_of_it = news(Action.RELAYED, notify, is_owed=is_owed)
    assert len(reports(message(), news_of_it)) == is_wanted


@pytest.mark.rfc("6710", "4.6")
@pytest.mark.rfc("3461", "6.1")
def test_a_report_is_as_urgent_as_its_message() -> None:
    wished = message(
        priority=4,
        ret=Ret.FULL,
        envid="e",
        release_request="for;60",
        deliver_by=DeliverBy(NOW + timedelta(hours=1), ByMode.NOTIFY),
    )
    (report,) = reports(wished, news(Action.FAILED))
    envelope = report.message.envelope
    assert envelope.priority == 4
    # Of the wishes of its message a report has no other.
    assert (envelope.ret, envelope.envid, envelope.deliver_by) == (None, None, None)
    assert envelope.release_at is None
    assert envelope.forward_paths[0].notify is Notify.NEVER
    assert b"Future-Release-Request: for;60\r\n" in report.body
    assert b"Deliver-By-Date: Sat, 31 Jan 2026 13:00:00 +0000\r\n" in report.body


@pytest.mark.rfc("8689", "5")
@pytest.mark.parametrize(
    ("demand", "is_whole"),
    [(None, True), (TlsDemand.OPTIONAL, True), (TlsDemand.REQUIRED, False)],
)
def test_what_needs_tls_is_not_returned_and_its_report_needs_it_too(
    demand: TlsDemand | None, is_whole: bool
) -> None:
    (report,) = reports(message(tls_demand=demand, ret=Ret.FULL), news(Action.FAILED))
    assert report.message.envelope.tls_demand is demand
    assert (b"text\r\n" in report.body) is is_whole
