from itertools import product

import pytest

from submitd.smtp.framing import (
    BinaryRule,
    DotReader,
    InputBuffer,
    LineEnds,
    LineFault,
    TextRule,
)


def _lines(pieces: list[bytes], limit: int = 20) -> list[bytes | LineFault]:
    """What a reader of lines gets, piece by piece."""
    buffer = InputBuffer()
    found = []
    for piece in pieces:
        buffer.receive(piece)
        while buffer.is_at_line() and (line := buffer.next_line(limit)) is not None:
            found.append(line)
    return found


@pytest.mark.rfc("5321", "2.3.8")
def test_lines_end_with_cr_lf() -> None:
    assert _lines([b"one\r\n", b"tw", b"o\r", b"\n\r\nthree"]) == [b"one", b"two", b""]


@pytest.mark.rfc("5321", "2.3.8")
@pytest.mark.parametrize(
    "faulty", [b"a\nb\r\n", b"\n\r\n", b"a\rb\r\n", b"\r\r\n", b"a\n\r\n", b"\n\n\r\n"]
)
def test_a_line_with_a_bare_line_end_is_one_fault(faulty: bytes) -> None:
    """However it arrives, and the next line begins where it did."""
    octets = faulty + b"next\r\n"
    expected = [LineFault.BARE_LINE_END, b"next"]

    assert _lines([octets]) == expected
    assert _lines([octets[at : at + 1] for at in range(len(octets))]) == expected


@pytest.mark.rfc("5321", "4.5.3.1.4")
def test_a_limit_counts_the_line_end() -> None:
    assert _lines([b"x" * 18 + b"\r\n"]) == [b"x" * 18]
    assert _lines([b"x" * 19 + b"\r\nnext\r\n"]) == [LineFault.TOO_LONG, b"next"]


def test_a_line_that_is_too_long_is_told_once_and_not_kept() -> None:
    """Or a client could fill our memory with a line that never ends."""
    buffer = InputBuffer()
    buffer.receive(b"x" * 20)
    assert buffer.next_line(20) is LineFault.TOO_LONG
    for _ in range(3):
        buffer.receive(b"x" * 100_000 + b"\r")
        assert not buffer.is_at_line()
        assert len(buffer) == 1
    buffer.receive(b"\nnext\r\n")

    assert buffer.is_at_line()
    assert buffer.next_line(20) == b"next"
    assert not buffer


def test_nothing_is_left_of_a_faulty_line_but_a_cr_that_may_be_half_an_end() -> None:
    buffer = InputBuffer()
    buffer.receive(b"a\nb")
    assert buffer.next_line(20) is LineFault.BARE_LINE_END
    assert not buffer.is_at_line()
    assert len(buffer) == 0
    assert not buffer.is_at_line()
    buffer.receive(b"\r\n")

    assert buffer.is_at_line()


def test_a_buffer_forgets_what_it_is_told_to_forget() -> None:
    """Its place within a faulty line too."""
    buffer = InputBuffer()
    buffer.receive(b"a\nb")
    buffer.next_line(20)
    buffer.clear()
    buffer.receive(b"next\r\n")

    assert buffer.is_at_line()
    assert buffer.next_line(20) == b"next"


def test_octets_are_taken_as_far_as_they_are_wanted() -> None:
    buffer = InputBuffer()
    buffer.receive(b"abcdef")

    assert buffer.take(2) == b"ab"
    assert buffer.starts_with(b"CD")
    assert not buffer.starts_with(b"AB")
    assert buffer.take() == b"cdef"
    assert buffer.take(5) == b""
    buffer.put_back(b"ef")
    buffer.receive(b"g")
    assert buffer.take(5) == b"efg"


def _undotted(pieces: list[bytes]) -> tuple[bytes, bytes | None]:
    reader = DotReader()
    content, rest = b"", None
    for piece in pieces:
        assert rest is None, "fed behind the end"
        plain, rest = reader.feed(piece)
        content += plain
    return content, rest


