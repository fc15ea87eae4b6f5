"""Whatever comes, however it is cut."""

from itertools import pairwise
from typing import Final

from hypothesis import example, given
from hypothesis import strategies as st

from submitd.smtp.framing import DotReader, LineEnds
from submitd.smtp.server import Phase
from tests.support.session_peer import SessionPeer, make_session

COMMANDS: Final = (
    b"EHLO client",
    b"HELO client",
    b"AUTH PLAIN AGFsaWNlAHNlY3JldA==",
    b"AUTH PLAIN",
    b"AUTH LOGIN YWxpY2U=",
    b"c2VjcmV0",
    b"*",
    b"STARTTLS",
    b"MAIL FROM:<alice@example.org>",
    b"MAIL FROM:<> SIZE=10 BODY=8BITMIME",
    "MAIL FROM:<ålice@example.org> SMTPUTF8".encode(),
    b"MAIL FROM:<x@refused.example>",
    b"RCPT TO:<bob@example.net>",
    b"RCPT TO:<bob@full.example>",
    b"RCPT TO:<bob@nodata.example>",
    b"RCPT TO:<bob@closing.example>",
    b"RCPT TO:<bob",
    b"DATA",
    b"BDAT 3",
    b"BDAT 5 LAST",
    b"BDAT 0 LAST",
    b"MAIL FROM:<alice@example.org> BODY=BINARYMIME",
    b"BDAT x",
    b"RSET",
    b"NOOP",
    b"QUIT",
    b"refuseme",
    b"..",
    b".",
    b"",
    b"x" * 600,
)
ENDS: Final = (b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\n.\r\n")
OCTETS: Final = st.binary(max_size=8).map(lambda some: some.replace(b"\n", b"\r\n."))
STREAMS: Final = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(COMMANDS), st.sampled_from(ENDS)).map(b"".join),
        OCTETS,
    ),
    max_size=25,
).map(b"".join)


def _peer(listener: str) -> SessionPeer:
    return SessionPeer(
        make_session(
            {
                "listener": listener,
                "message_size": "30",
                "recipients": "2",
                "line": "512",
                "bad_commands": "8",
            }
        )
    )


def _converse(listener: str, pieces: list[bytes]) -> tuple[bytes, list[bytes], bool]:
    peer = _peer(listener)
    for piece in pieces:
        peer.send(piece)
    return peer.said, peer.accepted, peer.is_closed


@given(STREAMS, st.sets(st.integers(0, 300)), st.sampled_from(["none", "implicit"]))
@example(
    b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n\n.\r\n\r\n.\r\n",
    {54, 55, 56, 57, 58},
    "none",
)
def test_how_the_network_cuts_the_stream_changes_no_reply(
    stream: bytes, cuts: set[int], listener: str
) -> None:
    """TCP keeps no boundaries, so no reply may depend on them."""
    edges = sorted({0, len(stream)} | {cut for cut in cuts if cut < len(stream)})
    pieces = [stream[start:end] for start, end in pairwise(edges)]

    assert _converse(listener, pieces) == _converse(listener, [stream])


@given(st.lists(STREAMS, max_size=4), st.sampled_from(["none", "implicit", "starttls"]))
def test_no_input_raises_and_every_transaction_ends(
    streams: list[bytes], listener: str
) -> None:
    """The stand-in desk fails on an event that is out of place."""
    peer = _peer(listener)
    for stream in streams:
        peer.send(stream)
    peer.leave()

    assert not peer.desk.is_open
    assert peer.session.phase is Phase.COMMAND


@given(STREAMS)
def test_every_line_of_a_reply_is_whole_and_short(stream: bytes) -> None:
    """RFC 5321 section 4.5.3.1.5, whatever the client put into its commands."""
    said, _, _ = _converse("none", [stream])
    lines = said.split(b"\r\n")

    assert lines.pop() == b""
    for line in lines:
        assert line[:3].isdigit()
        assert line[3:4] in (b" ", b"-")
        assert len(line) <= 510
        assert b"\r" not in line
        assert b"\n" not in line


LINES: Final = st.lists(
    st.binary(max_size=6).map(
        lambda line: line.replace(b"\r", b".").replace(b"\n", b".").replace(b"\0", b".")
    ),
    max_size=10,
)


def _stuffed(lines: list[bytes]) -> bytes:
    """As RFC 5321 section 4.5.2 tells a client to do it."""
    return b"".join(
        (b"." + line if line.startswith(b".") else line) + b"\r\n" for line in lines
    )


@given(LINES, st.integers(1, 9))
def test_dot_stuffing_is_undone_exactly(lines: list[bytes], size: int) -> None:
    wire = _stuffed(lines) + b".\r\nrest"
    reader = DotReader()
    content, rest = b"", None
    for start in range(0, len(wire), size):
        piece = wire[start : start + size]
        if rest is None:
            plain, rest = reader.feed(piece)
            content += plain
        else:
            rest += piece

    assert content == b"".join(line + b"\r\n" for line in lines)
    assert rest == b"rest"


MARKS: Final = st.lists(
    st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"a"]), max_size=12
).map(b"".join)


@given(MARKS, st.sampled_from(list(LineEnds)))
def test_only_cr_lf_dot_cr_lf_ends_a_message(marks: bytes, line_ends: LineEnds) -> None:
    """One message in is at most one message out, and one with whole lines."""
    peer = SessionPeer(
        make_session({"listener": "none", "line_ends": line_ends.name.lower()})
    )
    peer.send(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n")
    wire = marks + b"\r\n.\r\n"
    end = (b"\r\n" + wire).find(b"\r\n.\r\n") + 3
    peer.send(wire[:end])

    assert not peer.session.in_data
    content = wire[: end - 3]
    within = content.replace(b"\r\n", b"")
    if line_ends is LineEnds.STRICT and (b"\r" in within or b"\n" in within):
        assert peer.accepted == []
    else:
        (passed,) = peer.accepted
        left = passed.replace(b"\r\n", b"")
        assert b"\r" not in left
        assert b"\n" not in left
        assert passed == b"" or passed.endswith(b"\r\n")
