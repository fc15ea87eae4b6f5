"""What the parameters of MAIL brought: kept, and obeyed in the order of claims."""

import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from submitd.mail.address import parse_mailbox
from submitd.mail.envelope import (
    ByMode,
    DeliverBy,
    ForwardPath,
    SubmittedBy,
    TlsDemand,
)
from submitd.spool.rows import envelope_text, read_envelope
from submitd.spool.sqlite import DATABASE
from submitd.spool.statements import DUE_OF_PRIORITY, HIGHEST_BELOW
from submitd.spool.store import State, Wanted
from tests.support.in_reactor import in_reactor
from tests.support.spooling import LATER, NOW, Spooling, message, result

HOUR = timedelta(hours=1)
BOB = ForwardPath(parse_mailbox("bob@example.net"))


@in_reactor
async def test_every_wish_is_read_back_as_it_was(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        accepted = await s.accept(
            release_at=NOW,
            release_request="until;2026-01-31T12:00:00Z",
            deliver_by=DeliverBy(LATER, ByMode.NOTIFY, trace=True, was_over=True),
            priority=-4,
            tls_demand=TlsDemand.OPTIONAL,
            submitted_by=SubmittedBy(parse_mailbox("jürgen@example.org")),
        )
        s.opened.release_owner("owner-1")
        (claimed,) = await s.spool.claim_due(LATER, 10)
        assert claimed.envelope == accepted.envelope


@in_reactor
async def test_a_plain_message_has_nothing_beside_its_columns(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        plain = message(s.spool.open_intake())
        nobody = message(s.spool.open_intake(), submitted_by=SubmittedBy(None))
        assert envelope_text(plain.envelope) == ""
        assert envelope_text(nobody.envelope) == '{"submitted_by": [""]}'


def test_an_envelope_of_an_older_version_wishes_for_nothing() -> None:
    text = '{"body": "8BITMIME", "smtputf8": false, "ret": null, "envid": "e"}'
    envelope = read_envelope(
        text, reverse_path=None, forward_paths=(BOB,), accepted_at=1, release_at=None
    )
    assert envelope.envid == "e"
    assert (envelope.priority, envelope.deliver_by, envelope.ret) == (0, None, None)
    assert (envelope.tls_demand, envelope.submitted_by) == (None, None)


@in_reactor
async def test_what_was_not_attempted_leaves_the_last_attempt_as_it_was(
    tmp_path: Path,
) -> None:
    async with Spooling(tmp_path) as s:
        accepted = await s.accept()
        later = LATER + timedelta(seconds=1)
        for moment, is_attempt in ((NOW, True), (LATER, False)):
            tried = result(
                state=State.QUEUED, at=moment, due_at=moment, is_attempt=is_attempt
            )
            await s.spool.record(accepted.queue_id, [tried])
            (claimed,) = await s.spool.claim_due(later, 10)
            (one,) = claimed.recipients
            assert (one.last_attempt_at, one.attempts) == (NOW, 1)


# FUTURERELEASE


@pytest.mark.rfc("4865", "4.2")
@in_reactor
async def test_a_message_for_later_is_claimed_then_and_not_before(
    tmp_path: Path,
) -> None:
    async with Spooling(tmp_path) as s:
        accepted = await s.accept(release_at=NOW + HOUR)
        assert accepted.recipients == ()
        assert await s.spool.claim_due(NOW + HOUR - timedelta(seconds=1), 10) == []
        (claimed,) = await s.spool.claim_due(NOW + HOUR, 10)
        assert claimed.queue_id == accepted.queue_id
        assert claimed.envelope.release_at == NOW + HOUR
        assert await s.spool.record(claimed.queue_id, [result()]) == []


@in_reactor
async def test_a_retry_does_not_send_before_the_time(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        later = (await s.accept(release_at=NOW + HOUR)).queue_id
        assert s.store.retry([later], NOW) == 1
        assert await s.spool.claim_due(NOW, 10) == []
        # Afterwards it is as with any other message.
        assert s.store.retry([later], NOW + 2 * HOUR) == 1
        assert await s.spool.claim_due(NOW + HOUR, 10) == []
        assert len(await s.spool.claim_due(NOW + 2 * HOUR, 10)) == 1


@in_reactor
async def test_an_operator_may_send_before_the_time(tmp_path: Path) -> None:
    """The age of the message counts from then."""
    async with Spooling(tmp_path) as s:
        later = (await s.accept(release_at=NOW + HOUR)).queue_id
        at_once = (await s.accept()).queue_id
        assert s.store.release_early([later, at_once], NOW) == 1
        (claimed,) = await s.spool.claim_due(NOW, 10)
        assert claimed.queue_id == later
        assert claimed.envelope.release_at == NOW
        (told,) = s.store.story(later)
        assert told.what == "sent before its time by the operator"


@in_reactor
async def test_a_held_message_for_later_waits_for_both(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        both = (await s.accept(held=True, release_at=NOW + HOUR)).queue_id
        assert s.store.release_early([both], NOW) == 0
        assert s.store.release_held([both], NOW) == 1
        assert await s.spool.claim_due(NOW, 10) == []
        (entry,) = s.store.search(Wanted())
        assert entry.release_at == NOW + HOUR
        assert len(await s.spool.claim_due(NOW + HOUR, 10)) == 1


@in_reactor
async def test_what_is_to_be_sent_later_makes_the_queue_look_no_older(
    tmp_path: Path,
) -> None:
    """An operator is woken by what cannot leave."""
    async with Spooling(tmp_path) as s:
        await s.accept(accepted_at=NOW - HOUR, release_at=NOW + HOUR)
        assert s.store.standing().oldest_accepted_at == NOW + HOUR
        await s.accept()
        assert s.store.standing().oldest_accepted_at == NOW


# MT-PRIORITY


async def claimed_in_order(s: Spooling) -> list[str]:
    s.opened.release_owner("owner-1")
    return [one.queue_id for one in await s.spool.claim_due(LATER, 10)]


@pytest.mark.rfc("6710", "5.1")
@in_reactor
async def test_what_is_urgent_is_claimed_first(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        names = [
            (await s.accept(priority=priority)).queue_id for priority in (0, -9, 3, 9)
        ]
        assert await claimed_in_order(s) == [names[3], names[2], names[0], names[1]]


@pytest.mark.rfc("6710", "5.1")
@in_reactor
async def test_what_has_waited_for_long_is_not_overtaken_for_ever(
    tmp_path: Path,
) -> None:
    """A step of priority is worth an hour of waiting."""
    async with Spooling(tmp_path) as s:
        aged = (await s.accept(accepted_at=NOW - 3 * HOUR)).queue_id
        steps = (await s.accept(priority=2)).queue_id
        urgent = (await s.accept(priority=4)).queue_id
        assert await claimed_in_order(s) == [urgent, aged, steps]


@in_reactor
async def test_a_claim_of_few_takes_the_urgent_ones(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        for _ in range(5):
            await s.accept(*(f"r{number}" for number in range(9)))
        urgent = (await s.accept(priority=1)).queue_id
        s.opened.release_owner("owner-1")
        (claimed,) = await s.spool.claim_due(LATER, 1)
        assert claimed.queue_id == urgent


@in_reactor
async def test_what_is_not_due_is_not_looked_at(tmp_path: Path) -> None:
    """With a million messages in the queue a claim must stay a look at the index."""
    async with Spooling(tmp_path) as s:
        await s.accept()
        with sqlite3.connect(s.folder / DATABASE) as other:

            def plan(statement: str, *values: float) -> str:
                rows = other.execute(f"EXPLAIN QUERY PLAN {statement}", values)
                return "; ".join(row[-1] for row in rows)

            due = plan(DUE_OF_PRIORITY, 0, 1.0, 50)
            assert "COVERING INDEX" in due or "INDEX recipient_due" in due
            assert "(priority=? AND due_at<?)" in due
            assert "TEMP B-TREE" not in due
            highest = plan(HIGHEST_BELOW, 10)
            assert "INDEX recipient_due (priority<?)" in highest
            assert "SCAN" not in highest
