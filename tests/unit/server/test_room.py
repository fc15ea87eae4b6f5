"""Who finds a place, under a clock: who gives way to whom, and who to nobody."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred

from submitd.server.limits import Strangers
from submitd.server.submission import TimeLimits
from submitd.smtp.conversation import Answer
from submitd.smtp.event import Event, PasswordOffered
from tests.support.session_peer import LOG_IN_REFUSED, LOGGED_IN
from tests.unit.server.test_proxied import GREETING, HEADER, Counts, Site, lose, say
from tests.unit.server.test_submission import Wire

TOO_MANY: Final = b"421 4.7.0 Too many connections, try again later\r\n"
AUTH: Final = b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n"


def site(counts: Counts, **limits: float | None) -> Site:
    here = Site(counts, proxied=False)
    here.factory.time_limits = TimeLimits(**limits)
    return here


def begin_log_in(wire: Wire, octets: bytes = AUTH) -> Deferred[Any]:
    """Have it ask for a log-in; the verdict, which is still to come."""
    protocol = wire.protocol
    verdict: Deferred[Any] = Deferred()
    answer_at_once = protocol._desk.answer

    def answer(event: Event) -> Answer | Awaitable[Answer]:
        if isinstance(event, PasswordOffered):
            return verdict
        told: Answer = answer_at_once(event)
        return told

    protocol._desk.answer = answer
    protocol._session.tls = True
    say(wire, b"EHLO x\r\n" + octets)
    return verdict


def test_where_all_places_are_taken_who_was_there_first_gives_way() -> None:
    counts = Counts(in_all=2)
    here = site(counts)
    first, second = here.connect("198.51.100.1"), here.connect("198.51.100.2")
    third = here.connect("198.51.100.3")

    assert first.value() == GREETING + TOO_MANY
    assert first.closing
    assert second.value() == third.value() == GREETING
    assert counts.taken == ["198.51.100.2", "198.51.100.3"]
    lose(first)
    assert counts.taken == ["198.51.100.2", "198.51.100.3"]
    assert here.events.emitted[-1][1]["end"] == "displaced"


def test_who_gives_way_within_a_handshake_has_made_no_fault_of_it() -> None:
    here = site(Counts(in_all=1))
    first = here.connect("198.51.100.1")
    first.protocol._handshaking = True
    here.connect("198.51.100.2")
    assert first.disconnected
    lose(first)
    assert "tls-failed" not in here.events.names
    assert here.events.emitted[-1][1]["end"] == "displaced"


def test_one_of_those_who_are_most_from_one_address_gives_way() -> None:
    """Who comes alone, on a slow line, has time: a crowd makes room for itself."""
    counts = Counts(in_all=13, each=20)
    here = site(counts)
    alone = here.connect("198.51.100.1")
    crowd = [here.connect(f"2001:db8::{number:x}") for number in range(40)]

    assert alone.value() == GREETING
    assert [wire.closing for wire in crowd] == [True] * 28 + [False] * 12


def test_an_office_keeps_its_places_where_a_site_comes_from_all_its_addresses() -> None:
    """65,536 networks of one site are one crowd, and the office behind NAT is none."""
    counts = Counts(in_all=30)
    here = site(counts)
    office = [here.connect("198.51.100.1") for _ in range(5)]
    crowd = [here.connect(f"2001:db8:1:{number:x}::1") for number in range(100)]

    assert [wire.closing for wire in office] == [False] * 5
    assert [wire.closing for wire in crowd] == [True] * 75 + [False] * 25


def test_an_office_has_as_long_as_who_comes_alone_where_a_crowd_is_everywhere() -> None:
    counts = Counts(in_all=20)
    here = site(counts)
    first = [here.connect(f"10.1.{number}.1") for number in range(10)]
    office = [here.connect("198.51.100.1") for _ in range(3)]
    last = [here.connect(f"10.2.{number}.1") for number in range(7)]
    for number in range(10):
        here.connect(f"10.3.{number}.1")
    assert [wire.closing for wire in first] == [True] * 10
    assert [wire.closing for wire in office] == [False] * 3
    here.connect("10.4.1.1")

    assert [wire.closing for wire in office] == [True, False, False]
    assert not any(wire.closing for wire in last)


def test_who_has_logged_in_gives_way_to_nobody() -> None:
    counts = Counts(in_all=1)
    here = site(counts)
    first = here.connect("198.51.100.1")
    begin_log_in(first).callback(LOGGED_IN)
    second, third = here.connect("198.51.100.2"), here.connect("198.51.100.3")

    assert first.value().endswith(LOGGED_IN.encode())
    for wire in (second, third):
        assert wire.value() == TOO_MANY
    assert counts.taken == ["198.51.100.1"]
    assert counts.asked[1:] == ["opened", "opened"]


def test_nor_does_who_goes_on_at_once_behind_the_log_in() -> None:
    """It is busy again before it has been still."""
    counts = Counts(in_all=1)
    here = site(counts)
    first = here.connect("198.51.100.1")
    again = AUTH + b"MAIL FROM:<a@example.org>\r\n"
    begin_log_in(first, again).callback(LOGGED_IN)

    assert here.factory.strangers.make_room() is None
    assert first.value().endswith(b"Sender accepted\r\n")


def test_who_is_one_too_many_from_its_address_drives_out_nobody() -> None:
    """However full it is, and at the price of one question."""
    counts = Counts(in_all=2, each=1)
    here = site(counts)
    first, second = here.connect("198.51.100.1"), here.connect("198.51.100.2")
    counts.asked.clear()
    again = here.connect("198.51.100.1")

    assert first.value() == second.value() == GREETING
    assert again.value() == TOO_MANY
    assert counts.taken == ["198.51.100.1", "198.51.100.2"]
    assert counts.asked == ["opened"]


def test_of_those_who_come_at_once_no_more_drive_out_others_than_may_come() -> None:
    counts = Counts(in_all=4, each=1)
    here = site(counts)
    others = [here.connect(f"198.51.100.{number}") for number in range(4)]
    counts.is_slow = True
    crowd = [here.connect("192.0.2.1") for _ in range(4)]
    counts.answer()
    counts.answer()

    assert [wire.closing for wire in others] == [True] + [False] * 3
    assert [wire.value() for wire in crowd] == [GREETING] + [TOO_MANY] * 3
    assert (counts.all, counts.taken.count("192.0.2.1")) == (4, 1)


def test_where_the_last_stranger_is_gone_by_then_nothing_stays_counted() -> None:
    counts = Counts(in_all=1)
    here = site(counts)
    first = here.connect("198.51.100.1")
    verdict = begin_log_in(first)
    counts.is_slow = True
    late = here.connect("198.51.100.2")
    counts.answer()
    verdict.callback(LOGGED_IN)
    counts.answer()

    assert late.value() == TOO_MANY
    assert (counts.all, counts.taken) == (1, ["198.51.100.1"])


def test_who_was_sent_away_and_does_not_go_is_the_first_to_give_way() -> None:
    """QUIT and no answer to TLS's goodbye would hold a place for ten seconds."""
    counts = Counts(in_all=3)
    here = site(counts)
    silent = here.connect("198.51.100.1")
    polite = here.connect("198.51.100.2")
    crowd = here.connect("198.51.100.1")
    say(polite, b"QUIT\r\n")
    assert polite.closing
    here.connect("198.51.100.4")

    assert polite.disconnected
    assert silent.value() == crowd.value() == GREETING
    lose(polite)
    assert counts.all == 3
    assert here.events.emitted[-1][1]["end"] == "quit"


