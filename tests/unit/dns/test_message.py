"""DNS messages, octet by octet."""

import struct
from ipaddress import ip_address

import pytest
from twisted.names import dns

from submitd.dns.message import (
    AddressRecord,
    AliasRecord,
    BadName,
    CertificateRecord,
    ExchangerRecord,
    MalformedMessage,
    NotOurs,
    PointerRecord,
    Question,
    Record,
    RecordType,
    TextRecord,
    canonical_name,
    encode_query,
    read_name,
    read_response,
    words_of,
)
from tests.support.dns_network import ORG, a, cname, mx, record, reply_to, soa

QUESTION = Question("example.org", RecordType.MX)
QUERY = encode_query(0x1234, QUESTION, edns=True)
ASKED = b"\x07example\x03org\x00\x00\x0f\x00\x01"


def message(
    answer: bytes,
    *,
    flags: int = 0x8180,
    counts: tuple[int, int, int] = (1, 0, 0),
    question: bytes = ASKED,
) -> bytes:
    """A response to `QUERY` whose sections are given as octets."""
    return struct.pack(">HHHHHH", 0x1234, flags, 1, *counts) + question + answer


@pytest.mark.rfc("6891", "6.1")
@pytest.mark.rfc("6840", "5.7")
def test_a_query_asks_for_recursion_and_says_that_it_knows_the_ad_bit() -> None:
    assert QUERY == (
        b"\x12\x34"  # id
        b"\x01\x20"  # RD, AD
        b"\x00\x01\x00\x00\x00\x00\x00\x01"  # one question, one additional record
        b"\x07example\x03org\x00\x00\x0f\x00\x01"  # MX IN
        b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00"  # OPT: 1232 octets, DO
    )


def test_a_query_for_an_old_server_goes_without_edns() -> None:
    assert encode_query(0xFFFF, QUESTION, edns=False) == (
        b"\xff\xff\x01\x20\x00\x01\x00\x00\x00\x00\x00\x00"
        b"\x07example\x03org\x00\x00\x0f\x00\x01"
    )


@pytest.mark.rfc("1035", "4.1.4")
def test_mx_records_with_compressed_names_are_read() -> None:
    octets = message(
        b"\xc0\x0c\x00\x0f\x00\x01\x00\x00\x01\x2c\x00\x09"  # example.org MX, 300 s
        b"\x00\x0a\x04MX-1\xc0\x0c"  # 10 MX-1.example.org
        b"\xc0\x0c\x00\x0f\x00\x01\x00\x00\x00\x3c\x00\x04"
        b"\x00\x14\xc0\x2b",  # 20 MX-1.example.org again
        counts=(2, 0, 0),
        flags=0x81A0,
    )

    response = read_response(octets, 0x1234, QUESTION)

    assert response.code == 0
    assert response.authenticated
    assert [(one.owner, one.ttl, one.data) for one in response.records] == [
        ("example.org", 300, ExchangerRecord(10, "mx-1.example.org")),
        ("example.org", 60, ExchangerRecord(20, "mx-1.example.org")),
    ]


