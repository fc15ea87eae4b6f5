"""What a response comes to: aliases, "none", and contradictions."""

import pytest

from submitd.dns.answer import Absence, Alias, Answer, Unanswered, interpret
from submitd.dns.message import (
    AliasRecord,
    ExchangerRecord,
    Question,
    RecordType,
    ResourceRecord,
    Response,
    ResponseCode,
)

QUESTION = Question("example.org", RecordType.MX)


def mx(
    owner: str = "example.org", ttl: int = 300, exchanger: str = "mx.example"
) -> ResourceRecord:
    return ResourceRecord(owner, RecordType.MX, ttl, ExchangerRecord(10, exchanger))


def alias(owner: str, target: str, ttl: int = 300) -> ResourceRecord:
    return ResourceRecord(owner, RecordType.CNAME, ttl, AliasRecord(target))


def answered(
    *records: ResourceRecord,
    code: int = ResponseCode.NO_ERROR,
    negative_ttl: int | None = None,
) -> Response:
    return Response(
        code=code, authenticated=True, records=records, negative_ttl=negative_ttl
    )


def test_the_records_of_the_name_are_the_answer_with_the_least_ttl() -> None:
    """RFC 2181 section 5.2: one set, one TTL."""
    response = answered(mx(ttl=300), mx(ttl=60, exchanger="mx2.example"))

    assert interpret(QUESTION, response) == Answer(
        name="example.org",
        records=(ExchangerRecord(10, "mx.example"), ExchangerRecord(10, "mx2.example")),
        authenticated=True,
        ttl=60,
    )


@pytest.mark.rfc("2181", "5")
def test_a_record_given_twice_is_one() -> None:
    answer = interpret(QUESTION, answered(mx(), mx()))

    assert isinstance(answer, Answer)
    assert answer.records == (ExchangerRecord(10, "mx.example"),)


@pytest.mark.rfc("5452", "6")
def test_records_of_other_names_are_not_looked_at() -> None:
    """Or whoever answers for one domain could name the hosts of another."""
    response = answered(mx(), mx("example.net", exchanger="evil.example"))

    answer = interpret(QUESTION, response)

    assert isinstance(answer, Answer)
    assert answer.records == (ExchangerRecord(10, "mx.example"),)


@pytest.mark.rfc("1034", "3.6.2")
def test_aliases_are_followed_in_any_order_and_shorten_the_ttl() -> None:
    response = answered(
        mx("c.example"),
        alias("b.example", "c.example"),
        alias("example.org", "b.example", 30),
    )

    assert interpret(QUESTION, response) == Answer(
        name="c.example",
        records=(ExchangerRecord(10, "mx.example"),),
        authenticated=True,
        ttl=30,
    )


def test_a_question_for_the_alias_itself_does_not_follow_it() -> None:
    response = answered(alias("example.org", "b.example"))

    answer = interpret(Question("example.org", RecordType.CNAME), response)

    assert isinstance(answer, Answer)
    assert answer.records == (AliasRecord("b.example"),)


@pytest.mark.parametrize(
    "records",
    [
        [alias("example.org", "example.org")],
        [alias("example.org", "b.example"), alias("b.example", "example.org")],
        [alias("example.org", "b.example"), alias("b.example", "b.example")],
        [alias("example.org", "0.example")]
        + [alias(f"{i}.example", f"{i + 1}.example") for i in range(20)],
    ],
)
def test_aliases_that_do_not_end_are_no_answer(records: list[ResourceRecord]) -> None:
    with pytest.raises(Unanswered, match="do not end"):
        interpret(QUESTION, answered(*records))


@pytest.mark.rfc("6604", "2")
def test_nxdomain_speaks_of_the_end_of_the_chain() -> None:
    response = answered(
        alias("example.org", "gone.example", 40),
        code=ResponseCode.NAME_ERROR,
        negative_ttl=60,
    )

    assert interpret(QUESTION, response) == Absence(
        name="gone.example", authenticated=True, ttl=40
    )


@pytest.mark.rfc("2308", "5")
@pytest.mark.parametrize("code", [ResponseCode.NO_ERROR, ResponseCode.NAME_ERROR])
def test_none_without_an_soa_record_is_not_kept(code: int) -> None:
    assert interpret(QUESTION, answered(code=code)).ttl == 0


def test_no_records_of_the_kind_are_an_empty_answer() -> None:
    assert interpret(QUESTION, answered(negative_ttl=60)) == Answer(
        name="example.org", records=(), authenticated=True, ttl=60
    )


def test_an_alias_to_a_name_without_such_records_is_an_empty_answer() -> None:
    response = answered(alias("example.org", "b.example", 30), negative_ttl=60)

    assert interpret(QUESTION, response) == Answer(
        name="b.example", records=(), authenticated=True, ttl=30
    )


def test_an_alias_of_whose_target_nothing_is_said_is_to_be_asked_for() -> None:
    """A server that does not know the target leaves it to us: not "none"."""
    assert interpret(
        QUESTION, answered(alias("example.org", "b.example", 30))
    ) == Alias(target="b.example", authenticated=True, ttl=30)


def test_records_of_a_name_that_does_not_exist_are_no_answer() -> None:
    with pytest.raises(Unanswered, match="contradicts"):
        interpret(QUESTION, answered(mx(), code=ResponseCode.NAME_ERROR))