def test_a_crowd_of_those_who_are_being_answered_gives_way_in_the_end() -> None:
    """Or what is put off, time and again, holds all places."""
    counts = Counts(in_all=11, each=11)
    here = site(counts)
    crowd = [here.connect("198.51.100.1") for _ in range(11)]
    verdicts = [begin_log_in(wire, AUTH * 3) for wire in crowd[:10]]
    here.connect("203.0.113.2")
    here.connect("203.0.113.3")

    # The idle one first, and then the one that has been at it longest.
    assert crowd[10].value().endswith(TOO_MANY)
    assert [wire.disconnected for wire in crowd] == [True] + [False] * 10
    assert counts.taken == ["198.51.100.1"] * 9 + ["203.0.113.2", "203.0.113.3"]
    verdicts[0].callback(LOG_IN_REFUSED)
    lose(crowd[0])
    assert b"535" not in crowd[0].value()
    assert here.events.emitted[-1][1]["end"] == "displaced"
    lose(crowd[10])
    for verdict, wire in zip(verdicts[1:], crowd[1:10], strict=True):
        lose(wire)
        verdict.callback(LOG_IN_REFUSED)
    assert counts.taken == ["203.0.113.2", "203.0.113.3"]
    assert counts.all == 2


def test_time_ends_while_a_question_is_open() -> None:
    counts = Counts()
    here = site(counts, log_in=20)
    wire = here.connect("198.51.100.1")
    verdict = begin_log_in(wire)
    here.clock.pump([1.0] * 19)
    assert "session-timed-out" not in here.events.names
    here.clock.pump([1.0] * 2)

    assert wire.disconnected
    assert here.events.names[-1] == "session-timed-out"
    lose(wire)
    assert counts.all == 0
    assert here.clock.getDelayedCalls() == []
    verdict.callback(LOGGED_IN)
    assert here.events.emitted[-1][1]["end"] == "time-out"


