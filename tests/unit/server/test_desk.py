"""What a desk answers where it cannot tell, and what it counts."""

from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from submitd.auth.errors import AskedAlready, DirectoryUnavailable, TooManyFailures
from submitd.auth.submitter import Anything, Permission, Submitter
from submitd.mail.envelope import Body
from submitd.mail.usage import Stored, Usage
from submitd.observe.metrics import Metrics
from submitd.policy.priority import Priorities
from submitd.policy.quota import Quota, Quotas, Room
from submitd.policy.sender import SENDER_OK
from submitd.server.allowance import Allowances
from submitd.server.desk import (
    CANNOT_STORE,
    CANNOT_TELL,
    LOGGED_IN,
    Desk,
    DeskServices,
)
from submitd.server.intake import ContentRules
from submitd.smtp.event import LogInEnded, PasswordOffered, SenderOffered
from submitd.smtp.reply import BRAKED, Reply
from submitd.smtp.server import ServerSession
from submitd.spool.store import SpoolUnavailable
from tests.support.awaited import awaited
from tests.support.recorded_events import RecordedEvents
from tests.support.session_peer import make_session


class BrokenSpool:
    """One that cannot be read."""

    async def usage(self, *_: object, **__: object) -> Usage:
        raise SpoolUnavailable("the spool: input/output error")


async def trusted() -> Submitter:
    return Submitter("satellite", (Permission(Anything(), "r", "s"),))


def make_desk(
    events: RecordedEvents,
    metrics: Metrics,
    spool: Any = None,  # noqa: ANN401
    portal: Any = None,  # noqa: ANN401
    places: Any = None,  # noqa: ANN401
) -> tuple[ServerSession, Desk]:
    """On a trusted listener, with a limit on what is sent."""
    session = make_session({"listener": "none", "extensions": "none"})
    return session, Desk(
        DeskServices(
            clock=Clock(),
            portal=portal,
            places=places,
            spool=spool,
            delivery=cast("Any", None),
            content=ContentRules(
                hostname="submit.example.org",
                message_id_domain="submit.example.org",
                header_size=None,
                received_fields=None,
                rewrite_foreign_from=False,
                signers={},
                sign_or_refuse=False,
            ),
            allowances=Allowances(
                quotas=Quotas(Quota(burst=1, later=Room(messages=1))),
                spool=spool,
                notices=cast("Any", None),
                events=events,
                metrics=metrics,
            ),
            priorities=Priorities(),
            routed=frozenset(),
            show_client=False,
            events=events,
            metrics=metrics,
        ),
        session,
        "session-1",
        "192.0.2.1",
        trusted,
    )


class Places:
    """Sessions of a login."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    async def opened(self, login: str) -> bool:
        self.taken.append(login)
        return True

    def closed(self, login: str) -> None:
        self.taken.remove(login)


class Portal:
    """Everybody is who they say."""

    async def login(self, authcid: str, *_: str) -> Submitter:
        return Submitter(authcid, ())


def log_in(desk: Desk, login: str) -> object:
    answer = desk.answer(PasswordOffered("PLAIN", login, "", "x"))
    assert isinstance(answer, Awaitable)
    return awaited(answer)


def results(metrics: Metrics) -> tuple[float | None, float | None]:
    accepted, abandoned = (
        metrics.registry.get_sample_value("submitd_logins_total", {"result": result})
        for result in ("accepted", "abandoned")
    )
    return accepted, abandoned


def test_who_was_told_so_is_logged_in_and_holds_a_place() -> None:
    places, events, metrics = Places(), RecordedEvents(), Metrics()
    _, desk = make_desk(events, metrics, portal=Portal(), places=places)
    assert log_in(desk, "alice") == LOGGED_IN
    assert (events.names, results(metrics)) == ([], (None, None))
    assert desk.answer(LogInEnded(is_told=True)) is None

    assert events.names == ["login-succeeded"]
    assert results(metrics) == (1, None)
    assert places.taken == ["alice"]
    desk.close()
    assert places.taken == []
    assert events.names == ["login-succeeded"]


def test_a_log_in_that_its_client_gave_up_is_none_and_holds_no_place() -> None:
    """Or a few of them keep the account out for ever."""
    places, events, metrics = Places(), RecordedEvents(), Metrics()
    _, desk = make_desk(events, metrics, portal=Portal(), places=places)
    log_in(desk, "alice")
    desk.answer(LogInEnded(is_told=False))
    assert (events.names, places.taken) == (["login-abandoned"], [])
    log_in(desk, "bob")
    desk.close()

    assert events.names == ["login-abandoned", "login-abandoned"]
    assert [facts["login"] for _, facts in events.emitted] == ["alice", "bob"]
    assert results(metrics) == (None, 2)
    assert places.taken == []


def test_a_log_in_whose_client_is_gone_before_the_answer_holds_no_place() -> None:
    places, events = Places(), RecordedEvents()
    _, desk = make_desk(events, Metrics(), portal=Portal(), places=places)
    desk.close()
    assert log_in(desk, "alice") == LOGGED_IN
    assert places.taken == []
    desk.answer(LogInEnded(is_told=False))
    assert events.names == ["login-abandoned"]


def test_what_a_session_says_of_a_log_in_behind_its_clients_end_is_no_news() -> None:
    """It had more to send than the client read, when the connection broke."""
    places, events, metrics = Places(), RecordedEvents(), Metrics()
    _, desk = make_desk(events, metrics, portal=Portal(), places=places)
    log_in(desk, "alice")
    desk.close()
    desk.answer(LogInEnded(is_told=True))
    assert events.names == ["login-abandoned"]
    assert results(metrics) == (None, 1)
    assert places.taken == []


class Braking(Portal):
    """It has everybody wait."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    async def login(self, authcid: str, *others: Any) -> Submitter:  # noqa: ANN401
        await others[-1].pause(self.clock, 30.0)
        raise TooManyFailures(authcid)


