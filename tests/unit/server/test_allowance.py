"""A submitter's limits, on a real spool: refused, or held and told of."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred

from submitd.auth.submitter import Submitter
from submitd.mail.address import parse_mailbox
from submitd.mail.envelope import ForwardPath
from submitd.observe.metrics import Metrics
from submitd.policy.quota import Quota, Quotas, Room
from submitd.server.allowance import Allowance, Allowances
from submitd.smtp.reply import Reply
from submitd.spool.store import NewMessage, Notices, Report, Spooled, Wanted
from tests.support.in_reactor import in_reactor
from tests.support.recorded_events import RecordedEvents
from tests.support.spooling import NOW, Spooling, message

BOB = (ForwardPath(parse_mailbox("bob@example.net")),)
FULL = "The limit is 2 messages an hour (2 used); possible again in 61 min"


class Site:
    """alice, and her limits."""

    def __init__(self, spooling: Spooling, **quota: Any) -> None:  # noqa: ANN401
        self.events = RecordedEvents()
        self.metrics = Metrics()
        self.made: list[str] = []
        self._spooling = spooling
        self._shared = Allowances(
            quotas=Quotas(Quota(), {"alice": Quota(**quota)}),
            spool=spooling.spool,
            notices=self,
            events=self.events,
            metrics=self.metrics,
            now=lambda: NOW,
        )

    def make(self, message_: NewMessage, who: Submitter, reason: str) -> Notices:
        """As `MakesNotices.make`."""
        self.made.append(reason)
        intake = self._spooling.spool.open_intake()
        assert message_.submitter == who.login.lower()
        report = Report(message=message(intake, submitter=None), body=b"held\r\n")
        return Notices(None, (report,))

    def allowance(self, login: str = "Alice", *, for_later: bool = False) -> Allowance:
        who = Submitter(login, ())
        found = self._shared.of(who, "session-1", for_later=for_later)
        assert found is not None
        return found

    def has_none(self, login: str, *, for_later: bool = False) -> bool:
        who = Submitter(login, ())
        return self._shared.of(who, "session-1", for_later=for_later) is None

    async def accept(
        self, *to: str, seconds: float = 0, later: float = 0
    ) -> Spooled | Reply:
        """``later``: seconds for which it is to wait."""
        intake = self._spooling.spool.open_intake()
        release_at = NOW + timedelta(seconds=later) if later else None
        new = message(intake, *to, release_at=release_at)
        at = NOW + timedelta(seconds=seconds)
        new = evolve(new, envelope=evolve(new.envelope, accepted_at=at))
        size = len(new.header) + len(b"text\r\n")
        allowance = self.allowance(for_later=bool(later))
        return await allowance.accept(intake, new, b"text\r\n", size)

    def counted(self, action: str) -> float:
        value = self.metrics.registry.get_sample_value(
            "submitd_over_quota_total", {"action": action}
        )
        return value or 0.0


@in_reactor
async def test_what_is_over_a_limit_is_refused_before_its_content(
    tmp_path: Path,
) -> None:
    async with Spooling(tmp_path) as s:
        site = Site(s, messages_per_hour=2)
        for _ in range(2):
            assert await site.allowance().refusal(BOB, 0) is None
            assert isinstance(await site.accept("bob"), Spooled)
        refused = await site.allowance().refusal(BOB, 0)
        assert refused is not None
        assert (refused.code, refused.text) == (451, FULL)
        assert site.counted("refused") == 1
        facts = {"session": "session-1", "login": "Alice", "reply": FULL}
        assert site.events.emitted == [("over-quota", facts)]
        assert site.has_none("bob")


@in_reactor
async def test_the_accepting_transaction_has_the_last_word(tmp_path: Path) -> None:
    """Sessions that all got their 354 at once."""
    async with Spooling(tmp_path) as s:
        site = Site(s, messages_per_hour=2)
        begun = [Deferred.fromCoroutine(site.accept("bob")) for _ in range(10)]
        outcomes = [await one for one in begun]
        assert sum(isinstance(one, Spooled) for one in outcomes) == 2
        assert s.store.standing().messages == 2
        assert site.counted("refused") == 8


@in_reactor
async def test_first_time_recipients_are_told_from_others(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        site = Site(s, new_recipients_per_day=2)
        assert isinstance(await site.accept("bob", "carol"), Spooled)
        assert isinstance(await site.accept("bob", "carol"), Spooled)
        assert await site.allowance().refusal(BOB, 0) is None
        dave = (*BOB, ForwardPath(parse_mailbox("dave@example.net")))
        assert await site.allowance().refusal(dave, 0) is not None
        assert isinstance(await site.accept("dave"), Reply)


@in_reactor
async def test_what_is_over_a_limit_is_held_where_that_is_wanted(
    tmp_path: Path,
) -> None:
    async with Spooling(tmp_path) as s:
        site = Site(s, messages_per_hour=2, holds=True, held=Room(messages=3))
        kept = [await site.accept("bob") for _ in range(5)]
        assert all(isinstance(one, Spooled) for one in kept)
        held = list(s.store.search(Wanted(sender="alice", held=True)))
        assert len(held) == 3
        # Told once, and in the story of each.
        assert s.store.standing().messages == 6
        for one in held:
            (line,) = s.store.story(one.queue_id)
            assert line.what == f"held: {FULL}"
        assert site.events.names == ["message-held"] * 3
        assert site.counted("held") == 3
        # There is an end to that, too.
        refused = await site.accept("bob")
        assert isinstance(refused, Reply)
        assert refused.code == 452
        assert refused.text == "Too much of your mail is held already: 3 messages, 1 kB"
        assert await site.allowance().refusal(BOB, 0) is not None
        # An hour later she may send again.
        assert isinstance(await site.accept("bob", seconds=3700), Spooled)


@in_reactor
async def test_what_would_be_held_is_not_refused_before_its_content(
    tmp_path: Path,
) -> None:
    async with Spooling(tmp_path) as s:
        site = Site(s, messages_per_hour=2, holds=True)
        for _ in range(4):
            assert await site.allowance().refusal(BOB, 0) is None
            await site.accept("bob")
        assert s.store.standing().held == 2


@in_reactor
async def test_held_octets_have_an_end(tmp_path: Path) -> None:
    """Or one stolen password fills the spool, and everybody hears 452."""
    async with Spooling(tmp_path) as s:
        size = len(b"Subject: x\r\n\r\ntext\r\n")
        room = Room(octets=2 * size + 5)
        site = Site(s, messages_per_hour=1, holds=True, held=room)
        kept = [await site.accept("bob") for _ in range(3)]
        assert all(isinstance(one, Spooled) for one in kept)
        assert isinstance(await site.accept("bob"), Reply)
        assert s.store.standing().held == 2
        # Known before, where the client says how large it will be.
        assert await site.allowance().refusal(BOB, 5) is None
        refused = await site.allowance().refusal(BOB, 6)
        assert refused is not None
        assert refused.text == "Too much of your mail is held already: 2 messages, 1 kB"
        # What was let go leaves room.
        ids = [one.queue_id for one in s.store.search(Wanted(held=True))]
        s.store.release_held(ids, NOW)
        assert isinstance(await site.accept("bob"), Spooled)
        assert s.store.standing().held == 1


@pytest.mark.rfc("4865", "6")
@in_reactor
async def test_what_waits_for_later_has_an_end(tmp_path: Path) -> None:
    """Or one login stores a week of mail, and lets it go in one second."""
    full = "Too much of your mail waits for later: 2 messages, 1 kB"
    async with Spooling(tmp_path) as s:
        site = Site(s, later=Room(messages=2))
        assert site.has_none("Alice")
        assert site.has_none("bob", for_later=True)
        waiting = [
            Deferred.fromCoroutine(site.accept("bob", later=60 * number))
            for number in range(1, 6)
        ]
        outcomes = [await one for one in waiting]
        refused = [one for one in outcomes if isinstance(one, Reply)]
        assert len(refused) == 3
        assert (refused[0].code, refused[0].text) == (552, full)
        assert str(refused[0].enhanced) == "5.7.16"
        at_mail = await site.allowance(for_later=True).refusal_at_mail(0)
        assert at_mail == refused[0]
        assert site.counted("refused") == 4
        # When the first has gone there is room again.
        s.store.release_early([one.queue_id for one in s.store.search(Wanted())], NOW)
        assert await site.allowance(for_later=True).refusal_at_mail(0) is None
        assert isinstance(await site.accept("bob", later=60), Spooled)


@pytest.mark.rfc("4865", "6")
@in_reactor
async def test_octets_that_wait_for_later_have_an_end_too(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        size = len(b"Subject: x\r\n\r\ntext\r\n")
        site = Site(s, later=Room(octets=size + 5))
        assert isinstance(await site.accept("bob", later=60), Spooled)
        assert await site.allowance(for_later=True).refusal_at_mail(5) is None
        assert await site.allowance(for_later=True).refusal_at_mail(6) is not None
        assert isinstance(await site.accept("bob", later=60), Reply)


@in_reactor
async def test_what_may_not_wait_is_not_held_either(tmp_path: Path) -> None:
    async with Spooling(tmp_path) as s:
        site = Site(s, messages_per_hour=1, holds=True, later=Room(messages=2))
        for _ in range(2):
            assert isinstance(await site.accept("bob", later=60), Spooled)
        assert s.store.standing().held == 1
        refused = await site.accept("bob", later=60)
        assert isinstance(refused, Reply)
        assert refused.code == 552
        assert site.made == [
            "The limit is 1 message an hour (1 used); possible again in 61 min"
        ]
        # What need not wait is held.
        assert isinstance(await site.accept("bob"), Spooled)
        assert s.store.standing().held == 2