@pytest.mark.parametrize(("limit", "ends"), [("session", True), ("log_in", False)])
def test_what_is_pipelined_does_not_outlast_the_session(limit: str, ends: bool) -> None:
    """Who may send hears the answer that is under way, or it would send again."""
    here = site(Counts(), **{limit: 20.0})
    wire = here.connect("198.51.100.1")
    verdict = begin_log_in(wire, AUTH + b"NOOP\r\n")
    here.clock.advance(15)
    wire.protocol._session.authenticated = True
    here.clock.pump([1.0] * 10)
    assert not wire.disconnected
    verdict.callback(LOGGED_IN)

    assert wire.closing is ends
    last = b"421 4.4.2 Time is up, closing\r\n" if ends else b"250 2.0.0 Ok\r\n"
    assert wire.value().endswith(LOGGED_IN.encode() + last)


def test_a_crowd_that_gives_way_does_not_pile_up() -> None:
    """The few who hear why hold a socket for some seconds; the others hear nothing."""
    counts = Counts(in_all=1)
    here = site(counts)
    wires = [here.connect(f"198.51.100.{number}") for number in range(203)]

    assert [wire.disconnected for wire in wires] == [False] * 200 + [True] * 2 + [False]
    assert [wire.closing for wire in wires] == [True] * 200 + [False] * 3
    lose(wires[0])
    here.connect("198.51.100.250")
    assert wires[-1].closing


def test_nobody_gives_way_to_who_is_gone_by_then() -> None:
    """Nor is its place counted any more."""
    counts = Counts(in_all=1)
    here = site(counts)
    first = here.connect("198.51.100.1")
    counts.is_slow = True
    late = here.connect("198.51.100.2")
    counts.answer()
    lose(late)
    counts.answer()

    assert first.value() == GREETING
    assert (counts.all, counts.taken) == (1, ["198.51.100.1"])
    assert len(here.factory.strangers) == 1


def through_proxy(here: Site, client: str) -> Wire:
    wire = here.connect()
    say(wire, HEADER.replace(b"198.51.100.7", client.encode()))
    return wire


@pytest.mark.parametrize("is_slow", [False, True])
def test_behind_a_proxy_who_gives_way_does_so_when_it_is_known_to_whom(
    is_slow: bool,
) -> None:
    counts = Counts(in_all=1)
    here = Site(counts)
    first = through_proxy(here, "198.51.100.1")
    counts.is_slow = is_slow
    second = here.connect()
    if not is_slow:
        assert (here.factory.waiting, second.disconnected) == (1, False)
    say(second, HEADER)
    assert first.closing is not is_slow
    for _ in range(3):
        counts.answer()

    assert first.value() == GREETING + TOO_MANY
    assert second.value() == GREETING
    assert (counts.all, counts.taken) == (1, ["198.51.100.7"])
    assert here.factory.waiting == 0


def test_behind_a_proxy_who_is_one_too_many_drives_out_nobody_either() -> None:
    counts = Counts(in_all=4, each=2)
    here = Site(counts)
    clients = ["198.51.100.1", "198.51.100.2", "192.0.2.1", "192.0.2.1"]
    wires = [through_proxy(here, client) for client in clients]
    again = through_proxy(here, "192.0.2.1")

    assert [wire.value() for wire in wires] == [GREETING] * 4
    assert again.value() == TOO_MANY
    assert (counts.all, counts.taken) == (4, clients)
    assert here.factory.waiting == 0