def test_nobody_is_put_off_who_is_gone() -> None:
    """A crowd that comes and goes would pile up."""
    clock, events = Clock(), RecordedEvents()
    _, desk = make_desk(events, Metrics(), portal=Braking(clock))
    asked = desk.answer(PasswordOffered("PLAIN", "alice", "", "x"))
    assert isinstance(asked, Awaitable)
    heard: list[object] = []
    Deferred.fromCoroutine(cast("Any", asked)).addCallback(heard.append)
    assert heard == []
    desk.close()
    assert heard == [BRAKED]
    assert clock.getDelayedCalls() == []


class Silent(Portal):
    """It cannot tell."""

    def __init__(self, problem: Exception) -> None:
        self.problem = problem

    async def login(self, *_: str) -> Submitter:
        raise self.problem


@pytest.mark.parametrize(
    ("problem", "event", "result"),
    [
        (DirectoryUnavailable("down"), "login-unavailable", "unavailable"),
        (AskedAlready("a moment ago"), "login-braked", "braked"),
    ],
)
def test_nobody_is_woken_for_what_any_client_can_bring_about(
    problem: Exception, event: str, result: str
) -> None:
    """A made-up token, while its issuer is not asked again for keys."""
    events, metrics = RecordedEvents(), Metrics()
    _, desk = make_desk(events, metrics, portal=Silent(problem))
    answer = desk.answer(PasswordOffered("PLAIN", "alice", "", "x"))
    assert isinstance(answer, Awaitable)
    assert awaited(answer) == CANNOT_TELL
    ((name, facts),) = events.emitted
    assert (name, facts["reason"]) == (event, str(problem))
    counted = metrics.registry.get_sample_value(
        "submitd_logins_total", {"result": result}
    )
    assert counted == 1


class FullSpool:
    """One in which somebody's messages wait for later."""

    async def usage(self, *_: object, later: bool = False, **__: object) -> Usage:
        return Usage(later=Stored(1, 2000) if later else Stored())


@pytest.mark.rfc("4865", "6")
@pytest.mark.parametrize(
    ("spool", "says"),
    [
        (FullSpool(), (552, "Too much of your mail waits for later: 1 message, 2 kB")),
        (BrokenSpool(), (451, CANNOT_STORE.text)),
    ],
)
def test_mail_for_later_is_refused_at_once_where_too_much_waits(
    spool: object, says: tuple[int, str]
) -> None:
    """RFC 4865 section 6 item 3: the MAIL command is rejected."""
    _, desk = make_desk(RecordedEvents(), Metrics(), spool=spool)
    sender = SenderOffered(None, Body.SEVEN_BIT, False, None, None, None)
    for who in ("to be found out", "known"):
        answer = desk.answer(evolve(sender, release_at=datetime.now(UTC)))
        assert isinstance(answer, Awaitable)
        refusal = awaited(answer)
        assert isinstance(refusal, Reply)
        assert (refusal.code, refusal.text) == says, who
    # What is not for later is none of these.
    assert desk.answer(sender) == SENDER_OK


def test_where_the_counts_cannot_be_read_the_message_is_put_off() -> None:
    """Cannot tell is no refusal, and no leave either."""
    events, metrics = RecordedEvents(), Metrics()
    session, desk = make_desk(events, metrics, spool=BrokenSpool())
    session.receive_data(
        b"EHLO x\r\nMAIL FROM:<alice@example.org>\r\n"
        b"RCPT TO:<bob@example.net>\r\nDATA\r\n"
    )
    answers = []
    while (event := session.next_event()) is not None:
        answer = desk.answer(event)
        if isinstance(answer, Awaitable):
            answer = awaited(answer)
        answers.append(answer)
        session.answer(answer)
    codes = [one.code for one in answers if isinstance(one, Reply)]
    assert codes == [250, 250, 451]
    assert CANNOT_STORE in answers
    assert events.emitted == [
        (
            "spool-unavailable",
            {
                "session": "session-1",
                "login": "satellite",
                "reason": "the spool: input/output error",
            },
        )
    ]
    unavailable = metrics.registry.get_sample_value(
        "submitd_messages_total", {"result": "unavailable"}
    )
    assert unavailable == 1
