"""SMTP smuggling: one message in is one message at the next hop, whoever that is."""

import re
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from submitd.smtp.client import ClientSession, TlsWish
from tests.support.session_peer import SessionPeer, make_session

LENIENT: Final = {
    # What servers take, or took before they were mended, for the end of data.
    "strict": re.compile(rb"\r\n\.\r\n"),
    "Postfix": re.compile(rb"\r?\n\.\r?\n"),
    "Sendmail": re.compile(rb"(?:\r\n|\n|\r)\.(?:\r\n|\n|\r)"),
    "Exim": re.compile(rb"(?:\r\n|\n)\.\r?\n"),
    "skips NUL": re.compile(rb"\r?\n\0*\.\0*\r?\n"),
    "skips CR": re.compile(rb"\r*\n\r*\.\r*\n"),
}
LINE_ENDS: Final = (b"\r\n", b"\n", b"\r", b"\r\r\n", b"\r\n\n", b"\n\r", b"\0\r\n")
ENDS: Final = tuple(
    before + dot + after
    for before in LINE_ENDS
    for dot in (b".", b"..", b"\0.", b".\0")
    for after in LINE_ENDS
)
SECOND: Final = (
    b"MAIL FROM:<eve@example.org>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\n"
    b"From: eve@example.org\r\n\r\nForged.\r\n.\r\n"
)
ENVELOPE: Final = (
    b"EHLO c\r\nMAIL FROM:<alice@example.org>\r\nRCPT TO:<b@example.net>\r\n"
)


def taken(wire: bytes, line_ends: str, cut: int) -> list[bytes]:
    """What the server accepts of a client's octets."""
    settings = {"listener": "none", "line_ends": line_ends, "bad_commands": "1000"}
    peer = SessionPeer(make_session(settings), cut)
    peer.send(ENVELOPE)
    peer.send(wire)
    return peer.accepted


def handed_on(content: bytes, cuts: set[int]) -> bytes:
    """The same message as a next hop gets it, behind 354."""
    client = ClientSession("submit.example.org", tls=TlsWish.NEVER)
    edges = sorted({0, len(content)} | {cut for cut in cuts if cut < len(content)})
    for start, end in pairwise(edges):
        client.send_content(content[start:end])
    client.end_content()
    return client.data_to_send()


def check(content: bytes, cuts: set[int]) -> None:
    wire = b"\r\n" + handed_on(content, cuts)
    for name, end in LENIENT.items():
        assert [found.end() for found in end.finditer(wire)] == [len(wire)], name


@pytest.mark.rfc("5321", "2.3.8")
@pytest.mark.rfc("5321", "4.5.2")
@pytest.mark.parametrize("line_ends", ["strict", "normalise"])
@pytest.mark.parametrize("end", ENDS)
def test_no_variant_of_an_end_of_data_makes_one_message_two(
    end: bytes, line_ends: str
) -> None:
    """By DATA and by BDAT, on the way in and on the way out."""
    text = b"From: alice@example.org\r\n\r\nText." + end
    for cut in (1, 7, 1 << 20):
        by_data = taken(b"DATA\r\n" + text + SECOND, line_ends, cut)
        real_end = text.find(b"\r\n.\r\n") >= 0
        # Where it is the real one, what follows is the client's next message.
        assert len(by_data) <= 1 + real_end
        chunk = text + SECOND
        size = b"BDAT %d LAST\r\n" % len(chunk)
        by_chunk = taken(size + chunk, line_ends, cut)
        assert len(by_chunk) <= 1
        for content in (*by_data, *by_chunk):
            check(content, {cut, 40, 41, 42, 43, 44})


@given(
    st.lists(
        st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"..", b"\0", b"a"]), max_size=40
    ).map(b"".join),
    st.sampled_from(["strict", "normalise"]),
    st.sets(st.integers(0, 60)),
)
def test_nor_does_anything_else(text: bytes, line_ends: str, cuts: set[int]) -> None:
    for content in taken(b"BDAT %d LAST\r\n" % len(text) + text, line_ends, 1 << 20):
        check(content, cuts)
