"""Content by DATA and by BDAT, in; and out again to a next hop.

The first octet chooses the way, the second how the rest is cut. What is passed on
must be what a plain reading of RFC 5321 and RFC 3030 gives, and no next hop, however
lenient with line ends, may see an end of data within it.
"""

import re
from typing import Final

from submitd.smtp.client import ClientSession, TlsWish
from submitd.smtp.framing import DotReader, InputBuffer, LineEnds, TextRule
from submitd.smtp.reception import ChunkReception, Content, DataReception, Reception

_ANY_END: Final = re.compile(rb"(?:\r\n|\r|\n)\.(?:\r\n|\r|\n)")
"""What some server takes, or took, for the end of data."""


def one_input(octets: bytes) -> None:
    """Read it whole and cut, and compare both with the plain reading."""
    if len(octets) < 2:
        return
    kind, cut, stream = octets[0], octets[1] % 13 + 1, octets[2:]
    line_ends = LineEnds.NORMALISE if kind & 1 else LineEnds.STRICT
    limit = 100 if kind & 2 else None
    by_chunk = bool(kind & 4)
    whole = _read(stream, len(stream) or 1, line_ends, limit, by_chunk=by_chunk)
    assert whole == _read(stream, cut, line_ends, limit, by_chunk=by_chunk)
    content, fault, rest = whole
    if rest is None or fault:
        return
    assert content == _plainly(stream[: len(stream) - len(rest)], line_ends, by_chunk)
    _hand_on(content, cut)


def _read(
    stream: bytes,
    cut: int,
    line_ends: LineEnds,
    limit: int | None,
    *,
    by_chunk: bool,
) -> tuple[bytes, object, bytes | None]:
    """What was passed on, the fault, and what follows; None: it has not ended."""
    content = Content(TextRule(line_ends), limit)
    reception: Reception = (
        ChunkReception(len(stream) * 3 // 4, content, is_last=True)
        if by_chunk
        else DataReception(content)
    )
    buffer = InputBuffer()
    passed = b""
    pieces = [stream[at : at + cut] for at in range(0, len(stream), cut)]
    for number, piece in enumerate(pieces):
        buffer.receive(piece)
        passed += reception.read(buffer) or b""
        if reception.is_complete:
            rest = buffer.take() + b"".join(pieces[number + 1 :])
            return (b"" if content.fault else passed), content.fault, rest
    return (b"" if content.fault else passed), content.fault, None


def _plainly(stream: bytes, line_ends: LineEnds, by_chunk: bool) -> bytes:
    if not by_chunk:
        lines = stream.split(b"\r\n")
        assert lines[-2:] == [b".", b""]
        stream = b"".join(line.removeprefix(b".") + b"\r\n" for line in lines[:-2])
    if line_ends is LineEnds.NORMALISE:
        stream = re.sub(rb"\r\n|\r|\n", b"\r\n", stream)
    if stream and not stream.endswith(b"\r\n"):
        stream += b"\r\n"
    return stream


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