def test_few_wait_for_their_header_without_a_place_and_not_for_long() -> None:
    counts = Counts(in_all=1)
    here = Site(counts)
    first = through_proxy(here, "198.51.100.1")
    waiting = [here.connect() for _ in range(201)]

    assert [wire.disconnected for wire in waiting] == [False] * 200 + [True]
    assert here.reason() == "limit"
    lose(waiting[0])
    waiting.append(here.connect())
    assert not waiting[-1].disconnected
    here.clock.advance(11)
    assert all(wire.disconnected for wire in waiting[1:])
    assert here.reason() == "no PROXY header came"
    for wire in waiting[1:]:
        lose(wire)
    assert here.factory.waiting == 0
    assert first.value() == GREETING
    assert (counts.all, counts.taken) == (1, ["198.51.100.1"])


@pytest.mark.parametrize("answers", [0, 1, 2])
@pytest.mark.parametrize("in_all", [1, 2])
def test_who_leaves_a_proxy_while_room_is_looked_for_leaves_nothing_counted(
    answers: int, in_all: int
) -> None:
    counts = Counts(in_all=in_all)
    here = Site(counts)
    first = through_proxy(here, "198.51.100.1")
    counts.is_slow = True
    late = through_proxy(here, "198.51.100.2")
    for number in range(4):
        if number == answers:
            lose(late)
        counts.answer()

    assert first.value() == GREETING
    assert (counts.all, counts.taken) == (1, ["198.51.100.1"])
    assert here.factory.waiting == 0


def test_a_place_that_is_free_by_then_is_given_back_by_who_has_waited_and_left() -> (
    None
):
    counts = Counts(in_all=1)
    here = Site(counts)
    first = through_proxy(here, "198.51.100.1")
    late = here.connect()
    counts.is_slow = True
    lose(first)
    say(late, HEADER)
    lose(late)
    counts.answer()

    assert (counts.all, counts.taken) == (0, [])


# The order, without connections


class One:
    """A stranger by name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def give_way(self) -> str:
        return self.name


def drained(strangers: Strangers) -> list[str]:
    """All of them, in the order in which they give way."""
    gone = []
    while (name := strangers.make_room()) is not None:
        gone.append(name)
    return gone


def crowded(strangers: Strangers, **sizes: int) -> None:
    """So many from each address, a letter, of networks of their own, in turn."""
    for number in range(max(sizes.values())):
        for name, size in sizes.items():
            if number < size:
                strangers.add(One(f"{name}{number}"), f"10.0.{ord(name)}.1")


def test_the_greatest_crowd_shrinks_first_and_then_the_oldest_goes() -> None:
    strangers = Strangers()
    crowded(strangers, a=2, b=11, c=12)

    assert len(strangers) == 25
    assert drained(strangers) == (
        ["c0", "b0", "c1", "b1", "c2", "a0", "a1", "b2"]
        + [f"{name}{number}" for number in range(3, 11) for name in "bc"]
        + ["c11"]
    )
    assert len(strangers) == 0


def test_in_a_network_that_is_crowded_the_address_with_most_goes_first() -> None:
    """The others of a provider's network must not pay for one of them."""
    strangers = Strangers()
    strangers.add(One("alone"), "198.51.100.1")
    for number in range(4):
        strangers.add(One(f"office {number}"), "198.51.100.2")
    for number in range(10):
        strangers.add(One(f"crowd {number}"), "198.51.100.3")

    gone = [strangers.make_room() for _ in range(6)]
    assert gone == [f"crowd {number}" for number in range(6)]
    # As it is no crowd any more, the oldest goes.
    assert strangers.make_room() == "alone"


def test_who_is_alone_is_not_driven_out_by_its_neighbours_few() -> None:
    """However many of these come, from however many addresses."""
    strangers = Strangers()
    strangers.add(One("alone"), "198.51.100.1")
    for number in range(30):
        strangers.add(One(str(number)), f"198.51.100.{number % 10 + 2}")

    gone = [strangers.make_room() for _ in range(20)]
    assert gone == [str(number) for number in range(20)]


def test_who_leaves_and_who_is_answered_have_their_turn_whatever_came_before() -> None:
    strangers = Strangers()
    ones = [One(str(number)) for number in range(16)]
    for one in ones:
        strangers.add(one, "192.0.2.1")
    for one in ones[:14]:
        strangers.answering(one, is_open=True)
    strangers.answering(ones[2], is_open=False)
    strangers.leaving(ones[15])
    strangers.discard(ones[4])
    for stranger in (One("never seen"), ones[4]):
        strangers.answering(stranger, is_open=True)
        strangers.leaving(stranger)
        strangers.discard(stranger)

    gone = drained(strangers)
    assert gone[:6] == ["15", "14", "2", "0", "1", "3"]
    assert gone[6:] == [str(number) for number in range(5, 14)]


