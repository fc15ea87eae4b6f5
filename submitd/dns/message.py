"""DNS messages: a query as octets, octets as a response (RFC 1035, RFC 6891).

Reading is our own: `twisted.names.dns` takes a message that was cut short for
one with fewer records, and a dot within a label for one between labels. Either
would send mail to another host than the domain named.
"""

import struct
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from attrs import frozen

IPAddress = IPv4Address | IPv6Address

UDP_SIZE: Final = 1232
"""Octets of a UDP answer that we ask for: no more crosses every path whole."""

_MOST_RECORDS: Final = 1000
"""Records in one message. A domain's mail hosts are a handful."""

_MOST_POINTERS: Final = 127
"""Compression pointers in one name: one before each label."""

LONGEST_TTL: Final = 0x7FFF_FFFF
"""Seconds; more is read as none (RFC 2181 section 8)."""

_MAX_NAME: Final = 255
_MAX_LABEL: Final = 63
_HEADER: Final = struct.Struct(">HHHHHH")
_FIXED: Final = struct.Struct(">HHIH")
_CLASS_IN: Final = 1

_QR: Final = 0x8000
_OPCODE: Final = 0x7800
_AA: Final = 0x0400
_TC: Final = 0x0200
_RD: Final = 0x0100
_AD: Final = 0x0020
_DO: Final = 0x8000

_NS: Final = 2
_SOA: Final = 6
_OPT: Final = 41

# What stands for itself in a label; all else is written \DDD (RFC 1035 section
# 5.1). `canonical_name` takes these and no others.
_PLAIN: Final = bytes(octet for octet in range(0x21, 0x7F) if octet not in b".\\")
_PLAIN_OR_DOT: Final = _PLAIN + b"."


class RecordType(IntEnum):
    """The types of record that can be asked for."""

    A = 1
    CNAME = 5
    PTR = 12
    MX = 15
    TXT = 16
    AAAA = 28
    TLSA = 52


class ResponseCode:
    """The response codes that mean something to us (RFC 1035, 6895)."""

    NO_ERROR: Final = 0
    FORMAT_ERROR: Final = 1
    NAME_ERROR: Final = 3
    NOT_IMPLEMENTED: Final = 4
    BAD_VERSION: Final = 16


_CODE_WORDS: Final = {
    0: "NOERROR",
    1: "FORMERR",
    2: "SERVFAIL",
    3: "NXDOMAIN",
    4: "NOTIMP",
    5: "REFUSED",
    16: "BADVERS",
}


def words_of(code: int) -> str:
    """``SERVFAIL``, or ``RCODE 11`` where the code has no name that matters."""
    return _CODE_WORDS.get(code, f"RCODE {code}")


class BadName(ValueError):
    """The text cannot be asked for. The message says why."""


class NotOurs(ValueError):
    """The octets are no response to the query: stale, stray or forged."""


class MalformedMessage(ValueError):
    """The response cannot be read. What it would have said is not known."""


@frozen
class Question:
    """What is asked. The name is as `canonical_name` gives it."""

    name: str
    kind: RecordType

    def __str__(self) -> str:
        return f"{self.kind.name} {self.name}"


@frozen
class AddressRecord:
    """A or AAAA."""

    address: IPAddress


@frozen
class ExchangerRecord:
    """MX. The exchanger is ``.`` in a null MX (RFC 7505)."""

    preference: int
    exchanger: str


@frozen
class TextRecord:
    """TXT, its strings joined as RFC 6376 section 3.6.2.2 and others do."""

    text: bytes


@frozen
class AliasRecord:
    """CNAME."""

    target: str


@frozen
class PointerRecord:
    """PTR."""

    target: str


@frozen
class CertificateRecord:
    """TLSA: which certificate or key a host shows (RFC 6698 section 2.1)."""

    usage: int
    selector: int
    matching: int
    data: bytes


Record = (
    AddressRecord
    | ExchangerRecord
    | TextRecord
    | AliasRecord
    | PointerRecord
    | CertificateRecord
)


@frozen
class ResourceRecord:
    """A record of the answer section, with its owner and seconds to live."""

    owner: str
    kind: int
    ttl: int
    data: Record


@frozen(kw_only=True)
class Response:
    """What a name server answered. Records of other kinds are left out."""

    code: int
    is_truncated: bool = False
    authenticated: bool = False
    """The AD bit: the server validated all of it (RFC 4035 section 3.2.3)."""

    records: tuple[ResourceRecord, ...] = ()
    negative_ttl: int | None = None
    """Seconds that "there is none" holds (RFC 2308 section 5). None: no SOA."""

    is_referral: bool = False
    """The server sends us elsewhere in place of answering."""


