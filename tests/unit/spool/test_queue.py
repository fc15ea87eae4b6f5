"""The spool's promises, one by one."""

import os
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from submitd.mail.address import parse_mailbox
from submitd.mail.envelope import (
    Body,
    ForwardPath,
    Notify,
    OriginalRecipient,
    Ret,
)
from submitd.mail.status import EnhancedCode
from submitd.spool import committer, recovery, schema, sqlite
from submitd.spool.files import FileLock, write_durably
from submitd.spool.recovery import open_spool
from submitd.spool.reserve import Reserve
from submitd.spool.rows import QueueIds, number_of, queue_id_of
from submitd.spool.sent import SentMarks, read_sent
from submitd.spool.sqlite import DATABASE, SqliteStore, writing
from submitd.spool.store import (
    CHUNK,
    Needs,
    Report,
    SpoolFull,
    SpoolUnavailable,
    State,
    Wanted,
)
from tests.support.in_reactor import in_reactor
from tests.support.spooling import LATER, NOW, Spooling, message, result


@in_reactor
async def test_what_was_accepted_is_read_back_as_it_was(tmp_path: Path) -> None:
    path = ForwardPath(
        parse_mailbox("bob@example.net"),
        Notify.NEVER,
        OriginalRecipient("rfc822", "b@x.org"),
    )
    async with Spooling(tmp_path) as s:
        accepted = await s.accept(
            path,
            "carol",
            ret=Ret.FULL,
            envid="e",
            smtputf8=True,
            needs=Needs(eight_bit=True, smtputf8=True),
        )
        assert accepted.size == len(b"Subject: x\r\n\r\ntext\r\n")
        assert [one.number for one in accepted.recipients] == [0, 1]
        s.opened.release_owner("owner-1")
        (claimed,) = await s.spool.claim_due(LATER, 10)
        assert claimed.envelope == accepted.envelope
        assert claimed.needs == accepted.needs
        assert claimed.recipients == accepted.recipients
        assert await s.spool.read_header(claimed.queue_id) == b"Subject: x\r\n\r\n"
        assert await s.body(claimed.queue_id) == b"text\r\n"
        assert s.commits