class OtherWorker:
    """Another worker, that has a crowd of so many."""

    workers = 1
    """Its crowd has its size as if there were no other."""

    def __init__(self, counts: Counts, crowd: int = 0) -> None:
        self.counts = counts
        self.crowd = crowd
        self.heard: list[bool] = []
        self.meanwhile: Callable[[], None] = lambda: None
        self.asked = 0
        counts.all += crowd

    def crowded(self, *, is_here: bool) -> None:
        self.heard.append(is_here)

    async def make_room(self) -> bool:
        self.asked += 1
        if not self.crowd:
            return False
        self.crowd -= 1
        self.meanwhile()
        return True


def beside(other: OtherWorker) -> Site:
    here = site(other.counts)
    here.factory.strangers = Strangers(other)
    return here


def test_where_another_worker_has_the_crowd_one_of_that_gives_way() -> None:
    other = OtherWorker(Counts(in_all=13, each=20), crowd=11)
    here = beside(other)
    few = [here.connect(f"198.51.{number}.1") for number in range(5)]

    assert [wire.value() for wire in few] == [GREETING] * 5
    assert other.crowd == 8
    assert other.counts.all == 13


def test_also_to_a_worker_whose_own_have_all_logged_in() -> None:
    other = OtherWorker(Counts(in_all=11), crowd=10)
    here = beside(other)
    first = here.connect("198.51.100.1")
    begin_log_in(first).callback(LOGGED_IN)
    second = here.connect("198.51.100.2")

    assert second.value() == GREETING
    assert other.crowd == 9


def test_a_crowd_here_comes_before_one_there() -> None:
    other = OtherWorker(Counts(in_all=21, each=20), crowd=10)
    here = beside(other)
    crowd = [here.connect("198.51.100.1") for _ in range(12)]

    assert [wire.closing for wire in crowd] == [True] + [False] * 11
    assert (other.crowd, other.asked) == (10, 0)


def test_where_nobody_has_a_crowd_the_oldest_here_goes() -> None:
    other = OtherWorker(Counts(in_all=2))
    here = beside(other)
    first, second, third = (here.connect(f"10.{one}.1.1") for one in range(3))

    assert first.value() == GREETING + TOO_MANY
    assert second.value() == third.value() == GREETING
    assert other.asked == 1


def test_the_others_hear_when_there_is_a_crowd_and_when_there_is_none_any_more() -> (
    None
):
    other = OtherWorker(Counts(in_all=100, each=100))
    here = beside(other)
    crowd = [here.connect("198.51.100.1") for _ in range(12)]
    assert other.heard == [True]
    for wire in crowd:
        lose(wire)
    assert other.heard == [True, False]


def test_who_is_gone_while_it_asked_drives_out_nobody_elsewhere() -> None:
    counts = Counts(in_all=10, each=20)
    other = OtherWorker(counts, crowd=10)
    here = beside(other)
    counts.is_slow = True
    gone = here.connect("198.51.100.1")
    lose(gone)
    counts.answer()

    assert (other.crowd, other.asked) == (10, 0)
    assert counts.all == 10


def test_who_is_gone_while_room_is_made_elsewhere_leaves_a_place_free() -> None:
    counts = Counts(in_all=10, each=20)
    other = OtherWorker(counts, crowd=10)
    here = beside(other)
    protocol = here.factory.buildProtocol(IPv4Address("TCP", "198.51.100.1", 4711))
    assert protocol is not None
    wire = Wire()
    wire.protocol = protocol
    other.meanwhile = lambda: lose(wire)
    protocol.makeConnection(wire)

    assert (other.crowd, counts.all, counts.taken) == (9, 9, [])


def test_also_to_who_comes_through_a_proxy() -> None:
    other = OtherWorker(Counts(in_all=11), crowd=11)
    here = Site(other.counts)
    here.factory.strangers = Strangers(other)
    wire = here.connect()
    say(wire, HEADER)

    assert wire.value() == GREETING
    assert other.crowd == 10


def test_of_two_workers_each_has_a_crowd_at_half_its_size() -> None:
    """The kernel parts who comes from one network."""
    other = OtherWorker(Counts(in_all=100, each=100))
    other.workers = 2
    strangers = Strangers(other)
    for number in range(4):
        strangers.add(One(str(number)), "198.51.100.1")
    assert other.heard == []
    strangers.add(One("4"), "198.51.100.2")
    assert other.heard == [True]
