"""One question on its way: forged answers, silence, failing servers."""

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.names import dns
from twisted.python.failure import Failure

from submitd.dns.answer import Unanswered
from submitd.dns.inquiry import Inquiry
from submitd.dns.message import ExchangerRecord, Question, RecordType, Response
from submitd.dns.servers import NameServer
from tests.support.dns_network import ORG, StagedNetwork, mx, record, reply_to, soa

FIRST = NameServer("127.0.0.1", 5301)
SECOND = NameServer("2001:db8::53", 5302)
QUESTION = Question("example.org", RecordType.MX)


class Asked:
    """An inquiry, its network, its clock and what it came to."""

    def __init__(
        self, *servers: NameServer, unreachable: frozenset[NameServer] = frozenset()
    ) -> None:
        self.clock = Clock()
        self.network = StagedNetwork(unreachable=set(unreachable))
        self.inquiry = Inquiry(
            self.clock, self.network, QUESTION, servers or (FIRST,), 4.0
        )
        self.answers: list[tuple[Response, NameServer]] = []
        self.faults: list[BaseException] = []
        self.result: Deferred[tuple[Response, NameServer]] = self.inquiry.start()
        self.result.addCallbacks(self.answers.append, self._failed)

    def _failed(self, failure: Failure) -> None:
        assert failure.value is not None
        self.faults.append(failure.value)

    @property
    def is_over(self) -> bool:
        """Nothing is left that could still happen."""
        return (
            bool(self.answers or self.faults)
            and not self.clock.getDelayedCalls()
            and all(query.is_closed for query in self.network.sent)
        )

    @property
    def asked_servers(self) -> list[NameServer]:
        return [query.server for query in self.network.sent]


def test_the_first_answer_ends_it() -> None:
    asked = Asked()
    assert asked.network.last.question == ("example.org", dns.MX)

    asked.network.last.answer(mx(10, b"mx.example.org"))

    ((response, server),) = asked.answers
    assert response.records[0].data == ExchangerRecord(10, "mx.example.org")
    assert server == FIRST
    assert asked.is_over


def test_every_query_has_an_id_of_its_own() -> None:
    """RFC 5452 section 9.2: an id that can be guessed can be forged."""
    ids = {Asked().network.last.octets[:2] for _ in range(64)}

    assert len(ids) > 50


FORGED = [
    pytest.param(
        lambda query: bytes([query[0] ^ 1]) + reply_to(query, [mx(1, b"evil")])[1:],
        None,
        id="another id",
    ),
    pytest.param(
        lambda query: reply_to(query, [mx(1, b"evil")]).replace(b"example", b"exampel"),
        None,
        id="another question",
    ),
    pytest.param(
        lambda query: reply_to(query, [mx(1, b"evil")]),
        ("127.0.0.1", 53),
        id="another port",
    ),
    pytest.param(
        lambda query: reply_to(query, [mx(1, b"evil")]),
        ("127.0.0.2", 5301),
        id="another address",
    ),
    pytest.param(lambda query: query, None, id="the query itself"),
    pytest.param(lambda _: b"\x00", None, id="noise"),
]


@pytest.mark.rfc("5452", "9.1")
@pytest.mark.parametrize(("forge", "source"), FORGED)
def test_a_forged_answer_does_not_end_the_wait_for_the_true_one(
    forge: "object", source: tuple[str, int] | None
) -> None:
    asked = Asked()
    assert callable(forge)

    asked.network.last.receive(forge(asked.network.last.octets), source)
    assert not asked.answers
    assert not asked.faults

    asked.network.last.answer(mx(10, b"mx.example.org"))
    assert asked.answers[0][0].records[0].data == ExchangerRecord(10, "mx.example.org")


def test_many_forged_answers_make_us_go_on_over_tcp() -> None:
    """RFC 5452 section 9.3: who sends ten wrong ones may hit with the next."""
    asked = Asked()
    query = asked.network.last
    forged = b"\x00\x00" + reply_to(query.octets, [mx(1, b"evil")])[2:]
    if query.octets[:2] == b"\x00\x00":
        forged = b"\x00\x01" + forged[2:]

    for _ in range(10):
        query.receive(forged)

    assert query.is_closed
    assert asked.network.last.by_stream
    asked.network.last.answer(mx(10, b"mx.example.org"))
    assert asked.is_over