@pytest.mark.parametrize(
    ("kind", "payload", "expected"),
    [
        (RecordType.A, b"\xc0\x00\x02\x01", AddressRecord(ip_address("192.0.2.1"))),
        (
            RecordType.AAAA,
            b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01",
            AddressRecord(ip_address("2001:db8::1")),
        ),
        (RecordType.MX, b"\x00\x00\x00", ExchangerRecord(0, ".")),
        (RecordType.TXT, b"\x03v=D\x00\x02KI", TextRecord(b"v=DKI")),
        (RecordType.TXT, b"\x02\xff\x00", TextRecord(b"\xff\x00")),
        (RecordType.CNAME, b"\x01x\xc0\x0c", AliasRecord("x.example.org")),
        (RecordType.PTR, b"\x01x\x00", PointerRecord("x")),
        (
            RecordType.TLSA,
            b"\x03\x01\x01\xab\xcd",
            CertificateRecord(3, 1, 1, b"\xab\xcd"),
        ),
    ],
)
def test_each_kind_of_record_is_read(
    kind: RecordType, payload: bytes, expected: Record
) -> None:
    octets = reply_to(
        encode_query(7, Question("example.org", kind), edns=True),
        [record(ORG, dns.UnknownRecord(payload), kind=kind)],
    )

    response = read_response(octets, 7, Question("example.org", kind))

    assert [one.data for one in response.records] == [expected]


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (RecordType.A, b"\xc0\x00\x02"),
        (RecordType.A, b"\xc0\x00\x02\x01\x00"),
        (RecordType.AAAA, bytes(15)),
        (RecordType.MX, b"\x00\x0a"),
        (RecordType.MX, b"\x00\x0a\x01x\x00\x00"),  # an octet behind the name
        (RecordType.MX, b"\x00\x0a\x03x\x00"),  # a label longer than the record
        (RecordType.CNAME, b""),
        (RecordType.TXT, b"\x04abc"),
        (RecordType.TLSA, b"\x03\x01\x01"),
    ],
)
def test_a_record_of_the_wrong_length_spoils_the_message(
    kind: RecordType, payload: bytes
) -> None:
    """Guessing at what it meant would send mail to a host that nobody named."""
    question = Question("example.org", kind)
    octets = reply_to(
        encode_query(7, question, edns=True),
        [record(ORG, dns.UnknownRecord(payload), kind=kind)],
    )

    with pytest.raises(MalformedMessage):
        read_response(octets, 7, question)


def test_a_message_cut_short_anywhere_is_no_shorter_answer() -> None:
    """Or a domain whose MX records got lost would look like one without any."""
    octets = reply_to(QUERY, [mx(10, b"mx1.example.org"), mx(20, b"mx2.example.net")])
    assert len(read_response(octets, 0x1234, QUESTION).records) == 2

    for end in range(len(octets)):
        with pytest.raises((NotOurs, MalformedMessage)):
            read_response(octets[:end], 0x1234, QUESTION)


@pytest.mark.rfc("5452", "9.1")
@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\x12\x34\x81",
        message(b"", counts=(0, 0, 0))[:20],
        b"\x12\x35" + message(b"", counts=(0, 0, 0))[2:],  # another id
        message(b"", counts=(0, 0, 0), flags=0x0100),  # a query
        message(b"", counts=(0, 0, 0), flags=0xA180),  # a NOTIFY
        message(b"", counts=(0, 0, 0), question=ASKED.replace(b"org", b"net")),
        message(b"", counts=(0, 0, 0), question=ASKED.replace(b"\x0f", b"\x01")),
        message(b"", counts=(0, 0, 0), question=ASKED[:-1] + b"\x03"),  # CHAOS
        message(b"", counts=(0, 0, 0), question=b"\xc0\x0c\x00\x0f\x00\x01"),
        struct.pack(">HHHHHH", 0x1234, 0x8180, 0, 0, 0, 0),
        struct.pack(">HHHHHH", 0x1234, 0x8180, 2, 0, 0, 0) + ASKED + ASKED,
    ],
)
def test_what_does_not_answer_the_query_is_not_ours(octets: bytes) -> None:
    with pytest.raises(NotOurs):
        read_response(octets, 0x1234, QUESTION)


def test_the_question_may_come_back_in_another_case() -> None:
    """RFC 4343 section 3: names are equal in any case."""
    octets = message(b"", counts=(0, 0, 0), question=ASKED.replace(b"org", b"ORG"))

    assert read_response(octets, 0x1234, QUESTION).records == ()


def test_an_error_may_leave_out_the_question() -> None:
    """A server that cannot read a query cannot repeat it."""
    octets = struct.pack(">HHHHHH", 0x1234, 0x8181, 0, 0, 0, 0)

    assert read_response(octets, 0x1234, QUESTION).code == dns.EFORMAT