def canonical_name(text: str) -> str:
    """Lower-case A-labels without a dot at the end.

    Raises:
        BadName: the text is no name that can be asked for: not ASCII, a
            control octet, space or backslash, an empty label, a label above
            63 octets, or a name above 253.
    """
    name = text.removesuffix(".")
    if len(name) > _MAX_NAME - 2:
        raise BadName("the name is too long")
    # Before the case is folded: the Kelvin sign's lower case is an ASCII "k".
    if not name.isascii() or name.encode("ascii").translate(None, _PLAIN_OR_DOT):
        raise BadName("the name has characters that cannot be looked up")
    for label in name.split("."):
        if not label:
            raise BadName("the name has an empty label")
        if len(label) > _MAX_LABEL:
            raise BadName("the name has a label above 63 octets")
    return name.lower()


def encode_query(query_id: int, question: Question, *, edns: bool) -> bytes:
    """A recursive query as octets.

    AD says that we understand the bit in the answer (RFC 6840 section 5.7);
    DO says it to servers older than that, at the price of signatures that we
    leave unread. Both need EDNS to be of use.
    """
    name = b"".join(
        len(label).to_bytes() + label
        for label in question.name.encode("ascii").split(b".")
    )
    return b"".join(
        (
            _HEADER.pack(query_id, _RD | _AD, 1, 0, 0, 1 if edns else 0),
            name,
            b"\0",
            struct.pack(">HH", question.kind, _CLASS_IN),
            b"\0" + _FIXED.pack(_OPT, UDP_SIZE, _DO, 0) if edns else b"",
        )
    )


def read_response(octets: bytes, query_id: int, question: Question) -> Response:
    """Read the answer to one query.

    Raises:
        NotOurs: another id, another question, or no response at all (RFC
            5452 section 9.1). Waiting goes on: the answer may still come.
        MalformedMessage: it answers our query, but cannot be read.
    """
    try:
        found_id, flags, questions, *sections = _HEADER.unpack_from(octets)
    except struct.error:
        raise NotOurs("too short for a message") from None
    if found_id != query_id or not flags & _QR or flags & _OPCODE:
        raise NotOurs("not a response to this query")
    code = flags & 0xF
    if questions == 0 and code != ResponseCode.NO_ERROR:
        # A server that could not read the query cannot repeat its question.
        return Response(code=code)
    offset = _past_question(octets, questions, question)
    if flags & _TC:
        return Response(code=code, is_truncated=True)
    try:
        return _read_sections(octets, offset, flags, sections, question)
    except (IndexError, struct.error):
        raise MalformedMessage("the message is cut short") from None


def _past_question(octets: bytes, questions: int, question: Question) -> int:
    try:
        name, offset = read_name(octets, _HEADER.size)
        kind, in_class = struct.unpack_from(">HH", octets, offset)
    except (IndexError, struct.error, MalformedMessage):
        raise NotOurs("the question cannot be read") from None
    if (questions, name, kind, in_class) != (
        1,
        question.name,
        question.kind,
        _CLASS_IN,
    ):
        raise NotOurs("an answer to another question")
    return offset + 4


def _read_sections(
    octets: bytes, offset: int, flags: int, counts: list[int], question: Question
) -> Response:
    if sum(counts) > _MOST_RECORDS:
        raise MalformedMessage("too many records")
    answers, authorities, additional = counts
    records: list[ResourceRecord] = []
    for _ in range(answers):
        owner, kind, in_class, ttl, start, end = _read_fixed(octets, offset)
        if in_class == _CLASS_IN and kind in (question.kind, RecordType.CNAME):
            data = _read_data(octets, RecordType(kind), start, end)
            records.append(ResourceRecord(owner, kind, ttl, data))
        offset = end
    negative_ttl: int | None = None
    has_name_servers = False
    for _ in range(authorities):
        _, kind, in_class, ttl, start, end = _read_fixed(octets, offset)
        if kind == _SOA and in_class == _CLASS_IN:
            negative_ttl = min(ttl, _read_minimum(octets, start, end))
        elif kind == _NS:
            has_name_servers = True
        offset = end
    code = flags & 0xF
    for _ in range(additional):
        _, kind, _, ttl, _, end = _read_fixed(octets, offset, clamp=False)
        if kind == _OPT:  # the upper bits of the code (RFC 6891 section 6.1.3)
            code |= ttl >> 24 << 4
        offset = end
    return Response(
        code=code,
        authenticated=bool(flags & _AD),
        records=tuple(records),
        negative_ttl=negative_ttl,
        is_referral=(
            has_name_servers
            and negative_ttl is None
            and not records
            and not flags & _AA
        ),
    )