def test_a_wrong_answer_over_tcp_is_the_server_s_own() -> None:
    asked = Asked()
    asked.network.last.receive(reply_to(asked.network.last.octets, truncated=True))

    asked.network.last.receive(b"\x00" * 12)

    assert "answers what was not asked" in str(asked.faults[0])
    assert asked.is_over


@pytest.mark.rfc("1123", "6.1.3.2")
def test_a_truncated_answer_is_asked_for_again_over_tcp() -> None:
    asked = Asked()
    datagram = asked.network.last

    datagram.receive(reply_to(datagram.octets, truncated=True))

    stream = asked.network.last
    assert datagram.is_closed
    assert stream.by_stream
    assert stream.server == FIRST
    assert (
        stream.octets[:2] != datagram.octets[:2]
        or stream.octets[2:] == datagram.octets[2:]
    )
    stream.answer(mx(10, b"mx.example.org"))
    assert len(asked.answers) == 1
    assert asked.is_over


def test_an_answer_that_is_truncated_over_tcp_too_is_none() -> None:
    asked = Asked()
    asked.network.last.receive(reply_to(asked.network.last.octets, truncated=True))

    asked.network.last.receive(reply_to(asked.network.last.octets, truncated=True))

    assert "truncated over TCP" in str(asked.faults[0])


@pytest.mark.parametrize(
    ("code", "word"), [(2, "SERVFAIL"), (5, "REFUSED"), (9, "RCODE 9")]
)
def test_a_server_that_fails_makes_room_for_the_next_at_once(
    code: int, word: str
) -> None:
    asked = Asked(FIRST, SECOND)

    asked.network.last.fail(code)
    assert asked.asked_servers == [FIRST, SECOND]

    asked.network.last.fail(code)
    assert isinstance(asked.faults[0], Unanswered)
    assert asked.faults[0].reason == f"the name server failed: {word}"
    assert (
        asked.faults[0].detail == f"127.0.0.1:5301: {word}; [2001:db8::53]:5302: {word}"
    )
    assert asked.asked_servers == [FIRST, SECOND]
    assert asked.is_over


def test_nxdomain_is_an_answer_and_the_others_are_not_asked() -> None:
    asked = Asked(FIRST, SECOND)

    asked.network.last.fail(dns.ENAME)

    assert asked.answers[0][0].code == dns.ENAME
    assert asked.asked_servers == [FIRST]


def test_a_malformed_answer_is_a_failure_of_the_server() -> None:
    asked = Asked(FIRST, SECOND)
    query = asked.network.last

    query.receive(reply_to(query.octets, [mx(10, b"mx.example.org")])[:-3])
    asked.network.last.answer(mx(10, b"mx.example.org"))

    assert asked.answers[0][1] == SECOND
    assert (
        asked.inquiry.detail
        == "127.0.0.1:5301: malformed answer: the message is cut short"
        "; [2001:db8::53]:5302: no answer"
    )


def test_a_server_without_recursion_is_no_resolver() -> None:
    """RFC 2308 section 2.2: its referral must not be read as "none"."""
    asked = Asked()

    asked.network.last.receive(
        reply_to(
            asked.network.last.octets, authority=[record(ORG, dns.Record_NS(b"ns"))]
        )
    )

    assert "offers no recursion" in str(asked.faults[0])


@pytest.mark.rfc("6891", "7")
@pytest.mark.parametrize("code", [dns.EFORMAT, dns.ENOTIMP])
def test_a_server_that_does_not_know_edns_is_asked_without(code: int) -> None:
    asked = Asked()
    assert asked.network.last.has_edns

    asked.network.last.fail(code)
    first, second = asked.network.sent
    assert first.is_closed
    assert second.server == FIRST
    assert not second.has_edns

    second.answer(mx(10, b"mx.example.org"))
    assert asked.is_over


def test_a_server_that_still_does_not_understand_has_failed() -> None:
    asked = Asked()

    asked.network.last.fail(dns.EFORMAT)
    asked.network.last.fail(dns.EFORMAT)

    assert "FORMERR" in str(asked.faults[0])