@pytest.mark.rfc("2181", "9")
def test_a_truncated_message_is_not_read_further() -> None:
    response = read_response(
        reply_to(QUERY, [mx(10, b"mx1.example.org")], truncated=True)[:-5],
        0x1234,
        QUESTION,
    )

    assert response.is_truncated
    assert response.records == ()


@pytest.mark.rfc("6891", "6.1.3")
def test_the_upper_bits_of_the_code_come_from_the_opt_record() -> None:
    octets = message(b"\x00\x00\x29\x04\xd0\x01\x00\x00\x00\x00\x00", counts=(0, 0, 1))

    assert read_response(octets, 0x1234, QUESTION).code == 16
    assert words_of(16) == "BADVERS"
    assert words_of(11) == "RCODE 11"


def test_records_of_other_kinds_and_classes_are_passed_over() -> None:
    octets = message(
        b"\xc0\x0c\x00\x2e\x00\x01\x00\x00\x00\x3c\x00\x02\xff\xff"  # RRSIG
        b"\xc0\x0c\x00\x0f\x00\x03\x00\x00\x00\x3c\x00\x02\xff\xff"  # MX of CHAOS
        b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x01",
        counts=(3, 0, 0),
    )

    assert read_response(octets, 0x1234, QUESTION).records == ()


@pytest.mark.rfc("2308", "5")
@pytest.mark.parametrize(("ttl", "minimum", "kept"), [(300, 60, 60), (20, 60, 20)])
def test_the_soa_record_says_how_long_none_holds(
    ttl: int, minimum: int, kept: int
) -> None:
    octets = reply_to(QUERY, authority=[soa(minimum, ttl=ttl)])

    assert read_response(octets, 0x1234, QUESTION).negative_ttl == kept


def test_an_soa_record_of_the_wrong_length_spoils_the_message() -> None:
    octets = message(
        b"\xc0\x0c\x00\x06\x00\x01\x00\x00\x00\x3c\x00\x03\x00\x00\x00",
        counts=(0, 1, 0),
    )

    with pytest.raises(MalformedMessage, match="SOA"):
        read_response(octets, 0x1234, QUESTION)


@pytest.mark.rfc("2181", "8")
def test_a_ttl_with_the_topmost_bit_set_is_none() -> None:
    octets = message(
        b"\xc0\x0c\x00\x0f\x00\x01\x80\x00\x00\x00\x00\x05\x00\x0a\x01x\x00",
        counts=(1, 0, 0),
    )

    assert [one.ttl for one in read_response(octets, 0x1234, QUESTION).records] == [0]


NAME_SERVER = b"\xc0\x0c\x00\x02\x00\x01\x00\x00\x00\x3c\x00\x05\x02ns\xc0\x0c"


@pytest.mark.parametrize(("flags", "is_referral"), [(0x8180, True), (0x8580, False)])
def test_name_servers_in_place_of_an_answer_are_a_referral(
    flags: int, *, is_referral: bool
) -> None:
    """RFC 2308 section 2.2: taken for "none", it would bounce mail."""
    octets = message(NAME_SERVER, counts=(0, 1, 0), flags=flags)

    assert read_response(octets, 0x1234, QUESTION).is_referral is is_referral


def test_name_servers_beside_an_answer_are_no_referral() -> None:
    for octets in (
        reply_to(QUERY, authority=[a("192.0.2.1")]),
        reply_to(QUERY, [mx(1, b"x")], authority=[record(ORG, dns.Record_NS(b"ns"))]),
        reply_to(QUERY, authority=[record(ORG, dns.Record_NS(b"ns")), soa()]),
    ):
        assert not read_response(octets, 0x1234, QUESTION).is_referral


