"""What logins have sent, counted where their messages are accepted."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, DeferredList

from submitd.mail.address import parse_mailbox
from submitd.mail.envelope import Envelope, ForwardPath
from submitd.mail.status import EnhancedCode
from submitd.mail.usage import Span, Stored, Usage
from submitd.policy.quota import Quota, check_quota
from submitd.smtp.reply import Reply
from submitd.spool import quota as counting
from submitd.spool import schema
from submitd.spool.rows import QueueIds
from submitd.spool.sqlite import DATABASE, SqliteStore
from submitd.spool.store import (
    CHUNK,
    Charge,
    Needs,
    NewMessage,
    Notices,
    Over,
    Report,
    Spooled,
    SpoolUnavailable,
    Wanted,
)
from tests.support.in_reactor import in_reactor
from tests.support.spooling import LATER, NOW, Spooling, message

MOMENT = NOW.timestamp()
FULL = Reply(451, EnhancedCode(4, 7, 1), "Enough")


def charge(
    judge: Callable[[Usage], Reply | None] = lambda _: None,
    **facts: Any,  # noqa: ANN401
) -> Charge:
    due = Charge(login="alice", spans=frozenset(Span), remembers=True, judge=judge)
    return evolve(due, **facts)


def at_most(messages: int) -> Callable[[Usage], Reply | None]:
    """A limit of so many an hour."""

    def judge(usage: Usage) -> Reply | None:
        sent = sum(one.messages for one in usage.spent[Span.HOUR])
        return FULL if sent >= messages else None

    return judge


async def accept(
    s: Spooling,
    due: Charge,
    *to: str,
    body: bytes = b"text\r\n",
    **changes: Any,  # noqa: ANN401
) -> Spooled | Over:
    intake = s.spool.open_intake()
    while len(body) > CHUNK:
        await intake.write(body[:CHUNK])
        body = body[CHUNK:]
    kept = await intake.accept_within(message(intake, *to, **changes), body, due)
    if isinstance(kept, Over):
        await intake.abandon()
    return kept


async def usage(s: Spooling, *to: str, seconds: float = 0) -> Usage:
    paths = [ForwardPath(parse_mailbox(f"{one}@example.net")) for one in to]
    now = NOW + timedelta(seconds=seconds)
    return await s.spool.usage("alice", Span, paths, now, held=True)


def rows(s: Spooling, table: str) -> int:
    with sqlite3.connect(s.folder / DATABASE) as other:
        return int(other.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


@in_reactor
async def test_what_is_accepted_is_counted(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        accepted = await accept(s, charge(), "bob", "carol")
        assert isinstance(accepted, Spooled)
        assert [one.number for one in accepted.recipients] == [0, 1]
        assert accepted.body == (b"text\r\n",)
        await accept(s, charge(), "bob", "dave")
        await accept(s, charge(login="bob"), "bob")
        found = await usage(s, "bob", "erin", "erin", "ERIN")
        for span in Span:
            (one,) = found.spent[span]
            assert (one.messages, one.recipients, one.new_recipients) == (2, 4, 3)
            assert one.until == span.until(MOMENT)
        assert found.new_recipients == 1
        assert not found.noticed
        assert s.store.usage("ALICE", NOW) == await usage(s)


@in_reactor
async def test_without_a_limit_nothing_is_counted(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        await s.accept()
        assert rows(s, "usage") == rows(s, "correspondent") == 0


@in_reactor
async def test_what_is_refused_leaves_nothing(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        for body in (b"text\r\n", b"x" * CHUNK * 2):
            over = await accept(s, charge(lambda _: FULL), body=body)
            assert isinstance(over, Over)
            assert over.reply is FULL
            assert over.usage.new_recipients == 1
        for table in ("usage", "correspondent", "message", "chunk", "intake"):
            assert rows(s, table) == 0, table


@in_reactor
async def test_an_upload_that_was_refused_can_still_be_held(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        intake = s.spool.open_intake()
        await intake.write(b"x" * CHUNK)
        new = message(intake)
        over = await intake.accept_within(new, b"tail", charge(lambda _: FULL))
        assert isinstance(over, Over)
        kept = await intake.accept_within(
            message(intake, held=True), b"tail", charge(reason="too much")
        )
        assert isinstance(kept, Spooled)
        assert await s.body(kept.queue_id) == b"x" * CHUNK + b"tail"


@in_reactor
async def test_an_upload_that_lost_a_chunk_is_not_counted(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        intake = s.spool.open_intake()
        await intake.write(b"x" * CHUNK)
        with sqlite3.connect(s.folder / DATABASE) as other:
            other.execute("DELETE FROM chunk")
        with pytest.raises(SpoolUnavailable):
            await intake.accept_within(message(intake), b"tail", charge())
        with pytest.raises(SpoolUnavailable):
            await intake.accept_within(message(intake), b"tail", charge())
        assert rows(s, "usage") == 0


@in_reactor
async def test_messages_of_one_moment_are_not_judged_by_one_count(
    tmp_path: Path,
) -> None:
    """In one transaction, and one that fails among them does not matter."""
    async with Spooling(tmp_path) as s:
        taken = s.spool.open_intake()
        await taken.accept(message(taken), b"x")
        async with s.one_batch():
            waiting = [
                Deferred.fromCoroutine(accept(s, charge(at_most(5)), f"to{number}"))
                for number in range(20)
            ]
            again = Deferred.fromCoroutine(
                taken.accept_within(message(taken), b"x", charge())
            )
            again.addErrback(lambda _: None)
        outcomes = [one for _, one in await DeferredList(waiting)]
        await again
        assert sum(isinstance(one, Spooled) for one in outcomes) == 5
        assert s.store.standing().messages == 6
        (hour,) = (await usage(s)).spent[Span.HOUR]
        assert hour.messages == 5


@in_reactor
async def test_counts_survive_a_restart(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        await accept(s, charge())
        before = await usage(s)
    async with Spooling(tmp_path) as s:
        assert await usage(s) == before


@in_reactor
async def test_what_is_held_has_a_story_and_a_notice_in_some_hours(
    tmp_path: Path,
) -> None:
    async with Spooling(tmp_path) as s:

        async def held(seconds: float) -> Spooled:
            return await hold(s, seconds)

        kept = await held(0)
        assert kept.recipients == ()
        (line,) = s.store.story(kept.queue_id)
        assert line.what == "held: too much"
        for seconds in (1, 4 * 3600 - 1):
            await held(seconds)
        assert s.store.standing().messages == 4
        assert (await usage(s, seconds=3600)).noticed
        await held(4 * 3600)
        assert s.store.standing().messages == 6
        # Held is not sent, and its recipients are as new as they were.
        found = await usage(s, "new", seconds=4 * 3600)
        assert found.held.messages == 4
        assert found.spent[Span.DAY] == ()
        assert found.new_recipients == 1
        # The notices are leased to nobody: the next look finds them.
        claimed = await s.spool.claim_due(LATER + timedelta(hours=9), 10)
        assert [one.submitter for one in claimed] == [None, None]
        # One command lets the others go.
        ids = [
            one.queue_id for one in s.store.search(Wanted(sender="Alice", held=True))
        ]
        assert s.store.release_held(ids, NOW) == 4
        assert len(await s.spool.claim_due(LATER, 10)) == 4


def reports(s: Spooling, at: datetime) -> tuple[Report, ...]:
    intake = s.spool.open_intake()
    new = message(intake, "postmaster", submitter=None, accepted_at=at)
    return (Report(message=new, body=b"held\r\n"),)


async def hold(
    s: Spooling, seconds: float, login: str = "alice", told: str = ""
) -> Spooled:
    """A message is held; its notice is offered."""
    at = NOW + timedelta(seconds=seconds)
    to = parse_mailbox(f"{told or login}@example.org")
    notices = Notices(to, reports(s, at))
    due = charge(login=login, reason="too much", notices=notices)
    kept = await accept(s, due, "new", held=True, submitter=login, accepted_at=at)
    assert isinstance(kept, Spooled)
    return kept


def notices(s: Spooling) -> int:
    return sum(one.submitter is None for one in s.store.search(Wanted()))


@in_reactor
async def test_once_all_was_let_go_the_next_held_one_is_news(tmp_path: Path) -> None:
    """Or it lies there, and nobody ever hears of it."""
    async with Spooling(tmp_path) as s:
        first, second = await hold(s, 0), await hold(s, 1)
        assert notices(s) == 1
        s.store.release_held([first.queue_id], NOW)
        await hold(s, 2)
        assert notices(s) == 1
        held = [one.queue_id for one in s.store.search(Wanted(held=True))]
        s.store.release_held(held[:1], NOW)
        s.store.remove(held[1:])
        await hold(s, 3)
        assert notices(s) == 2
        # Somebody else's is no reason to be silent, and case none to be loud.
        await hold(s, 4, login="bob")
        assert notices(s) == 3
        await hold(s, 5, login="ALICE")
        assert notices(s) == 3
        assert second.queue_id in held


@in_reactor
async def test_a_login_is_one_in_whatever_case_it_is_written(tmp_path: Path) -> None:
    """In all tables, and beyond ASCII: or it has each limit twice."""
    async with Spooling(tmp_path) as s:
        await accept(s, charge(login="ärger"), "bob", submitter="ärger")
        later = charge(login="ärger", spans=frozenset(), for_later=True)
        await accept(s, later, "bob", submitter="ärger", release_at=LATER)
        first = await hold(s, 0, login="Ärger", told="ae")
        second = await hold(s, 60, login="ÄRGER", told="ae")
        assert notices(s) == 1

        bob = (ForwardPath(parse_mailbox("bob@example.net")),)
        found = await s.spool.usage("äRGER", Span, bob, NOW, held=True, later=True)
        assert [one.messages for one in found.spent[Span.HOUR]] == [1]
        assert found.new_recipients == 0
        assert (found.held.messages, found.later.messages) == (2, 1)
        assert found.noticed

        # People read it as it is spelled.
        tomorrow = NOW + timedelta(days=1)
        (due,) = await s.spool.reminders(tomorrow)
        assert (due.login, due.held.messages) == ("Ärger", 2)
        await s.spool.remind(due, reports(s, tomorrow), tomorrow)
        assert not await s.spool.reminders(tomorrow)
        for wanted in (
            Wanted(login="äRGER", held=True),
            Wanted(sender="äRGER", held=True),
        ):
            entries = list(s.store.search(wanted))
            assert [one.queue_id for one in entries] == [
                first.queue_id,
                second.queue_id,
            ]
            assert [one.submitter for one in entries] == ["Ärger", "ÄRGER"]


@in_reactor
async def test_a_clock_that_was_ahead_silences_no_notice(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        await hold(s, 86400 * 365)
        await hold(s, 0)
        assert notices(s) == 2


@in_reactor
async def test_what_stays_held_is_told_of_each_day_once(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        kept = await hold(s, 0)
        await hold(s, 60)
        assert not await s.spool.reminders(NOW + timedelta(hours=23))
        tomorrow = NOW + timedelta(days=1)
        (due,) = await s.spool.reminders(tomorrow)
        assert (due.login, due.told_at) == ("alice", NOW)
        assert due.told == parse_mailbox("alice@example.org")
        size = len(b"Subject: x\r\n\r\ntext\r\n")
        assert due.held == Stored(2, 2 * size)
        for _ in range(2):  # two processes that have found it
            await s.spool.remind(due, reports(s, tomorrow), tomorrow)
        assert notices(s) == 1 + 1
        assert not await s.spool.reminders(tomorrow)
        (due,) = await s.spool.reminders(tomorrow + timedelta(days=1))
        assert due.told_at == tomorrow
        # Who could not be written to has another turn, behind the others'.
        later = tomorrow + timedelta(days=1)
        await s.spool.remind(due, (), later)
        assert not await s.spool.reminders(later + timedelta(minutes=59))
        # An address that another version took tells nobody but the postmaster.
        with sqlite3.connect(s.folder / DATABASE) as other:
            row = ("no mailbox", tomorrow.timestamp())
            other.execute("UPDATE told SET mailbox = ?, at = ?", row)
        (due,) = await s.spool.reminders(later)
        assert (due.login, due.told) == ("alice", None)
        # What nobody holds any more is forgotten.
        s.store.remove([one.queue_id for one in s.store.search(Wanted(held=True))])
        assert kept.queue_id not in [one.queue_id for one in s.store.search(Wanted())]
        (due,) = await s.spool.reminders(tomorrow + timedelta(days=1))
        assert due.held == Stored()
        await s.spool.remind(due, (), tomorrow)
        assert rows(s, "told") == 0


@in_reactor
async def test_what_waits_for_its_time_is_counted_where_that_is_asked(
    tmp_path: Path,
) -> None:
    async with Spooling(tmp_path) as s:
        due = charge(for_later=True, spans=frozenset(), remembers=False)
        for hours in (1, 2):
            await accept(s, due, release_at=NOW + timedelta(hours=hours))
        await accept(s, evolve(due, login="bob"), submitter="bob", release_at=LATER)
        assert rows(s, "usage") == rows(s, "correspondent") == 0
        size = len(b"Subject: x\r\n\r\ntext\r\n")
        for moment, count in ((NOW, 2), (LATER, 1), (LATER + timedelta(hours=1), 0)):
            found = await s.spool.usage("ALICE", (), (), moment, later=True)
            assert found.later == Stored(count, count * size)
        assert (await usage(s)).later == Stored()


def test_what_lies_there_is_counted_by_indices() -> None:
    """Not by looking at everybody's mail."""
    said: list[str] = []
    with database() as connection:
        connection.set_trace_callback(said.append)
        for asked in (False, True):
            counting.read_usage(
                connection, "alice", (), (), MOMENT, held=asked, later=asked
            )
        connection.set_trace_callback(None)
        used = [
            connection.execute(f"EXPLAIN QUERY PLAN {one}").fetchone()[-1]
            for one in said
            if "FROM message" in one
        ]
    assert [one.split()[4] for one in used] == ["message_held", "message_later"]