def test_edns_is_left_out_over_tcp_too() -> None:
    asked = Asked()
    asked.network.last.receive(reply_to(asked.network.last.octets, truncated=True))

    asked.network.last.fail(dns.EFORMAT)

    assert asked.network.last.by_stream
    assert not asked.network.last.has_edns


def test_a_server_that_cannot_be_reached_any_more_has_failed() -> None:
    asked = Asked()
    asked.network.unreachable.add(FIRST)

    asked.network.last.fail(dns.EFORMAT)

    assert "Network is unreachable" in str(asked.faults[0])


def test_a_silent_server_gets_company_and_may_still_answer() -> None:
    """A far name server takes long more often than a resolver is dead."""
    asked = Asked(FIRST, SECOND)

    asked.clock.advance(1.0)
    assert asked.asked_servers == [FIRST, SECOND]
    assert asked.inquiry.silent == {FIRST}
    assert not asked.network.sent[0].is_closed

    asked.network.sent[0].answer(mx(10, b"mx.example.org"))
    assert asked.answers[0][1] == FIRST
    assert FIRST not in asked.inquiry.silent
    assert asked.is_over


def test_a_lost_query_is_sent_again() -> None:
    asked = Asked()

    asked.clock.advance(2.0)
    assert asked.asked_servers == [FIRST, FIRST]

    asked.network.last.answer(mx(10, b"mx.example.org"))
    assert asked.is_over


def test_when_all_were_asked_twice_it_waits_for_any_of_them() -> None:
    asked = Asked(FIRST, SECOND)

    asked.clock.pump([1.0] * 3)
    assert asked.asked_servers == [FIRST, SECOND, FIRST, SECOND]
    asked.clock.advance(1.0)
    assert not asked.clock.getDelayedCalls()
    assert len(asked.network.sent) == 4

    asked.network.sent[1].answer(mx(10, b"mx.example.org"))
    assert asked.is_over


def test_a_failure_while_another_is_silent_leaves_that_one_its_time() -> None:
    asked = Asked(FIRST, SECOND)
    asked.clock.advance(1.0)

    asked.network.last.fail(dns.ESERVER)
    asked.clock.pump([1.0] * 2)
    assert asked.asked_servers == [FIRST, SECOND, FIRST]
    assert not asked.faults

    asked.network.last.fail(dns.ESERVER)
    assert not asked.faults
    asked.network.sent[0].fail(dns.ESERVER)
    assert len(asked.faults) == 1
    assert asked.is_over


def test_a_broken_way_is_a_failure() -> None:
    asked = Asked(FIRST, SECOND)

    asked.network.last.break_off("Connection refused")

    assert asked.asked_servers == [FIRST, SECOND]
    assert asked.inquiry.detail.startswith("127.0.0.1:5301: Connection refused")


def test_servers_that_cannot_be_reached_are_passed_over() -> None:
    asked = Asked(FIRST, SECOND, unreachable=frozenset({FIRST}))

    assert asked.asked_servers == [SECOND]


def test_without_any_way_out_it_ends_at_once() -> None:
    asked = Asked(FIRST, SECOND, unreachable=frozenset({FIRST, SECOND}))

    assert "Network is unreachable" in str(asked.faults[0])
    assert asked.is_over


def test_cancelling_ends_it_and_says_who_was_silent() -> None:
    asked = Asked(FIRST, SECOND)
    asked.clock.advance(1.0)
    asked.network.last.receive(b"noise")

    asked.result.cancel()

    assert isinstance(asked.faults[0], CancelledError)
    assert asked.inquiry.silent == {FIRST, SECOND}
    assert asked.inquiry.detail == (
        "127.0.0.1:5301: no answer; "
        "[2001:db8::53]:5302: no answer, but 1 that were not for us"
    )
    assert asked.is_over


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("fe80::1%eth0", "fe80::1"),
        ("2001:DB8:0::53", "2001:db8::53"),
        ("::ffff:c000:235", "::ffff:192.0.2.53"),
    ],
)
def test_a_server_is_known_however_its_address_is_written(
    host: str, source: str
) -> None:
    asked = Asked(NameServer(host))

    query = asked.network.last
    query.receive(reply_to(query.octets, authority=[soa()]), (source, 53))

    assert len(asked.answers) == 1
