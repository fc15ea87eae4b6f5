"""Other forms of a message, kept beside it."""

import sqlite3
from pathlib import Path

import pytest

from submitd.spool.sqlite import DATABASE
from submitd.spool.store import CHUNK, Needs, NoRendition, SpoolFull, SpoolUnavailable
from tests.support.in_reactor import in_reactor
from tests.support.spooling import LATER, NOW, Spooling, result

BIG = b"y" * CHUNK


def rows(s: Spooling, table: str) -> int:
    with sqlite3.connect(s.folder / DATABASE) as other:
        found: int = other.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    return found


@in_reactor
async def test_a_rendition_is_read_like_a_message_and_goes_with_it(
    tmp_path: Path,
) -> None:
    async with Spooling(tmp_path) as s:
        accepted = await s.accept(body=b"x" * CHUNK + b"old")
        other = await s.accept()
        assert await s.spool.find_rendition(accepted.queue_id, "7bit") is None
        intake = s.spool.open_rendition(accepted.queue_id, "7bit")
        await intake.write(BIG)
        made = await intake.finish(b"A: b\r\n\r\n", b"tail")
        assert made.size == 8 + CHUNK + 4
        assert await s.spool.find_rendition(accepted.queue_id, "7bit") == made
        assert await s.spool.find_rendition(accepted.queue_id, "8bit") is None
        assert await s.spool.find_rendition(other.queue_id, "7bit") is None
        assert await s.spool.read_header(made.content_id) == b"A: b\r\n\r\n"
        assert await s.body(made.content_id) == BIG + b"tail"
        assert await s.body(accepted.queue_id) == b"x" * CHUNK + b"old"
        (line,) = s.store.story(accepted.queue_id)
        assert line.what == "made a form of it for 7bit hosts"
        await s.spool.record(accepted.queue_id, [result()])
        assert (rows(s, "rendition"), rows(s, "chunk"), rows(s, "message")) == (0, 0, 1)
        with pytest.raises(LookupError):
            await s.spool.read_header(made.content_id)


@in_reactor
async def test_it_survives_its_maker_and_what_was_not_finished_does_not(
    tmp_path: Path,
) -> None:
    async with Spooling(tmp_path) as s:
        accepted = await s.accept(needs=Needs(eight_bit=True, binary=True))
        small = s.spool.open_rendition(accepted.queue_id, "7bit")
        made = await small.finish(b"\r\n", b"seven")
        begun = s.spool.open_rendition(accepted.queue_id, "8bit")
        await begun.write(BIG)
    async with Spooling(tmp_path) as s:
        assert (rows(s, "chunk"), rows(s, "intake")) == (0, 0)
        (claimed,) = await s.spool.claim_due(LATER, 10)
        assert claimed.needs == Needs(eight_bit=True, binary=True)
        assert await s.spool.find_rendition(claimed.queue_id, "7bit") == made
        assert await s.body(made.content_id) == b"seven"


@in_reactor
async def test_the_first_one_made_stays(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        accepted = await s.accept()
        slow = s.spool.open_rendition(accepted.queue_id, "7bit")
        await slow.write(BIG)
        fast = s.spool.open_rendition(accepted.queue_id, "7bit")
        made = await fast.finish(b"\r\n", b"first")
        assert await slow.finish(b"\r\n", b"second") == made
        assert (rows(s, "rendition"), rows(s, "chunk"), rows(s, "intake")) == (1, 0, 0)


@in_reactor
async def test_no_form_is_kept_of_a_message_that_is_gone(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        accepted = await s.accept()
        intake = s.spool.open_rendition(accepted.queue_id, "7bit")
        await intake.write(BIG)
        await s.spool.record(accepted.queue_id, [result()])
        with pytest.raises(LookupError):
            await intake.finish(b"\r\n", b"")
        with pytest.raises(SpoolUnavailable, match="ended"):
            await intake.finish(b"\r\n", b"")
        assert (rows(s, "rendition"), rows(s, "chunk"), rows(s, "intake")) == (0, 0, 0)


@in_reactor
async def test_that_there_is_none_is_remembered_for_as_long_as_the_message(
    tmp_path: Path,
) -> None:
    async with Spooling(tmp_path) as s:
        accepted = await s.accept()
        other = await s.accept()
    async with Spooling(tmp_path, reserve=1 << 60) as s:
        for reason in ("it is signed", "found out once more"):
            await s.spool.refuse_rendition(accepted.queue_id, "7bit", reason)
        (line,) = s.store.story(accepted.queue_id)
        assert line.what == "it has no form for 7bit hosts: it is signed"
    async with Spooling(tmp_path) as s:
        no_form = NoRendition("it is signed")
        assert await s.spool.find_rendition(accepted.queue_id, "7bit") == no_form
        assert await s.spool.find_rendition(accepted.queue_id, "8bit") is None
        assert await s.spool.find_rendition(other.queue_id, "7bit") is None
        (claimed, _) = await s.spool.claim_due(LATER, 10)
        await s.spool.record(claimed.queue_id, [result()])
        assert rows(s, "rendition") == 0
        with pytest.raises(LookupError):
            await s.spool.refuse_rendition(claimed.queue_id, "7bit", "it is signed")


@in_reactor
async def test_a_form_that_was_made_counts_more_than_that_there_is_none(
    tmp_path: Path,
) -> None:
    """Of two workers of which one was started after an upgrade."""
    async with Spooling(tmp_path) as s:
        queue_id = (await s.accept()).queue_id
        intake = s.spool.open_rendition(queue_id, "7bit")
        await intake.write(BIG)
        await s.spool.refuse_rendition(queue_id, "7bit", "it is signed")
        made = await intake.finish(b"\r\n", b"x")
        await s.spool.refuse_rendition(queue_id, "7bit", "it is signed")
        assert await s.spool.find_rendition(queue_id, "7bit") == made
        assert await s.body(made.content_id) == BIG + b"x"
        assert rows(s, "rendition") == 1


@in_reactor
async def test_half_a_form_is_none(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        accepted = await s.accept()
        intake = s.spool.open_rendition(accepted.queue_id, "7bit")
        await intake.write(BIG)
        with sqlite3.connect(s.folder / DATABASE) as other:
            other.execute("DELETE FROM chunk")
        with pytest.raises(SpoolUnavailable, match="0 of 1 chunks"):
            await intake.finish(b"\r\n", b"")
        assert rows(s, "rendition") == 0


@in_reactor
async def test_the_disks_reserve_is_not_for_other_forms(tmp_path: Path) -> None:
    async with Spooling(tmp_path, reserve=1 << 60) as s:
        with pytest.raises(SpoolFull):
            await s.spool.open_rendition("0" * 12, "7bit").write(BIG)
        with pytest.raises(SpoolFull):
            await s.spool.open_rendition("0" * 12, "7bit").finish(b"\r\n", b"")
        assert await s.spool.claim_due(NOW, 1) == []