@in_reactor
async def test_of_many_some_are_reminded_at_once(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        for number in range(25):
            await hold(s, number, login=f"login{number}")
        found = await s.spool.reminders(NOW + timedelta(days=2))
        assert [one.login for one in found] == [f"login{one}" for one in range(20)]


@in_reactor
async def test_where_no_address_is_known_only_the_postmaster_is_reminded(
    tmp_path: Path,
) -> None:
    async with Spooling(tmp_path) as s:
        due = charge(reason="x", notices=Notices(None, reports(s, NOW)))
        await accept(s, due, held=True)
        (found,) = await s.spool.reminders(NOW + timedelta(days=1))
        assert found.told is None


@in_reactor
async def test_a_clock_that_was_ahead_blocks_nobody(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        for _ in range(3):
            ahead = NOW + timedelta(days=365)
            await accept(s, charge(), "bob", accepted_at=ahead)
        assert (await usage(s)).spent == dict.fromkeys(Span, ())
        assert isinstance(await accept(s, charge(at_most(1)), "bob"), Spooled)
        assert isinstance(await accept(s, charge(at_most(1)), "bob"), Over)
        # What it had counted is gone, and whom it knew is known from today on.
        assert rows(s, "usage") == 3
        with sqlite3.connect(s.folder / DATABASE) as other:
            (seen,) = other.execute("SELECT seen FROM correspondent").fetchone()
        assert seen == MOMENT // 86400


@in_reactor
async def test_so_many_are_remembered_the_latest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "_MOST_REMEMBERED", 3)
    async with Spooling(tmp_path) as s:
        for number in range(5):
            at = NOW + timedelta(days=number)
            await accept(s, charge(), "kept", f"to{number}", accepted_at=at)
            await accept(s, charge(login="bob"), "other", accepted_at=at)
        assert rows(s, "correspondent") == 3 + 1
        found = await usage(s, "kept", "to4", "to3", "to2", seconds=86400 * 4)
        assert found.new_recipients == 1
        await accept(s, charge(), *(f"many{number}" for number in range(10)))
        assert rows(s, "correspondent") == 3 + 1


def test_whom_a_login_has_written_to_is_looked_through_in_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not for each message: others wait for that transaction."""
    monkeypatch.setattr(counting, "_MOST_REMEMBERED", 30)
    monkeypatch.setattr(counting, "_STEP", 10)
    ids = QueueIds(1)
    said: list[str] = []
    most = 0
    with database() as connection:

        def write(half_hours: int, *names: str) -> int:
            new = incoming(ids, NOW + timedelta(minutes=30 * half_hours), names)
            counting.charge(connection, new, charge())
            (found,) = connection.execute(
                "SELECT count(*) FROM correspondent"
            ).fetchone()
            return int(found)

        connection.set_trace_callback(said.append)
        for number in range(90):
            most = max(most, write(0, f"to{number}"))
        assert most == 30 + 9
        assert len(looks(said)) == 9
        # By an index that has all that is asked for.
        plan = connection.execute(f"EXPLAIN QUERY PLAN {looks(said)[-1]}").fetchall()
        assert "COVERING INDEX correspondent_latest (login=?)" in plan[-1][-1]
        said.clear()
        assert write(0, "to88", "to89") == write(1, "to89") == 39
        assert looks(said) == []
        assert write(1, "one") == 30
        assert write(1, *(f"many{number}" for number in range(50))) == 30
        assert write(1, "many48", "many49", "next") == 31
        assert len(looks(said)) == 2


def looks(said: list[str]) -> list[str]:
    """The statements that look for whom to forget."""
    return [one for one in said if "ORDER BY seen" in one]


@in_reactor
async def test_old_counts_are_swept(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        for number in range(5):
            at = NOW + timedelta(seconds=number)
            await accept(s, charge(), f"old{number}", accepted_at=at)
        assert rows(s, "usage") == 3
        assert rows(s, "correspondent") == 5
        later = NOW + timedelta(hours=1)
        # What counts no more is kept for an hour, for a clock that is set back.
        await accept(s, charge(login="bob"), accepted_at=later)
        assert rows(s, "correspondent") == 6
        assert rows(s, "usage") == 6
        await accept(s, charge(), "new", accepted_at=later)
        assert rows(s, "correspondent") == 7
        much_later = NOW + timedelta(days=91)
        few = charge(login="carol", spans=frozenset({Span.MINUTE}), remembers=False)
        await accept(s, few, accepted_at=much_later)
        assert rows(s, "usage") == 1
        assert rows(s, "correspondent") == 0


@in_reactor
async def test_who_is_written_to_now_and_then_stays_known(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        for day in range(0, 300, 60):
            at = NOW + timedelta(days=day)
            await accept(s, charge(), "bob", accepted_at=at)
        assert (await usage(s, "bob", seconds=86400 * 300)).new_recipients == 0


@in_reactor
async def test_many_recipients_are_asked_for_in_turns(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        names = [f"to{number}" for number in range(1201)]
        await accept(s, charge(), *names[:700])
        assert (await usage(s, *names)).new_recipients == 501


# Whatever the order


@contextmanager
def database() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    schema.prepare(connection)
    try:
        yield connection
    finally:
        connection.close()


def incoming(ids: QueueIds, at: datetime, names: Iterable[str]) -> NewMessage:
    """A message to these, of this moment."""
    paths = tuple(ForwardPath(parse_mailbox(f"{one}@example.net")) for one in names)
    return NewMessage(
        queue_id=ids.next(),
        envelope=Envelope(reverse_path=None, forward_paths=paths, accepted_at=at),
        header=b"",
        needs=Needs(),
        submitter="alice",
        session="s",
    )


QUOTA = Quota(
    burst=3,
    messages_per_hour=6,
    messages_per_day=9,
    recipients_per_hour=10,
    recipients_per_day=14,
    new_recipients_per_day=5,
)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            # From the one before; and how late it comes to the spool.
            st.one_of(st.integers(0, 30), st.integers(0, 8 * 3600)),
            st.integers(0, 3600),
            st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=4, unique=True),
        ),
        max_size=60,
    ),
)
def test_no_span_ever_has_more_than_its_limit(
    offers: list[tuple[int, int, list[str]]],
) -> None:
    """Whatever the order of accepts and their moments, in any minute, hour or day."""
    ids = QueueIds(1)
    seconds = 0
    sent: list[tuple[float, int, int]] = []
    with database() as connection:
        for gap, late, names in offers:
            seconds += gap
            at = NOW + timedelta(seconds=seconds - late)
            moment = at.timestamp()
            new = incoming(ids, at, names)
            seen: list[Usage] = []

            def judge(
                usage: Usage,
                count: int = len(names),
                moment: float = moment,
                seen: list[Usage] = seen,
            ) -> Reply | None:
                seen.append(usage)
                return check_quota(QUOTA, usage, count, moment)

            due = charge(judge, spans=QUOTA.spans)
            if counting.charge(connection, new, due) is None:
                sent.append((moment, len(names), seen[0].new_recipients))
    for span, column, limit in (
        (60, None, 3),
        (3600, None, 6),
        (86400, None, 9),
        (3600, 1, 10),
        (86400, 1, 14),
        (86400, 2, 5),
    ):
        for end, _, _ in sent:
            within = [one for one in sent if end - span < one[0] <= end]
            total = sum(1 if column is None else one[column] for one in within)
            assert total <= limit


def test_a_store_without_counts_has_used_nothing(tmp_path: Path) -> None:
    from submitd.spool.recovery import open_spool

    open_spool(tmp_path / "state").close()
    store = SqliteStore(tmp_path / "state")
    found = store.usage("alice", NOW)
    store.close()
    assert found == Usage(spent=dict.fromkeys(Span, ()))