def test_a_message_with_a_thousand_records_is_not_read() -> None:
    """Reading it would hold up everybody else."""
    octets = reply_to(QUERY, [a("192.0.2.1")] * 1001)

    with pytest.raises(MalformedMessage, match="too many"):
        read_response(octets, 0x1234, QUESTION)


@pytest.mark.parametrize(
    ("octets", "offset"),
    [
        (b"\xc0\x00", 0),  # to itself
        (b"\xc0\x02\xc0\x00", 2),  # two in a ring
        (b"\xc0\x02\x00", 0),  # forward
        (b"\x01a\xc0\x00", 0),  # back into the same labels
    ],
)
def test_a_name_that_does_not_end_is_malformed(octets: bytes, offset: int) -> None:
    with pytest.raises(MalformedMessage, match="astray"):
        read_name(octets, offset)


def test_pointers_to_pointers_are_followed_a_while_only() -> None:
    """RFC 9267 section 2: or a short message would keep us busy for long."""
    chain = b"\x00\x00" + b"".join(
        struct.pack(">H", 0xC000 | place) for place in range(0, 400, 2)
    )

    assert read_name(chain, 2 * 127) == (".", 2 * 128)
    with pytest.raises(MalformedMessage, match="astray"):
        read_name(chain, 2 * 128)


@pytest.mark.rfc("1035", "2.3.4")
def test_names_and_labels_have_the_lengths_of_the_standard() -> None:
    label = b"\x3f" + b"a" * 63

    assert len(read_name(label * 3 + b"\x3d" + b"a" * 61 + b"\x00", 0)[0]) == 253
    with pytest.raises(MalformedMessage):
        read_name(label * 3 + b"\x3e" + b"a" * 62 + b"\x00", 0)
    with pytest.raises(MalformedMessage):
        read_name(b"\x40" + b"a" * 64 + b"\x00", 0)


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"\x00", "."),
        (b"\x03Mx1\x07Example\x00", "mx1.example"),
        (b"\x05_smtp\x00", "_smtp"),
        (b"\x08mx.evil.\x03org\x00", "mx\\046evil\\046.org"),
        (b"\x03a b\x00", "a\\032b"),
        (b"\x02\xc3\xa4\x00", "\\195\\164"),
        (b"\x03\r\n\x00\x00", "\\013\\010\\000"),
        (b"\x01\\\x00", "\\092"),
    ],
)
def test_names_are_equal_as_text_only_where_they_are_in_the_dns(
    octets: bytes, text: str
) -> None:
    """A dot within a label is not one between labels: that is another's host."""
    assert read_name(octets, 0) == (text, len(octets))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Example.ORG", "example.org"),
        ("example.org.", "example.org"),
        ("_25._tcp.mx.example.org", "_25._tcp.mx.example.org"),
        ("xn--mnchen-3ya.example", "xn--mnchen-3ya.example"),
        ("a" * 63 + ".example", "a" * 63 + ".example"),
        (".".join(["a" * 61] * 4), ".".join(["a" * 61] * 4)),
    ],
)
def test_a_name_is_asked_for_in_its_canonical_form(text: str, name: str) -> None:
    assert canonical_name(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a..example",
        ".example",
        "example..",
        "a" * 64 + ".example",
        ".".join(["a" * 63] * 4),
        "münchen.example",
        "\N{KELVIN SIGN}.example",
        "a b.example",
        "a\r\n.example",
        "a\x00.example",
        "a\\.example",
        "a\x7f.example",
    ],
)
def test_what_is_no_name_is_not_asked_for(text: str) -> None:
    with pytest.raises(BadName):
        canonical_name(text)


def test_aliases_come_with_every_kind_of_answer() -> None:
    octets = reply_to(
        QUERY, [cname(ORG, b"other.example"), mx(5, b"x", b"other.example")]
    )

    assert [one.data for one in read_response(octets, 0x1234, QUESTION).records] == [
        AliasRecord("other.example"),
        ExchangerRecord(5, "x"),
    ]
