"""No octets and no records of others lead us astray."""

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from random import Random
from typing import Final

from hypothesis import given
from hypothesis import strategies as st
from twisted.names import dns

from submitd.dns.exchangers import Exchangers, Undeliverable, find_exchangers
from submitd.dns.message import (
    AddressRecord,
    BadName,
    ExchangerRecord,
    MalformedMessage,
    NotOurs,
    Question,
    Record,
    RecordType,
    TextRecord,
    canonical_name,
    encode_query,
    read_name,
    read_response,
)
from tests.support.awaited import awaited
from tests.support.dns_answers import StagedResolver
from tests.support.dns_network import a, aaaa, cname, mx, record, reply_to, soa

LABELS: Final = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,20}[a-z0-9_])?", fullmatch=True)
NAMES: Final = st.lists(LABELS, min_size=1, max_size=5).map(".".join)
KINDS: Final = st.sampled_from(RecordType)

MX_QUESTION: Final = Question("example.org", RecordType.MX)
MX_QUERY: Final = encode_query(0x1234, MX_QUESTION, edns=True)
MX_REPLY: Final = reply_to(
    MX_QUERY,
    [
        cname(b"example.org", b"real.example.org"),
        mx(10, b"mx1.example.org", b"real.example.org"),
        mx(20, b"mx2.example.net", b"real.example.org"),
    ],
    authority=[soa()],
)


@given(
    octets=st.binary(max_size=200),
    counts=st.lists(st.integers(0, 3), min_size=3, max_size=3),
    kind=KINDS,
)
def test_any_octets_behind_our_question_are_read_or_refused(
    octets: bytes, counts: list[int], kind: RecordType
) -> None:
    """Nothing that arrives may raise what nobody expects."""
    question = Question("example.org", kind)
    reply = reply_to(encode_query(7, question, edns=False))
    reply = reply[:6] + b"".join(map(struct.Struct(">H").pack, counts)) + reply[12:]

    for message in (octets, reply + octets):
        try:
            response = read_response(message, 7, question)
        except (NotOurs, MalformedMessage):
            continue
        assert all(one.kind in {kind, RecordType.CNAME} for one in response.records)


@given(
    place=st.integers(12, len(MX_REPLY) - 1),
    octet=st.integers(0, 255),
    kind=KINDS,
)
def test_a_reply_with_an_octet_changed_is_read_or_refused(
    place: int, octet: int, kind: RecordType
) -> None:
    damaged = MX_REPLY[:place] + bytes([octet]) + MX_REPLY[place + 1 :]

    for question in (MX_QUESTION, Question("example.org", kind)):
        try:
            read_response(damaged, 0x1234, question)
        except (NotOurs, MalformedMessage):
            continue


@given(octets=st.binary(max_size=300), offset=st.integers(0, 299))
def test_a_name_is_a_name_or_refused_and_its_reading_ends(
    octets: bytes, offset: int
) -> None:
    try:
        name, after = read_name(octets, offset)
    except (MalformedMessage, IndexError):
        return
    assert offset < after <= len(octets)
    assert name.isascii()
    assert name.isprintable()
    assert name == name.lower()
    assert len(name) <= 4 * 255


@given(text=st.text(max_size=80) | NAMES)
def test_what_can_be_asked_for_comes_back_as_the_same_name(text: str) -> None:
    """Or the answer would be taken for a forged one."""
    try:
        name = canonical_name(text)
    except BadName:
        return
    octets = encode_query(1, Question(name, RecordType.A), edns=False)

    assert read_name(octets, 12)[0] == name
    assert canonical_name(name) == name


def as_sent(name: bytes, one: Record) -> dns.RRHeader:
    match one:
        case ExchangerRecord(preference, exchanger):
            return mx(preference, exchanger.encode(), name)
        case AddressRecord(IPv4Address() as address):
            return a(str(address), name)
        case AddressRecord(IPv6Address() as address):
            return aaaa(str(address), name)
        case TextRecord(text):
            pieces = [text[i : i + 255] for i in range(0, len(text), 255)]
            return record(name, dns.Record_TXT(*pieces))
    raise AssertionError(one)


RECORDS: Final = st.one_of(
    st.tuples(
        st.just(RecordType.MX),
        st.lists(st.builds(ExchangerRecord, st.integers(0, 65535), NAMES)),
    ),
    st.tuples(
        st.just(RecordType.A), st.lists(st.builds(AddressRecord, st.ip_addresses(v=4)))
    ),
    st.tuples(
        st.just(RecordType.AAAA),
        st.lists(st.builds(AddressRecord, st.ip_addresses(v=6))),
    ),
    st.tuples(
        st.just(RecordType.TXT),
        st.lists(st.builds(TextRecord, st.binary(min_size=1, max_size=600))),
    ),
)


@given(name=NAMES, kind_and_records=RECORDS)
def test_what_another_library_writes_is_read_as_it_was_meant(
    name: str, kind_and_records: tuple[RecordType, list[Record]]
) -> None:
    kind, records = kind_and_records
    question = Question(name, kind)
    sent = [as_sent(name.encode(), one) for one in records]

    response = read_response(
        reply_to(encode_query(9, question, edns=True), sent), 9, question
    )

    assert [one.data for one in response.records] == records
    assert {one.owner for one in response.records} <= {name}


@given(
    preferences=st.lists(st.integers(0, 5), min_size=1, max_size=9),
    ours=st.sets(st.integers(0, 8), max_size=2),
    missing=st.sets(st.integers(0, 8), max_size=4),
    seed=st.integers(),
)
def test_hosts_are_tried_from_best_to_worst_and_stop_before_ourselves(
    preferences: list[int], ours: set[int], missing: set[int], seed: int
) -> None:
    """RFC 5321 section 5.1, for any set of MX records."""
    resolver = StagedResolver()
    resolver.mx("example.org", *((p, f"mx{i}") for i, p in enumerate(preferences)))
    for i in range(len(preferences)):
        if i not in missing:
            resolver.host(f"mx{i}", "127.0.0.1" if i in ours else "192.0.2.1")

    found: Exchangers | Undeliverable | None = awaited(
        find_exchangers(
            resolver,
            "example.org",
            random=Random(seed),
            port=25,
            own_names=frozenset(),
            is_own=lambda address, _: address == ip_address("127.0.0.1"),
        )
    )
    tried: list[str] = []
    while isinstance(found, Exchangers):
        assert len({host.preference for host in found.hosts}) == 1
        tried += [host.name for host in found.hosts]
        found = awaited(found.next_best())

    bound = min(
        (p for i, p in enumerate(preferences) if i in ours - missing), default=6
    )
    expected = [
        (p, f"mx{i}")
        for i, p in enumerate(preferences)
        if p < bound and i not in missing
    ]
    assert sorted(tried) == sorted(name for _, name in expected)
    order = [preferences[int(name[2:])] for name in tried]
    assert order == sorted(order)