@in_reactor
async def test_a_report_has_nobody_to_report_to(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        await s.accept(reverse_path=None, body=b"")
        s.opened.release_owner("owner-1")
        (claimed,) = await s.spool.claim_due(LATER, 10)
        assert claimed.envelope.reverse_path is None
        assert claimed.envelope.body is Body.SEVEN_BIT


@in_reactor
async def test_big_bodies_are_stored_in_chunks(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        body = b"0123456789abcdef" * (CHUNK // 8)
        accepted = await s.accept(body=body + b"tail")
        assert accepted.body is None
        assert await s.body(accepted.queue_id) == body + b"tail"
        assert b"".join(s.store.read_body(accepted.queue_id)) == body + b"tail"
        await s.spool.record(accepted.queue_id, [result()])
        with pytest.raises(LookupError):
            await s.spool.read_chunk(accepted.queue_id, 0)
        with pytest.raises(LookupError):
            await s.spool.read_header(accepted.queue_id)


@in_reactor
async def test_an_upload_that_lost_a_chunk_is_not_acknowledged(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        intake = s.spool.open_intake()
        await intake.write(b"x" * CHUNK)
        with sqlite3.connect(s.folder / DATABASE) as other:
            other.execute("DELETE FROM chunk")
        with pytest.raises(SpoolUnavailable):
            await intake.accept(message(intake), b"tail")
        with pytest.raises(SpoolUnavailable):
            await intake.accept(message(intake), b"tail")
        assert s.store.standing().messages == 0


@in_reactor
async def test_an_abandoned_upload_leaves_nothing(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        await s.spool.open_intake().abandon()
        intake = s.spool.open_intake()
        await intake.write(b"x" * CHUNK)
        await intake.abandon()
        with sqlite3.connect(s.folder / DATABASE) as other:
            assert other.execute("SELECT count(*) FROM chunk").fetchone() == (0,)
            assert other.execute("SELECT count(*) FROM intake").fetchone() == (0,)


@in_reactor
async def test_what_was_accepted_cannot_be_abandoned(tmp_path: Path) -> None:
    """A fault between the commit and the reply must not take its content away."""
    async with Spooling(tmp_path) as s:
        intake = s.spool.open_intake()
        await intake.write(b"x" * CHUNK)
        accepted = await intake.accept(message(intake), b"tail")
        await intake.abandon()
        body = b"".join(s.store.read_body(accepted.queue_id))
        assert body == b"x" * CHUNK + b"tail"


@in_reactor
async def test_uploads_of_the_dead_are_swept(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        intake = s.spool.open_intake()
        await intake.write(b"x" * CHUNK)
        s.opened.release_owner("somebody-else")
        with sqlite3.connect(s.folder / DATABASE) as other:
            assert other.execute("SELECT count(*) FROM chunk").fetchone() == (1,)
        s.opened.release_owner("owner-1")
        with sqlite3.connect(s.folder / DATABASE) as other:
            assert other.execute("SELECT count(*) FROM chunk").fetchone() == (0,)


@in_reactor
async def test_a_message_goes_when_its_last_recipient_is_settled(
    tmp_path: Path,
) -> None:
    async with Spooling(tmp_path) as s:
        accepted = await s.accept("bob", "carol")
        await s.spool.record(accepted.queue_id, [result(0)])
        assert s.store.standing().recipients == 1
        # Said twice, by mistake: the other recipient is still to be served.
        await s.spool.record(accepted.queue_id, [result(0)])
        assert s.store.standing().messages == 1
        await s.spool.record(accepted.queue_id, [result(1, State.FAILED)])
        assert s.store.standing().messages == 0
        assert await s.spool.record(accepted.queue_id, [result(1)]) == []


@in_reactor
async def test_a_delayed_recipient_is_due_later_and_has_a_story(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        accepted = await s.accept("bob", "carol")
        delayed = result(
            0,
            State.QUEUED,
            status=EnhancedCode(4, 7, 1),
            diagnostic="451 later",
            delay_reported=True,
        )
        await s.spool.record(accepted.queue_id, [delayed])
        assert await s.spool.claim_due(NOW, 10) == []
        (claimed,) = await s.spool.claim_due(LATER, 10)
        # carol is leased still: her attempt is under way.
        (bob,) = claimed.recipients
        assert (bob.number, bob.attempts, bob.delay_reported) == (0, 1, True)
        assert bob.last_status == EnhancedCode(4, 7, 1)
        assert bob.last_attempt_at == NOW
        (line,) = s.store.story(accepted.queue_id)
        assert line.what == "recipient 0 queued: mx.example.net: 451 later"
        silent = result(0, State.QUEUED, host="", diagnostic="no route")
        for _ in range(120):
            await s.spool.record(accepted.queue_id, [silent])
            await s.spool.claim_due(LATER, 10)
        story = s.store.story(accepted.queue_id)
        assert len(story) == 100
        assert story[-1].what == "recipient 0 queued: no route"


@in_reactor
async def test_who_lost_the_lease_has_no_say(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        accepted = await s.accept()
        assert s.opened.release_owner("owner-1") == 1
        await s.spool.record(accepted.queue_id, [result()])
        assert s.store.standing().messages == 1


@pytest.mark.rfc("5321", "6.1")
@in_reactor
async def test_a_death_behind_the_final_dot_is_counted(tmp_path: Path) -> None:
    """Nothing else tells afterwards whom a host may have given its 250."""
    async with Spooling(tmp_path) as s:
        accepted = await s.accept("sent", "recorded", "waiting")
        s.spool.mark_sent(accepted.queue_id, [0, 1])
        s.spool.mark_sent(accepted.queue_id, [0])  # once more: the host hung up
        await s.spool.record(accepted.queue_id, [result(1, State.QUEUED)])
        released = await s.accept()
        s.spool.mark_sent(released.queue_id, [0])
        await s.spool.release(released.queue_id, [0])
        assert s.opened.release_owner("owner-1") == 2
        first, second = await s.spool.claim_due(LATER, 10)
        assert [one.interruptions for one in first.recipients] == [1, 0, 0]
        assert [one.interruptions for one in second.recipients] == [0]
        (recorded, died) = s.store.story(accepted.queue_id)
        assert recorded.what == "recipient 1 queued: mx.example.net: 250 ok"
        assert died.what == (
            "recipient 0: submitd died before its host's answer was kept"
        )


@in_reactor
async def test_a_start_counts_all_that_died_and_counts_it_once(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        accepted = await s.accept("bob", "carol")
        s.spool.mark_sent(accepted.queue_id, [1])
        # As though another process had it: its marks are not of this lease.
        (s.folder / "spool.sent.other").write_bytes(
            (s.folder / "spool.sent.owner-1").read_bytes()
        )
    for _ in range(3):
        open_spool(tmp_path / "state").close()
    assert not list((tmp_path / "state").glob("spool.sent.*"))
    async with Spooling(tmp_path) as s:
        (claimed,) = await s.spool.claim_due(LATER, 10)
        assert [one.interruptions for one in claimed.recipients] == [0, 1]


@in_reactor
async def test_mail_goes_on_where_no_mark_can_be_made(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        accepted = await s.accept()
        s.spool._sent.close()
        s.spool.mark_sent(accepted.queue_id, [0])
        await s.spool.record(accepted.queue_id, [result()])
        assert s.store.standing().messages == 0


def test_marks_take_the_places_of_those_that_went_and_are_bounded(
    tmp_path: Path,
) -> None:
    marks = SentMarks(tmp_path, "me")
    marks.open()
    marks.set(7, range(20_000))
    marks.clear(7, range(100, 20_000))
    marks.set(8, range(50))
    marks.close()
    found = read_sent(tmp_path, "me")["me"]
    assert sorted(found) == [(7, n) for n in range(100)] + [(8, n) for n in range(50)]
    assert (tmp_path / "spool.sent.me").stat().st_size == 16 * 16 * 1024


def test_half_a_mark_is_none(tmp_path: Path) -> None:
    """As a disk leaves it that was full, or lost its power."""
    marks = SentMarks(tmp_path, "me")
    marks.open()
    marks.set(7, [0, 1])
    marks.close()
    os.truncate(tmp_path / "spool.sent.me", 20)
    assert read_sent(tmp_path, None) == {"me": [(7, 0)]}


@in_reactor
async def test_released_recipients_are_due_as_before(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        accepted = await s.accept("bob", "carol")
        await s.spool.release(accepted.queue_id, [0])
        (claimed,) = await s.spool.claim_due(LATER, 10)
        assert [one.number for one in claimed.recipients] == [0]


@in_reactor
async def test_reports_enter_with_what_they_report(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        accepted = await s.accept("bob", "carol")
        intake = s.spool.open_intake()
        report = Report(
            message=message(intake, "alice", reverse_path=None, submitter=None),
            body=b"report",
        )
        (entered,) = await s.spool.record(
            accepted.queue_id, [result(0, State.FAILED)], [report]
        )
        assert entered.body == (b"report",)
        assert s.store.standing().messages == 2
        assert s.spool.new_queue_id() > entered.queue_id


@in_reactor
async def test_claims_are_bounded_and_the_longest_due_come_first(
    tmp_path: Path,
) -> None:
    async with Spooling(tmp_path) as s:
        first = await s.accept(*(f"r{number}" for number in range(20)))
        second = await s.accept(accepted_at=NOW + timedelta(seconds=1))
        s.opened.release_owner("owner-1")
        (claimed,) = await s.spool.claim_due(LATER, 1)
        assert claimed.queue_id == first.queue_id
        assert len(claimed.recipients) == 20
        (claimed,) = await s.spool.claim_due(LATER, 5)
        assert claimed.queue_id == second.queue_id


@in_reactor
async def test_held_messages_wait_for_their_release(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        held = await s.accept(held=True)
        assert held.recipients == ()
        assert await s.spool.claim_due(LATER, 10) == []
        assert s.store.retry([held.queue_id], NOW) == 0
        assert s.store.release_held([held.queue_id, "nonsense"], NOW) == 1
        assert len(await s.spool.claim_due(NOW, 10)) == 1
        assert s.store.hold([held.queue_id]) == 1
        assert s.store.standing().held == 1


@in_reactor
async def test_the_age_of_a_released_message_counts_from_its_release(
    tmp_path: Path,
) -> None:
    """Or what an administrator lets go after a week is tried once, and returned."""
    week_later = NOW + timedelta(days=7)
    async with Spooling(tmp_path) as s:
        held = (await s.accept(held=True)).queue_id
        free = (await s.accept()).queue_id
        await s.spool.release(free, [0])
        assert s.store.release_held([held, free], week_later) == 1
        found = {one.queue_id: one for one in await s.spool.claim_due(week_later, 10)}
        assert found[held].envelope.sent_from == week_later
        assert found[held].envelope.accepted_at == NOW
        # One that was not held is as old as it was.
        assert found[free].envelope.sent_from == NOW


@in_reactor
async def test_a_release_leaves_what_is_not_held_as_it_is(tmp_path: Path) -> None:
    """A back-off is not undone, and nothing comes back that was removed."""
    async with Spooling(tmp_path) as s:
        put_off, removed = [(await s.accept()).queue_id for _ in range(2)]
        await s.spool.record(put_off, [result(0, State.QUEUED, due_at=LATER)])
        assert s.store.hold([removed]) == s.store.remove([removed]) == 1
        assert s.store.release_held([put_off, removed], NOW) == 0
        await s.spool.release(removed, [0])
        assert await s.spool.claim_due(NOW, 10) == []
        (entry,) = s.store.search(Wanted())
        assert entry.recipients[0].due_at == LATER
        assert "released" not in s.store.story(put_off)[-1].what


@in_reactor
async def test_a_removed_message_goes_when_its_attempt_ends(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        idle, leased, released = [await s.accept("a", "b") for _ in range(3)]
        await s.spool.release(idle.queue_id, [0, 1])
        ids = [idle.queue_id, leased.queue_id, released.queue_id]
        assert s.store.remove([*ids, "0" * 12]) == 3
        assert list(s.store.search(Wanted())) == []
        await s.spool.record(leased.queue_id, [result(0)])
        assert await s.spool.record(leased.queue_id, [result(1)]) == []
        await s.spool.release(released.queue_id, [0, 1])
        with sqlite3.connect(s.folder / DATABASE) as other:
            assert other.execute("SELECT count(*) FROM message").fetchone() == (0,)
            assert other.execute("SELECT count(*) FROM recipient").fetchone() == (0,)


@in_reactor
async def test_the_queue_is_searched_by_what_an_operator_knows(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        one = await s.accept("bob")
        two = await s.accept(
            ForwardPath(parse_mailbox("carol@example.com")),
            submitter=None,
            reverse_path=None,
        )
        held = await s.accept(held=True)

        def found(**wanted: object) -> list[str]:
            return [
                entry.queue_id
                for entry in s.store.search(Wanted(**wanted))  # type: ignore[arg-type]
            ]

        every = [one.queue_id, two.queue_id, held.queue_id]
        assert found() == every
        assert found(queue_ids=(two.queue_id.lower(), "?", "!" * 12)) == [two.queue_id]
        assert found(sender="ALICE@example.org") == [one.queue_id, held.queue_id]
        assert found(sender="Alice") == [one.queue_id, held.queue_id]
        assert found(login="ALICE") == [one.queue_id, held.queue_id]
        assert found(login="alice@example.org") == []
        assert found(recipient="Carol@example.com") == [two.queue_id]
        assert found(domain="EXAMPLE.com") == [two.queue_id]
        assert found(older_than=timedelta(days=1)) == every
        assert found(older_than=timedelta(days=36500)) == []
        assert found(held=True) == [held.queue_id]
        (entry,) = s.store.search(Wanted(queue_ids=(two.queue_id,)))
        assert entry.reverse_path is None
        assert entry.leased_to == "owner-1"
        with sqlite3.connect(s.folder / DATABASE) as other:
            other.execute("DELETE FROM recipient WHERE address LIKE 'carol%'")
        assert found() == [one.queue_id, held.queue_id]


@in_reactor
async def test_a_long_queue_is_read_in_pages(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        accepted = await s.accept()
        with sqlite3.connect(s.folder / DATABASE) as other:
            columns = [row[1] for row in other.execute("PRAGMA table_info(message)")]
            rest = ", ".join(columns[1:])
            other.execute(
                f"INSERT INTO message (id, {rest}) WITH n(i) AS (SELECT 1 UNION ALL "
                f"SELECT i + 1 FROM n WHERE i < 600) SELECT i, {rest} FROM message, n"
            )
            other.execute(
                "INSERT INTO recipient (message, number, address, domain, wishes, "
                "state, held, due_at) SELECT id, 0, 'b@example.net', 'example.net', "
                "'', 'queued', 0, 0 FROM message WHERE id <= 600"
            )
        ids = [entry.queue_id for entry in s.store.search(Wanted())]
        assert len(ids) == 601
        assert accepted.queue_id in ids
        numbers = [queue_id_of(number) for number in range(1, 601)]
        assert s.store.hold(numbers) == 600
        assert s.store.remove(numbers) == 600


@in_reactor
async def test_one_bad_item_does_not_undo_the_others(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        intake = s.spool.open_intake()
        again = message(intake)
        await intake.accept(again, b"")
        intake = s.spool.open_intake()
        with pytest.raises(SpoolUnavailable, match="UNIQUE"):
            await intake.accept(again, b"")
        with pytest.raises(LookupError):
            await s.spool.record("nonsense", [result()])
        with pytest.raises(AttributeError):
            await s.spool._committer.submit(lambda _: None.nothing)  # type: ignore[attr-defined]
        assert s.store.standing().messages == 1


@in_reactor
async def test_in_one_transaction_only_the_bad_items_fail(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        taken = (await s.accept()).queue_id
        async with s.one_batch():
            again = s.spool.open_intake()
            double = message(again, queue_id=taken)
            waiting: list[Deferred[Any]] = [
                Deferred.fromCoroutine(s.accept()),
                Deferred.fromCoroutine(again.accept(double, b"")),
                Deferred.fromCoroutine(s.spool.record("nonsense", [result()])),
                Deferred.fromCoroutine(s.accept()),
            ]
        outcomes = await DeferredList(waiting, consumeErrors=True)
        assert [done for done, _ in outcomes] == [True, False, False, True]
        outcomes[1][1].trap(SpoolUnavailable)
        outcomes[2][1].trap(LookupError)
        await deferLater(reactor, 0)
        assert s.commits[-1] == 4
        assert s.store.standing().messages == 3


@in_reactor
async def test_a_fault_of_the_database_is_everybodys_and_passes(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        with pytest.raises(SpoolUnavailable):
            await s.spool._committer.submit(
                lambda connection: connection.execute("SELECT * FROM nothing")
            )
        with pytest.raises(SpoolUnavailable):
            await s.spool._read(
                lambda connection: connection.execute("SELECT * FROM nothing")
            )
        accepted = await s.accept()
        assert await s.body(accepted.queue_id) == b"text\r\n"


@in_reactor
async def test_only_the_reserve_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """452 4.3.1 for new mail; outcomes are still recorded."""
    async with Spooling(tmp_path) as s:
        accepted = await s.accept()
        monkeypatch.setattr(Reserve, "room", lambda _: 0)
        with pytest.raises(SpoolFull):
            await s.accept()
        intake = s.spool.open_intake()
        with pytest.raises(SpoolFull):
            await intake.write(b"x" * CHUNK)
        await s.spool.record(accepted.queue_id, [result()])
        assert s.store.standing().messages == 0
        monkeypatch.undo()
        await s.accept()


@in_reactor
async def test_a_full_disk_refuses_mail_and_takes_outcomes(tmp_path: Path) -> None:
    """The commit fails as a whole; what brings nothing is written after all."""
    async with Spooling(tmp_path) as s:
        committing = s.spool._committer
        accepted = await s.accept()

        def full(connection: sqlite3.Connection) -> None:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {pages}")

        await committing.submit(full)
        async with s.one_batch():
            intake = s.spool.open_intake()
            big = intake.accept(message(intake), b"x" * CHUNK)
            accepting = Deferred.fromCoroutine(big)
            recording = Deferred.fromCoroutine(
                s.spool.record(accepted.queue_id, [result()])
            )
        with pytest.raises(SpoolFull):
            await accepting
        assert await recording == []
        assert s.store.standing().messages == 0


@in_reactor
async def test_a_database_that_was_replaced_is_noticed(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        await s.accept()
        moved = s.folder / "moved"
        (s.folder / DATABASE).rename(moved)
        with pytest.raises(SpoolUnavailable, match="spool"):
            await s.accept()
        moved.rename(s.folder / DATABASE)
        await s.accept()


@in_reactor
async def test_another_file_of_the_same_name_is_not_ours(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        await s.accept()
        copy = s.folder / "copy"
        copy.write_bytes((s.folder / DATABASE).read_bytes())
        copy.rename(s.folder / DATABASE)
        with pytest.raises(SpoolUnavailable, match="replaced"):
            await s.accept()


@in_reactor
async def test_after_the_end_nothing_is_taken(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        pass
    with pytest.raises(SpoolUnavailable, match="closing"):
        await s.accept()
    intake = s.spool.open_intake()
    intake._chunks = 1
    await intake.abandon()


@in_reactor
async def test_what_came_before_the_end_is_still_written(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        async with s.one_batch():
            accepting = Deferred.fromCoroutine(s.accept())
            stopping = deferToThread(s.spool._committer.stop)
            while not s.spool._committer._stopping:
                await deferLater(reactor, 0.01)
        await accepting
        await stopping
        assert s.store.standing().messages == 1


@in_reactor
async def test_the_log_is_moved_into_the_database_and_room_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "_CHECKPOINT_PERIOD", 3600)
    async with Spooling(tmp_path) as s:
        keeper = s.spool._committer._log
        log = s.folder / f"{DATABASE}-wal"
        for _ in range(3):
            accepted = await s.accept(body=b"x" * (CHUNK * 2))
            await s.spool.record(accepted.queue_id, [result()])
        grown = log.stat().st_size
        keeper.shorten()
        assert log.stat().st_size == grown
        monkeypatch.setattr(committer, "_LOG_SMALL", 0)
        keeper.shorten()
        before = (s.folder / DATABASE).stat().st_size
        assert before > CHUNK
        monkeypatch.setattr(committer, "_FREE_PAGES", 50)
        monkeypatch.setattr(committer, "_LOG_LARGE", 0)
        keeper.shorten()
        keeper.shorten()
        assert log.stat().st_size == 0
        assert (s.folder / DATABASE).stat().st_size < before
        await s.accept()
        (s.folder / DATABASE).rename(s.folder / "moved")
        keeper.close()
        keeper.shorten()
        (s.folder / "moved").rename(s.folder / DATABASE)


@in_reactor
async def test_the_log_is_looked_at_time_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "_CHECKPOINT_PERIOD", 0.01)
    monkeypatch.setattr(committer, "_LOG_SMALL", 0)
    monkeypatch.setattr(committer, "_LOG_LARGE", 0)
    async with Spooling(tmp_path) as s:
        await s.accept()
        log = s.folder / f"{DATABASE}-wal"
        while log.stat().st_size:
            await deferLater(reactor, 0.01)


@in_reactor
async def test_an_outcome_that_finds_the_disk_full_takes_from_the_reserve(
    tmp_path: Path,
) -> None:
    async with Spooling(tmp_path) as s:
        accepted = await s.accept()
        reserve = s.folder / "reserve"
        reserve.write_bytes(bytes(2 * 1024 * 1024))

        def outcome(connection: sqlite3.Connection) -> str:  # noqa: ARG001
            if reserve.stat().st_size:
                full = sqlite3.OperationalError("database or disk is full")
                full.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise full
            return "written"

        assert await s.spool._committer.submit(outcome) == "written"
        await s.spool.record(accepted.queue_id, [result()])


@in_reactor
async def test_a_log_that_finds_the_disk_full_takes_from_the_reserve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log must get into the database, or it grows into all of the reserve."""
    monkeypatch.setattr(committer, "_CHECKPOINT_PERIOD", 3600)
    async with Spooling(tmp_path) as s:
        await s.accept()
        reserve = s.folder / "reserve"
        reserve.write_bytes(bytes(2 * 1024 * 1024))
        monkeypatch.setattr(committer, "_LOG_SMALL", 0)

        def full(*_: object) -> None:
            raise SpoolFull("full")

        monkeypatch.setattr(committer._LogKeeper, "_checkpoint", full)
        s.spool._committer._log.shorten()
        assert reserve.stat().st_size == 1024 * 1024


def test_what_a_failed_commit_left_in_the_log_is_written_over(tmp_path: Path) -> None:
    """Else the next start could find it whole, and send what was refused."""

    class FailsToCommit:
        in_transaction = True
        said: ClassVar[list[str]] = []

        def execute(self, statement: str) -> None:
            self.said.append(statement)
            if statement == "COMMIT":
                raise sqlite3.OperationalError("disk I/O error")

    lock = FileLock(tmp_path / "lock")
    with (
        pytest.raises(sqlite3.OperationalError),
        writing(FailsToCommit(), lock),  # type: ignore[arg-type]
    ):
        pass
    lock.close()
    assert FailsToCommit.said == [
        "BEGIN IMMEDIATE",
        "COMMIT",
        "ROLLBACK",
        f"PRAGMA user_version = {schema.VERSION}",
    ]


@in_reactor
async def test_a_full_disk_refuses_all_that_only_brings(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:

        def full(connection: sqlite3.Connection) -> None:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {pages}")

        await s.spool._committer.submit(full)
        with pytest.raises(SpoolFull):
            await s.accept(body=b"x" * CHUNK)


@in_reactor
async def test_a_chunk_that_is_gone_is_no_end_of_the_body(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        accepted = await s.accept(body=b"x" * (CHUNK + 1))
        assert s.store.read_header(accepted.queue_id) == b"Subject: x\r\n\r\n"
        with sqlite3.connect(s.folder / DATABASE) as other:
            other.execute("DELETE FROM chunk")
        with pytest.raises(LookupError):
            await s.spool.read_chunk(accepted.queue_id, 0)


# Starts


def test_a_start_on_a_full_disk_takes_from_the_reserve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the dead had claimed must become due again."""
    state = tmp_path / "state"
    open_spool(state).close()
    (state / "reserve").write_bytes(bytes(2 * 1024 * 1024))

    def full(*_: object) -> int:
        if (state / "reserve").stat().st_size:
            raise SpoolFull("no room")
        return 7

    monkeypatch.setattr(recovery, "release_owner", full)
    opened = open_spool(state)
    assert opened.release_owner("somebody") == 7
    monkeypatch.setattr(
        recovery, "release_owner", lambda *_: (_ for _ in ()).throw(SpoolFull("none"))
    )
    with pytest.raises(SpoolFull):
        opened.release_owner("somebody")
    opened.close()


def test_a_spool_belongs_to_one_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "_PATIENCE", 0.2)
    first = open_spool(tmp_path / "state")
    with pytest.raises(SpoolUnavailable, match="another submitd"):
        open_spool(tmp_path / "state")
    assert first.standing().messages == 0
    first.close()
    open_spool(tmp_path / "state").close()


def test_nobody_else_reads_the_files(tmp_path: Path) -> None:
    opened = open_spool(tmp_path / "state")
    modes = {path.stat().st_mode & 0o77 for path in (tmp_path / "state").iterdir()}
    opened.close()
    assert modes == {0}


def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    open_spool(tmp_path / "state").close()
    with sqlite3.connect(tmp_path / "state" / DATABASE) as other:
        other.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    with pytest.raises(SpoolUnavailable, match="newer"):
        open_spool(tmp_path / "state")
    with pytest.raises(SpoolUnavailable, match="is needed"):
        SqliteStore(tmp_path / "state")


_STEPS_BACK: Final = {
    3: "DROP INDEX message_later; DROP INDEX message_held; "
    "ALTER TABLE message DROP COLUMN login; DROP INDEX recipient_due; "
    "ALTER TABLE recipient DROP COLUMN priority; "
    "ALTER TABLE message DROP COLUMN release_at; "
    "CREATE INDEX recipient_due ON recipient (due_at) "
    "WHERE state = 'queued' AND lease IS NULL AND held = 0; "
    "DROP TRIGGER message_renditions_deleted; DROP TRIGGER rendition_deleted; "
    "DROP TABLE rendition; ALTER TABLE message DROP COLUMN binary; "
    "DROP TABLE usage; DROP TABLE correspondent; "
    "DROP TABLE told",
    2: "ALTER TABLE recipient DROP COLUMN interruptions",
    1: "DROP TRIGGER message_deleted",
}
"""What makes a database of a version out of one that is a version newer."""


@pytest.mark.parametrize("version", _STEPS_BACK)
@in_reactor
async def test_an_older_spool_is_brought_up_to_date(
    tmp_path: Path, version: int
) -> None:
    async with Spooling(tmp_path) as s:
        queue_id = (await s.accept(submitter="Ärger")).queue_id
    with sqlite3.connect(s.folder / DATABASE) as older:
        for step in range(schema.VERSION - 1, version - 1, -1):
            older.executescript(_STEPS_BACK[step])
        older.execute(f"PRAGMA user_version = {version}")
    async with Spooling(tmp_path) as s:
        s.opened.release_owner("owner-1")
        (claimed,) = await s.spool.claim_due(LATER, 10)
        assert claimed.queue_id == queue_id
        assert claimed.recipients[0].interruptions == 0
        assert not claimed.needs.binary
        assert claimed.envelope.priority == 0
        assert claimed.envelope.release_at is None
        (entry,) = s.store.search(Wanted(login="ärger"))
        assert (entry.queue_id, entry.submitter) == (queue_id, "Ärger")
        await s.spool.record(queue_id, [result()])
    with sqlite3.connect(s.folder / DATABASE) as migrated:
        assert schema.version_of(migrated) == schema.VERSION
        for table in ("message", "recipient", "chunk", "event"):
            found = migrated.execute(f"SELECT count(*) FROM {table}")
            assert found.fetchone() == (0,), table


def test_an_operator_hears_where_there_is_no_spool(tmp_path: Path) -> None:
    with pytest.raises(SpoolUnavailable, match="there is no spool here"):
        SqliteStore(tmp_path)


def test_a_disk_that_cannot_hold_a_log_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sqlite.connect

    def without_log(path: Path, *, create: bool = False) -> sqlite3.Connection:
        real(path, create=create).close()
        return sqlite3.connect(":memory:", isolation_level=None)

    monkeypatch.setattr(recovery, "connect", without_log)
    with pytest.raises(SpoolUnavailable, match="WAL"):
        open_spool(tmp_path / "state")


# Names and files


def test_queue_ids_are_unique_and_grow() -> None:
    ids = QueueIds(7, clock=lambda: 1_800_000_000.0)
    names = [ids.next() for _ in range(1000)]
    assert sorted(set(names)) == names
    assert all(queue_id_of(number_of(name.lower())) == name for name in names)


@pytest.mark.parametrize("name", ["", "short", "U" * 12, "!" * 12])
def test_what_is_no_queue_id_names_nothing(name: str) -> None:
    with pytest.raises(LookupError):
        number_of(name)


def test_a_durable_file_is_private_and_never_replaced(tmp_path: Path) -> None:
    target = tmp_path / "key"
    write_durably(target, b"one", owner=(os.getuid(), os.getgid()))
    assert target.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        write_durably(target, b"two")
    assert target.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [target]
