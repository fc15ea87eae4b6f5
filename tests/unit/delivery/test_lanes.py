"""Connections to destinations: how many, for whom, and what a fault does."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from submitd.delivery.connection import ConnectionBroke
from submitd.delivery.courier import CannotReach, FormWanted, Hop
from submitd.delivery.lanes import DeliveryLimits, Job, Lanes, WaitingJobs
from submitd.delivery.outcome import Delayed, Failed, Outcome, Relayed
from submitd.delivery.route import Route
from submitd.mail.address import parse_mailbox
from submitd.mail.envelope import Envelope, ForwardPath
from submitd.mail.rendition import Target
from submitd.mail.status import EnhancedCode
from submitd.observe.metrics import Metrics
from submitd.spool.store import Needs, Recipient, Spooled
from tests.support.recorded_events import RecordedEvents

NOW: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
OK: Final = Relayed(EnhancedCode(2, 0, 0), "mx", "250 ok")
DOWN: Final = Delayed(EnhancedCode(4, 4, 1), "cannot connect")
TOO_MANY: Final = Failed(EnhancedCode(5, 7, 0), "554 too many connections")


def job(name: str, recipients: int = 1, priority: int = 0, at: float = 0.0) -> Job:
    """``at``: seconds after `NOW` at which it was accepted."""
    paths = tuple(
        ForwardPath(parse_mailbox(f"u{number}@example.net"))
        for number in range(recipients)
    )
    claimed = tuple(
        Recipient(number=number, forward_path=path, due_at=NOW)
        for number, path in enumerate(paths)
    )
    return Job(
        Spooled(
            queue_id=name,
            envelope=Envelope(
                reverse_path=None,
                forward_paths=paths,
                accepted_at=NOW + timedelta(seconds=at),
                priority=priority,
            ),
            needs=Needs(),
            submitter=None,
            session="s",
            header_size=2,
            body_size=0,
            recipients=claimed,
        ),
        claimed,
    )


class Connection:
    """A connection to a host that may take its time to say goodbye."""

    def __init__(self) -> None:
        self.is_usable = True
        self.goodbye: Deferred[None] | None = None
        self.ended = 0
        self.has_room = True

    def takes(self, domain: str) -> bool:  # noqa: ARG002
        return self.has_room

    async def quit(self) -> None:
        if self.goodbye is not None:
            await self.goodbye
        self.ended += 1

    def abort(self) -> None:
        self.is_usable = False
        self.ended += 1


class Site:
    """Lanes, with a courier and a home for jobs that the test plays."""

    def __init__(self, **limits: float) -> None:
        self.clock = Clock()
        self.events = RecordedEvents()
        self.reached: list[str] = []
        self.reach_with: Callable[[str], Any] = lambda _: None
        self.carried: list[tuple[str, int, bool]] = []
        self.carry_with: Callable[[str, int], Any] = lambda _, count: [OK] * count
        self.settled: dict[str, list[Outcome]] = {}
        self.given_back: list[str] = []
        self.were_put_off: list[str] = []
        self.prepared: list[str] = []
        self.prepare_with: Callable[[], Any] = lambda: None
        self.late: set[str] = set()
        self.begun = 0
        self.ended = 0
        self.slots: list[str] = []
        self.most_slots = 100
        self.asked = 0
        self.connections: list[Connection] = []
        defaults: dict[str, Any] = {
            "connections": 10,
            "connections_per_destination": 3,
            "messages_per_connection": 100,
            "idle_connection": 5.0,
        }
        self.lanes = Lanes(
            self.clock,
            self,  # type: ignore[arg-type]
            DeliveryLimits(**(defaults | limits)),
            self,
            self,
            self.events,
            Metrics(),
        )

    def put(
        self,
        name: str,
        to: str = "a.example",
        recipients: int = 1,
        priority: int = 0,
        at: float | None = None,
    ) -> None:
        when = self.clock.seconds() if at is None else at
        self.lanes.put(Route(key=to, mx_of=to), job(name, recipients, priority, when))

    # As a courier

    async def reach(self, route: Route) -> Hop:
        self.reached.append(route.key)
        answer = self.reach_with(route.key)
        if isinstance(answer, Deferred):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        connection = answer or Connection()
        self.connections.append(connection)
        return Hop(connection, f"mx.{route.key}")  # type: ignore[arg-type]

    async def carry(
        self,
        hop: Hop,  # noqa: ARG002
        spooled: Spooled,
        recipients: Sequence[Recipient],
        *,
        reused: bool,
    ) -> list[Outcome]:
        self.carried.append((spooled.queue_id, len(recipients), reused))
        answer = self.carry_with(spooled.queue_id, len(recipients))
        if isinstance(answer, Deferred):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        outcomes: list[Outcome] = answer
        return outcomes

    async def prepare(self, spooled: Spooled, target: Target) -> Delayed | None:
        assert target is Target.SEVEN_BIT
        self.prepared.append(spooled.queue_id)
        answer = self.prepare_with()
        if isinstance(answer, Deferred):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        trouble: Delayed | None = answer
        return trouble

    # As the counts of the whole server

    async def take(self, keys: list[tuple[str, int | None]]) -> bool:
        self.asked += 1
        if len(self.slots) >= self.most_slots:
            return False
        self.slots += [key for key, _ in keys]
        return True

    def give(self, keys: list[str]) -> None:
        for key in keys:
            self.slots.remove(key)

    # As the scheduler

    def begin(self, job: Job) -> None:  # noqa: ARG002
        self.begun += 1

    def settle(self, job: Job, outcomes: list[Outcome]) -> None:
        self.settled.setdefault(job.spooled.queue_id, []).extend(outcomes)

    def give_back(self, job: Job) -> None:
        self.given_back.append(job.spooled.queue_id)

    def put_off(self, job: Job, seconds: float) -> None:
        assert seconds > 0
        self.were_put_off.append(job.spooled.queue_id)

    def in_time(self, job: Job) -> Job | None:
        return None if job.spooled.queue_id in self.late else job

    def lane_ended(self) -> None:
        self.ended += 1


def test_jobs_of_one_destination_share_a_connection_that_is_kept_for_a_while() -> None:
    site = Site()
    site.put("one")
    site.put("two")
    assert site.settled == {"one": [OK], "two": [OK]}
    assert site.carried == [("one", 1, False), ("two", 1, True)]
    site.clock.advance(5)
    assert (site.lanes.count, site.ended, site.slots) == (0, 1, [])
    assert site.connections[0].ended == 1


def test_a_fault_of_ours_while_reaching_counts_as_an_attempt() -> None:
    """Else the same fault would be met again at once, for ever."""
    site = Site()
    site.reach_with = lambda _: RuntimeError("a bug")
    site.put("one")
    assert site.reached == ["a.example"]
    (outcome,) = site.settled["one"]
    assert isinstance(outcome, Delayed)
    assert str(outcome.status) == "4.3.0"
    assert site.events.names[0] == "attempt-broke"
    assert site.lanes.count == 0


def test_a_connection_that_is_of_no_use_at_once_is_a_delay() -> None:
    site = Site()
    connection = Connection()
    connection.is_usable = False
    site.reach_with = lambda _: connection
    site.put("one")
    (outcome,) = site.settled["one"]
    assert str(outcome.status) == "4.4.2"
    assert site.reached == ["a.example"]
    assert connection.ended == 1


def test_all_that_waits_for_a_dead_host_shares_its_fate() -> None:
    site = Site(connections_per_destination=1)
    connecting: Deferred[Any] = Deferred()
    site.reach_with = lambda _: connecting
    for name in ("one", "two", "three"):
        site.put(name)
    connecting.callback(CannotReach(DOWN))
    assert site.settled == {name: [DOWN] for name in ("one", "two", "three")}
    assert site.reached == ["a.example"]


def test_a_refusal_of_one_more_connection_is_none_of_the_mail() -> None:
    """The others may still be connecting: the last of them decides."""
    site = Site()
    first: Deferred[Any] = Deferred()
    answers: list[Any] = [first, CannotReach(TOO_MANY), CannotReach(TOO_MANY)]
    site.reach_with = lambda _: answers.pop(0)
    for name in ("one", "two", "three"):
        site.put(name)
    assert site.settled == {}
    first.callback(None)
    assert site.settled == {name: [OK] for name in ("one", "two", "three")}


def test_the_last_lane_to_fail_decides() -> None:
    site = Site()
    first: Deferred[Any] = Deferred()
    answers: list[Any] = [first, CannotReach(TOO_MANY)]
    site.reach_with = lambda _: answers.pop(0)
    for name in ("one", "two"):
        site.put(name)
    first.callback(CannotReach(DOWN))
    assert site.settled == {"one": [DOWN], "two": [DOWN]}


def test_it_is_not_believed_for_ever_that_a_host_bears_few_connections() -> None:
    site = Site(idle_connection=1e6)
    working: list[Deferred[Any]] = []

    def work(_: str, count: int) -> Deferred[Any]:  # noqa: ARG001
        working.append(Deferred())
        return working[-1]

    site.carry_with = work
    answers: list[Any] = [None, CannotReach(DOWN), None]
    site.reach_with = lambda _: answers.pop(0)
    site.put("one")
    site.put("two")
    site.put("three")
    assert len(site.reached) == 2
    site.clock.advance(301)
    site.put("four")
    assert len(site.reached) == 3


def test_where_others_have_all_connections_not_each_message_asks_for_one() -> None:
    site = Site()
    site.most_slots = 1
    working: list[Deferred[Any]] = [Deferred(), Deferred()]
    pending = iter(working)
    site.carry_with = lambda _, count: next(pending, [OK] * count)
    for number in range(50):
        site.put(f"m{number}")
    assert (site.asked, len(site.reached), site.lanes.count) == (2, 1, 1)
    site.clock.advance(1)
    site.most_slots = 2
    site.put("later")
    assert (site.asked, len(site.reached)) == (3, 2)
    for one in working:
        one.callback([OK])
    assert len(site.settled) == 51


def test_a_slow_destination_may_not_take_all_the_memory() -> None:
    site = Site(messages_per_destination=3, connections_per_destination=1)
    site.reach_with = lambda _: Deferred()
    for number in range(5):
        site.put(str(number))
    assert site.were_put_off == ["3", "4"]
    site.reach_with = lambda _: None
    site.put("other", to="b.example")
    assert site.settled == {"other": [OK]}


def test_a_host_has_heard_goodbye_before_it_is_called_again() -> None:
    site = Site(messages_per_connection=1, connections_per_destination=1)
    connection = Connection()
    connection.goodbye = Deferred()
    site.reach_with = lambda _: connection if len(site.reached) == 1 else None
    site.put("one")
    site.put("two")
    assert (len(site.reached), site.slots) == (1, ["to a.example"])
    connection.goodbye.callback(None)
    assert len(site.reached) == 2
    assert site.settled == {"one": [OK], "two": [OK]}


def test_the_slot_is_given_back_when_the_connection_is_over() -> None:
    site = Site(idle_connection=1)
    connection = Connection()
    connection.goodbye = Deferred()
    site.reach_with = lambda _: connection
    site.put("one")
    site.clock.advance(1)
    assert (site.slots, site.lanes.count) == (["to a.example"], 1)
    connection.goodbye.callback(None)
    assert (site.slots, site.lanes.count) == ([], 0)


def test_an_idle_connection_makes_room_for_who_has_none() -> None:
    site = Site(connections=1)
    site.put("one")
    site.put("two", to="b.example")
    assert site.reached == ["a.example", "b.example"]
    assert site.settled == {"one": [OK], "two": [OK]}


def test_a_busy_destination_lets_another_have_its_turn() -> None:
    site = Site(connections=1, messages_per_connection=2)
    connecting: Deferred[Any] = Deferred()
    site.reach_with = lambda _: connecting if len(site.reached) == 1 else None
    for number in range(4):
        site.put(f"a{number}")
    site.put("b", to="b.example")
    connecting.callback(None)
    assert [name for name, *_ in site.carried] == ["a0", "a1", "b", "a2", "a3"]


def test_who_was_not_tried_when_the_host_hung_up_is_tried_on_a_new_connection() -> None:
    site = Site()

    def carry(_: str, count: int) -> list[Outcome]:
        if count == 3:
            site.connections[0].is_usable = False
            return [OK]
        return [OK] * count

    site.carry_with = carry
    site.put("one", recipients=3)
    assert site.carried == [("one", 3, False), ("one", 2, False)]
    assert site.settled == {"one": [OK] * 3}
    assert site.begun == 1
    assert len(site.reached) == 2


def test_a_reused_connection_that_was_closed_costs_no_attempt() -> None:
    site = Site()

    def carry(name: str, count: int) -> list[Outcome] | Exception:
        if name == "two" and site.carried[-1][2]:
            site.connections[0].is_usable = False
            return ConnectionBroke("gone", unused=True)
        return [OK] * count

    site.carry_with = carry
    site.put("one")
    site.put("two")
    assert site.carried == [("one", 1, False), ("two", 1, True), ("two", 1, False)]
    assert site.settled == {"one": [OK], "two": [OK]}


def test_a_message_that_trips_a_bug_does_not_hold_up_the_others() -> None:
    site = Site()
    site.carry_with = lambda name, count: (
        ValueError("a bug") if name == "bad" else [OK] * count
    )
    site.put("bad", recipients=2)
    site.put("good")
    assert [str(one.status) for one in site.settled["bad"]] == ["4.3.0"] * 2
    assert site.settled["good"] == [OK]
    assert site.events.names == ["attempt-broke"]


def test_a_stop_gives_back_what_waits_and_ends_what_is_idle() -> None:
    site = Site(connections_per_destination=1)
    site.put("idle", to="b.example")
    connecting: Deferred[Any] = Deferred()
    site.reach_with = lambda _: connecting
    site.put("one")
    site.put("two")
    site.lanes.stop()
    assert site.given_back == ["one", "two"]
    assert site.lanes.count == 1
    connecting.callback(None)
    assert site.lanes.count == 0


@pytest.mark.parametrize("stopping", [True, False])
def test_what_comes_back_during_a_stop_is_not_tried_again(stopping: bool) -> None:
    site = Site()
    working: Deferred[Any] = Deferred()
    answers: list[Any] = [[OK], working, [OK]]
    site.carry_with = lambda *_: answers.pop(0)
    site.put("one")
    site.put("two")
    site.connections[0].is_usable = False
    if stopping:
        site.lanes.stop()
    working.callback(ConnectionBroke("gone", unused=True))
    assert site.given_back == (["two"] if stopping else [])
    assert ("two" in site.settled) is not stopping


# Priorities and limits


@pytest.mark.rfc("6710", "5.1")
def test_urgent_jobs_are_served_first_but_not_for_ever() -> None:
    waiting = WaitingJobs()
    names = {"plain": 0, "later": 0, "urgent": 3, "unhurried": -1}
    for name, priority in names.items():
        waiting.put(job(name, priority=priority))
    waiting.put(job("aged", priority=0, at=-4 * 3600))
    waiting.put_back(job("again", priority=-9))
    assert len(waiting) == 6
    assert waiting.first.spooled.queue_id == "again"
    served = [waiting.take().spooled.queue_id for _ in range(6)]
    assert served == ["again", "aged", "urgent", "plain", "later", "unhurried"]


@pytest.mark.rfc("9422", "4.1")
def test_a_connection_that_may_carry_no_more_is_replaced() -> None:
    site = Site(connections_per_destination=1)
    site.put("m1")
    site.connections[0].has_room = False
    site.put("m2")
    site.clock.advance(0)
    assert [name for name, _, _ in site.carried] == ["m1", "m2"]
    assert [one.ended for one in site.connections] == [1, 0]
    # On a new connection nothing is reused.
    assert [reused for _, _, reused in site.carried] == [False, False]


@pytest.mark.rfc("6710", "5.1")
def test_what_is_urgent_finds_a_place_where_others_have_them_all() -> None:
    site = Site(messages_per_destination=2, connections_per_destination=1)
    forever: Deferred[Any] = Deferred()
    site.reach_with = lambda _: forever
    site.put("m1")
    site.put("m2", priority=2)
    site.put("m3")
    assert site.were_put_off == ["m3"]
    site.put("m4", priority=1)
    assert site.were_put_off == ["m3", "m1"]
    site.put("m5", priority=1)
    assert site.were_put_off == ["m3", "m1", "m5"]
    forever.callback(None)
    assert [name for name, _, _ in site.carried] == ["m2", "m4"]


# What needs another form first


class Unprepared(Site):
    """Lanes, and a courier that wants a form for the messages named ``form …``."""

    def __init__(self, **limits: float) -> None:
        super().__init__(**limits)
        self.making: Deferred[Any] = Deferred()
        self.prepare_with = self._prepare
        self.carry_with = self._carry

    def _prepare(self) -> Any:  # noqa: ANN401
        return self.comes_to if self.making.called else self.making

    def end_making(self, comes_to: Any = None) -> None:  # noqa: ANN401
        """The form under way, and all others."""
        self.comes_to = comes_to
        self.making.callback(comes_to)

    def _carry(self, name: str, count: int) -> list[Outcome] | FormWanted:
        if name.startswith("form") and not self.making.called:
            return FormWanted(Target.SEVEN_BIT)
        return [OK] * count


def test_a_connection_is_not_kept_waiting_for_a_form() -> None:
    site = Unprepared(connections_per_destination=1)
    for name in ("form 1", "form 2", "plain"):
        site.put(name, recipients=2)
    assert site.settled == {"plain": [OK, OK]}
    assert site.prepared == ["form 1"]
    site.clock.advance(5)
    assert site.lanes.count == 0
    site.end_making()
    assert site.settled == {name: [OK, OK] for name in ("plain", "form 1", "form 2")}
    assert site.reached == ["a.example", "a.example"]


def test_a_form_that_is_made_goes_before_what_waits() -> None:
    site = Unprepared(connections_per_destination=1)
    site.put("form 1")
    busy: Deferred[Any] = Deferred()
    site.carry_with = lambda name, count: busy if name == "busy" else [OK] * count
    for name in ("busy", "later"):
        site.put(name)
    site.end_making()
    busy.callback([OK])
    assert list(site.settled) == ["busy", "form 1", "later"]


@pytest.mark.parametrize("trouble", [DOWN, RuntimeError("a bug")])
def test_a_form_that_cannot_be_made_now_delays(trouble: Any) -> None:  # noqa: ANN401
    site = Unprepared()
    for name in ("form 1", "form 2"):
        site.put(name, recipients=2)
    site.end_making(trouble)
    for name in ("form 1", "form 2"):
        first, second = site.settled[name]
        assert isinstance(first, Delayed)
        assert first == second
    assert ("attempt-broke" in site.events.names) is (trouble is not DOWN)


def test_a_stop_gives_back_what_waits_for_its_form() -> None:
    """Also what is being made, once it is: it is not tried any more."""
    site = Unprepared(connections_per_destination=1)
    busy: Deferred[Any] = Deferred()
    for name in ("form 1", "form 2"):
        site.put(name)
    site.carry_with = lambda *_: busy
    site.put("form 3")
    site.lanes.stop()
    assert site.given_back == ["form 2"]
    busy.callback(FormWanted(Target.SEVEN_BIT))
    assert site.given_back == ["form 2", "form 3"]
    site.end_making()
    assert site.given_back == ["form 2", "form 3", "form 1"]
    assert (site.settled, site.lanes.count, site.prepared) == ({}, 0, ["form 1"])


def test_what_finds_too_many_forms_wanted_is_put_off() -> None:
    site = Unprepared(messages_per_connection=200)
    for number in range(103):
        site.put(f"form {number}")
    assert site.were_put_off == ["form 101", "form 102"]
    site.end_making()
    assert len(site.settled) == 101


def test_plain_mail_finds_a_place_among_what_lets_others_go_first() -> None:
    site = Site(messages_per_destination=3)
    site.reach_with = lambda _: Deferred()
    for number in range(3):
        site.put(f"bulk{number}", priority=-9)
    site.put("plain")
    assert site.were_put_off == ["bulk2"]


@pytest.mark.rfc("6710", "5.1")
def test_plain_mail_finds_a_place_once_it_is_as_old_as_a_head_start() -> None:
    """Urgent mail comes as fast as it goes; the plain one is put off every time."""
    site = Site(messages_per_destination=20, connections_per_destination=1)
    going: list[Deferred[Any]] = []

    def carry(_: str, count: int) -> Deferred[Any]:  # noqa: ARG001
        going.append(Deferred())
        return going[-1]

    site.carry_with = carry
    for number in range(21):
        site.put(f"urgent{number}", priority=1)
    found_at, last = 0, ""
    for minute in range(1, 62):
        site.clock.advance(60)
        going[-1].callback([OK])
        site.put(f"urgent{20 + minute}", priority=1)
        site.put("plain", at=0)
        if (last := site.were_put_off.pop()) != "plain":
            found_at = minute
            break
    # A place, and soon its turn: nobody who comes from now on goes before it.
    assert (found_at, last) == (61, "urgent81")


def test_what_is_late_when_its_turn_comes_is_not_carried() -> None:
    site = Site(connections_per_destination=1, messages_per_connection=2)
    connecting: Deferred[Any] = Deferred()
    site.reach_with = lambda _: connecting
    for name in ("one", "two", "three"):
        site.put(name)
    site.late = {"one"}
    connecting.callback(None)
    assert [name for name, _, _ in site.carried] == ["two", "three"]
    assert len(site.reached) == 1