def _read_fixed(
    octets: bytes, offset: int, *, clamp: bool = True
) -> tuple[str, int, int, int, int, int]:
    """Owner, type, class, TTL, and where the data starts and ends."""
    owner, offset = read_name(octets, offset)
    kind, in_class, ttl, length = _FIXED.unpack_from(octets, offset)
    if clamp and ttl > LONGEST_TTL:
        ttl = 0
    start = offset + _FIXED.size
    end = start + length
    if end > len(octets):
        raise MalformedMessage("the message is cut short")
    return owner, kind, in_class, ttl, start, end


def _read_data(octets: bytes, kind: RecordType, start: int, end: int) -> Record:
    data = octets[start:end]
    match kind:
        case RecordType.A if len(data) == 4:
            return AddressRecord(IPv4Address(data))
        case RecordType.AAAA if len(data) == 16:
            return AddressRecord(IPv6Address(data))
        case RecordType.MX if len(data) > 2:
            preference = int.from_bytes(data[:2])
            return ExchangerRecord(preference, _whole_name(octets, start + 2, end))
        case RecordType.CNAME:
            return AliasRecord(_whole_name(octets, start, end))
        case RecordType.PTR:
            return PointerRecord(_whole_name(octets, start, end))
        case RecordType.TXT:
            return TextRecord(_joined_strings(data))
        case RecordType.TLSA if len(data) > 3:
            return CertificateRecord(data[0], data[1], data[2], data[3:])
    raise MalformedMessage(f"the {kind.name} record has the wrong length")


def _whole_name(octets: bytes, start: int, end: int) -> str:
    name, after = read_name(octets, start)
    if after != end:
        raise MalformedMessage("a name does not fill its record")
    return name


def _joined_strings(data: bytes) -> bytes:
    pieces: list[bytes] = []
    offset = 0
    while offset < len(data):
        after = offset + 1 + data[offset]
        if after > len(data):
            raise MalformedMessage("a string is longer than its record")
        pieces.append(data[offset + 1 : after])
        offset = after
    return b"".join(pieces)


def _read_minimum(octets: bytes, start: int, end: int) -> int:
    """MINIMUM of an SOA record: how long a negative answer holds."""
    _, offset = read_name(octets, start)
    _, offset = read_name(octets, offset)
    if offset + 20 != end:
        raise MalformedMessage("the SOA record has the wrong length")
    return min(int.from_bytes(octets[end - 4 : end]), LONGEST_TTL)


def read_name(octets: bytes, offset: int) -> tuple[str, int]:
    r"""The name at ``offset`` in a message, and where what follows it starts.

    Lower case, without a dot at the end; the root is ``.``. An octet that a
    label may hold but a host name may not is written ``\DDD``, so that two
    names are equal as text exactly where they are equal in the DNS.

    Raises:
        MalformedMessage: no name (RFC 1035 sections 3.1 and 4.1.4).
        IndexError: the message ends within the name.
    """
    labels: list[bytes] = []
    length = 1
    after: int | None = None
    limit = offset
    pointers = 0
    while (size := octets[offset]) != 0:
        if size >= 0xC0:
            target = (size & 0x3F) << 8 | octets[offset + 1]
            pointers += 1
            # Each pointer leads back beyond the last, or the name never ends.
            if target >= limit or pointers > _MOST_POINTERS:
                raise MalformedMessage("a compression pointer leads astray")
            if after is None:
                after = offset + 2
            offset = limit = target
            continue
        length += size + 1
        if size > _MAX_LABEL or length > _MAX_NAME:
            raise MalformedMessage("a name or label is too long")
        offset += 1
        labels.append(octets[offset : offset + size])
        offset += size
    return _as_text(labels), offset + 1 if after is None else after


def _as_text(labels: list[bytes]) -> str:
    if not labels:
        return "."
    joined = b".".join(labels)
    if joined.count(b".") == len(labels) - 1 and not joined.translate(
        None, _PLAIN_OR_DOT
    ):
        return joined.decode("ascii").lower()
    return ".".join(
        "".join(chr(octet) if octet in _PLAIN else f"\\{octet:03}" for octet in label)
        for label in labels
    ).lower()