@pytest.mark.rfc("5321", "4.5.2")
@pytest.mark.parametrize(
    ("wire", "content"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"Hi\r\n.\r\n", b"Hi\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b".a\r\n.\r\n", b"a\r\n"),
        (b"a\r\n..b\r\n.\r\n", b"a\r\n.b\r\n"),
        (b"..\r\n..\r\n...\r\n.\r\n", b".\r\n.\r\n..\r\n"),
        (b"a.\r\n.\r\n", b"a.\r\n"),
        (b"\n.\r\n\r\n.\r\n", b"\n.\r\n\r\n"),
        (b"\r\r\n.\r\n", b"\r\r\n"),
        (b"\r\n.\r\r\n.\r\n", b"\r\n\r\r\n"),
        (b".\r.\r\n.\r\n", b"\r.\r\n"),
    ],
)
def test_content_is_the_same_however_it_was_cut(wire: bytes, content: bytes) -> None:
    """Every way of cutting it, and whatever follows."""
    for cuts in product([False, True], repeat=len(wire) - 1):
        pieces = [wire[:1]]
        for octet, cut in zip(wire[1:], cuts, strict=True):
            if cut:
                pieces.append(bytes([octet]))
            else:
                pieces[-1] += bytes([octet])
        assert _undotted([*pieces[:-1], pieces[-1] + b"rest"]) == (content, b"rest")


@pytest.mark.rfc("5321", "4.1.1.4")
@pytest.mark.parametrize(
    "wire",
    [
        b"\n.\n",
        b"\n.\r\n",
        b"\r.\r",
        b"\r\n.\n",
        b"\r\n.\r",
        b".\n",
        b".\r",
        b"\r\n.\rx",
        b"\r\n..\r\n",
        b"\r\n. \r\n",
        b"\r.\r\n",
    ],
)
def test_only_a_dot_alone_between_line_ends_ends_content(wire: bytes) -> None:
    """Or one message could become two on its way."""
    content, rest = _undotted([b"Hi" + wire])

    assert rest is None
    assert content.startswith(b"Hi")


def _ruled(line_ends: LineEnds, pieces: list[bytes]) -> bytes | None:
    rule = TextRule(line_ends)
    passed = [rule.feed(piece) for piece in pieces]
    passed.append(rule.finish())
    return None if None in passed else b"".join(one or b"" for one in passed)


@pytest.mark.rfc("5321", "2.3.8")
@pytest.mark.parametrize(
    ("pieces", "strict", "normalised"),
    [
        ([b"a\r\n"], b"a\r\n", b"a\r\n"),
        ([b"a\r", b"\n"], b"a\r\n", b"a\r\n"),
        ([b"a\r", b"", b"\n"], b"a\r\n", b"a\r\n"),
        ([b"a\nb\r\n"], None, b"a\r\nb\r\n"),
        ([b"a\rb\r\n"], None, b"a\r\nb\r\n"),
        ([b"a\r", b"b\r\n"], None, b"a\r\nb\r\n"),
        ([b"a\r", b"\r\n"], None, b"a\r\n\r\n"),
        ([b"a\n", b"\r\n"], None, b"a\r\n\r\n"),
        ([b"a\n\r", b"b\r\n"], None, b"a\r\n\r\nb\r\n"),
        ([b"a\r"], None, b"a\r\n"),
        ([b"a\n"], None, b"a\r\n"),
        ([b"a"], b"a\r\n", b"a\r\n"),
        ([b"a\r\n", b"b"], b"a\r\nb\r\n", b"a\r\nb\r\n"),
        ([], b"", b""),
        ([b""], b"", b""),
        ([b"a\0\r\n"], None, None),
    ],
)
def test_content_has_whole_lines_or_is_refused(
    pieces: list[bytes], strict: bytes | None, normalised: bytes | None
) -> None:
    assert _ruled(LineEnds.STRICT, pieces) == strict
    assert _ruled(LineEnds.NORMALISE, pieces) == normalised


@pytest.mark.rfc("3030", "3")
@pytest.mark.parametrize(
    ("octets", "passed"),
    [
        (b"", b""),
        (b"A: b", b"A: b\r\n"),
        (b"A: b\r\n", b"A: b\r\n"),
        (b"A: b\r\n\r\n", b"A: b\r\n\r\n"),
        (b"A: b\r\n\r\n\r\n\n\0\r", b"A: b\r\n\r\n\r\n\n\0\r"),
        (b"\r\n\0", b"\r\n\0"),
        (b"A: b\n\r\n", None),
        (b"A: b\r\r\n\r\n", None),
        (b"A\0: b\r\n\r\n", None),
        (b"A: b\r", None),
        (b"\r", None),
    ],
)
def test_binary_content_has_a_header_section_of_lines(
    octets: bytes, passed: bytes | None
) -> None:
    """However it is cut."""
    for size in range(1, len(octets) + 2):
        rule = BinaryRule()
        pieces = [octets[at : at + size] for at in range(0, len(octets), size)]
        found = [*map(rule.feed, pieces), rule.finish()]
        whole = None if None in found else b"".join(one or b"" for one in found)
        assert whole == passed
