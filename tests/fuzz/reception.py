"""Content by DATA and by BDAT, in; and out again to a next hop.

The first octet chooses the way, the second how the rest is cut; by BDAT, the next ones
may be sizes of chunks. What is passed on must be what a plain reading of RFC 5321 and
RFC 3030 gives, and no next hop, however lenient with line ends, may see an end of data
within it; BODY=BINARYMIME keeps all octets behind the header section.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from submitd.smtp import reply
from submitd.smtp.client import ClientSession, TlsWish
from submitd.smtp.framing import (
    BinaryRule,
    DotReader,
    InputBuffer,
    LineEnds,
    TextRule,
)
from submitd.smtp.reception import ChunkReception, Content, DataReception, Reception

_ANY_END: Final = re.compile(rb"(?:\r\n|\r|\n)\.(?:\r\n|\r|\n)")
"""What some server takes, or took, for the end of data."""

_BARE: Final = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")
_NORMALISE, _LIMITED, _CHUNKS, _BINARY, _EMPTY_LAST = 1, 2, 4, 8, 16
_LIMIT: Final = 100


def seeds() -> list[bytes]:
    """Lines and octets, by each way."""
    text = b"A: b\r\n\r\n.x\r\n"
    octets = b"A: b\r\n\r\n\0\r\n.\r\n\xff\n\r"
    sizes = b"\x05\x00\x02\x0a"
    kind = _CHUNKS | len(sizes) << 5
    return [
        b"\0\6A: b\r\n\r\n..x\r\n.\r\nQUIT\r\n",
        bytes((_CHUNKS, 3)) + text,
        bytes((kind, 3)) + sizes + text,
        bytes((kind | _BINARY, 4)) + sizes + octets,
        bytes((kind | _BINARY | _EMPTY_LAST, 5)) + sizes + octets,
        bytes((_CHUNKS | _BINARY | _EMPTY_LAST, 0)) + b"A: b\r\nno end",
        bytes((_CHUNKS | _BINARY | _LIMITED, 9)) + octets * 6,
    ]


def one_input(octets: bytes) -> None:
    """Read it whole and cut, and compare both with the plain reading."""
    if len(octets) < 2:
        return
    kind, cut, stream = octets[0], octets[1] % 13 + 1, octets[2:]
    sizes: Sequence[int] | None = None
    if kind & (_CHUNKS | _BINARY):
        wished, stream = stream[: kind >> 5], stream[kind >> 5 :]
        sizes = _sizes(wished, len(stream), kind)
    whole = _read(stream, len(stream) or 1, kind, sizes)
    assert whole == _read(stream, cut, kind, sizes)
    content, fault, rest = whole
    if rest is None:
        return
    assert sizes is None or rest == stream[sum(sizes) :]
    came = stream[: len(stream) - len(rest)]
    if sizes is None:
        came = _without_dots(came)
    assert (content, fault) == _plainly(came, kind)
    if not (kind & _BINARY or fault):
        _hand_on(content, cut)


def _sizes(wished: bytes, left: int, kind: int) -> Sequence[int]:
    """Of chunks that the stream has room for; the last one may be empty."""
    sizes: list[int] = []
    for size in wished:
        sizes.append(min(size, left))
        left -= sizes[-1]
    sizes.append(0 if kind & _EMPTY_LAST and sizes else left * 3 // 4)
    return sizes


def _content(kind: int) -> Content:
    line_ends = LineEnds.NORMALISE if kind & _NORMALISE else LineEnds.STRICT
    rule = BinaryRule() if kind & _BINARY else TextRule(line_ends)
    return Content(rule, _LIMIT if kind & _LIMITED else None)


def _receptions(content: Content, sizes: Sequence[int] | None) -> Iterator[Reception]:
    if sizes is None:
        yield DataReception(content)
        return
    for number, size in enumerate(sizes, 1):
        yield ChunkReception(size, content, is_last=number == len(sizes))


def _read(
    stream: bytes, cut: int, kind: int, sizes: Sequence[int] | None
) -> tuple[bytes, object, bytes | None]:
    """What was passed on, the fault, and what follows; None: it has not ended."""
    buffer = InputBuffer()
    pieces = iter([stream[at : at + cut] for at in range(0, len(stream), cut)])
    content = _content(kind)
    passed = b""
    for reception in _receptions(content, sizes):
        while True:
            octets = reception.read(buffer)
            passed += octets or b""
            if octets is not None and reception.is_complete:
                break
            if (piece := next(pieces, None)) is None:
                return (b"" if content.fault else passed), content.fault, None
            buffer.receive(piece)
    rest = buffer.take() + b"".join(pieces)
    return (b"" if content.fault else passed), content.fault, rest


def _without_dots(came: bytes) -> bytes:
    lines = came.split(b"\r\n")
    assert lines[-2:] == [b".", b""]
    return b"".join(line.removeprefix(b".") + b"\r\n" for line in lines[:-2])


def _plainly(came: bytes, kind: int) -> tuple[bytes, object]:
    """What is to be passed on of it, and why it is refused."""
    if kind & _LIMITED and len(came) > _LIMIT:
        return b"", reply.TOO_LARGE
    body = b""
    if kind & _BINARY and (end := (b"\r\n" + came).find(b"\r\n\r\n")) >= 0:
        came, body = came[: end + 2], came[end + 2 :]
    if kind & _NORMALISE and not kind & _BINARY:
        came = re.sub(rb"\r\n|\r|\n", b"\r\n", came)
    if _BARE.search(came):
        fault = reply.BAD_HEADER_LINES if kind & _BINARY else reply.BAD_CONTENT
        return b"", fault
    if came and not came.endswith(b"\r\n"):
        came += b"\r\n"
    return came + body, None


def _hand_on(content: bytes, cut: int) -> None:
    client = ClientSession("submit.example.org", tls=TlsWish.NEVER)
    client.data_to_send()
    for at in range(0, len(content), cut):
        client.send_content(content[at : at + cut])
    client.end_content()
    wire = client.data_to_send()
    assert len(_ANY_END.findall(b"\r\n" + wire)) == 1
    reader = DotReader()
    assert reader.feed(wire) == (content, b"")
