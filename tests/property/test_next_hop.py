"""What a next hop says, cut anywhere; and what it is told, read as a server would."""

from itertools import pairwise
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from submitd.mail.address import Mailbox
from submitd.mail.envelope import (
    Body,
    ForwardPath,
    Notify,
    OriginalRecipient,
    Ret,
)
from submitd.smtp import extension
from submitd.smtp.client import (
    ClientSession,
    ContentWanted,
    Outgoing,
    Ready,
    StartTls,
    TlsWish,
)
from submitd.smtp.client_reply import BadReply, ReplyReader
from submitd.smtp.event import SenderOffered
from submitd.smtp.extension import parameters_of
from submitd.smtp.grammar import read_mail, read_rcpt, split_command
from submitd.smtp.reply import Reply

KNOWN: Final = parameters_of((*extension.ALWAYS, *extension.OPTIONAL))
LINES: Final = (
    b"220 hello",
    b"220-hello",
    b"250 ok",
    b"250-mx.example",
    b"250-PIPELINING",
    b"250-STARTTLS",
    b"250-DSN",
    b"250 AUTH PLAIN LOGIN",
    b"334 VXNlcm5hbWU6",
    b"235 2.7.0 ok",
    b"354 go",
    b"421 4.3.2 bye",
    b"452 4.5.3 too many",
    b"550-5.1.1 no",
    b"550 5.1.1 such\0user\x1b[1m",
    b"250",
    b"nonsense",
    b"",
)
STREAMS: Final = st.lists(
    st.tuples(st.sampled_from(LINES), st.sampled_from([b"\r\n", b"\r\n", b"\n"])).map(
        b"".join
    ),
    max_size=25,
).map(b"".join)
NAMES: Final = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=20
)
DOMAINS: Final = st.sampled_from(
    ["example.net", "xn--bcher-kva.example", "[192.0.2.1]"]
)
MAILBOXES: Final = st.builds(Mailbox, NAMES, DOMAINS)
NOTIFIES: Final = st.sampled_from(
    [None, Notify.NEVER, Notify.SUCCESS, Notify.FAILURE | Notify.DELAY]
)
ORIGINALS: Final = st.none() | st.builds(OriginalRecipient, st.just("rfc822"), NAMES)
FORWARD_PATHS: Final = st.builds(ForwardPath, MAILBOXES, NOTIFIES, ORIGINALS)


def outgoing(
    reverse_path: Mailbox | None,
    forward_paths: tuple[ForwardPath, ...],
    ret: Ret | None,
    envid: str | None,
) -> Outgoing:
    return Outgoing(
        reverse_path=reverse_path,
        forward_paths=forward_paths,
        size=42,
        body=Body.EIGHT_BIT_MIME,
        smtputf8=False,
        ret=ret,
        envid=envid,
    )


def pieces(stream: bytes, cuts: set[int]) -> list[bytes]:
    edges = sorted({0, len(stream)} | {cut for cut in cuts if cut < len(stream)})
    return [stream[start:end] for start, end in pairwise(edges)]


def converse(
    parts: list[bytes], wish: TlsWish, credentials: tuple[str, str] | None
) -> tuple[list[str], bytes, bool]:
    """What happened, what was said in all, and whether it was nonsense."""
    session = ClientSession("me.example", tls=wish, credentials=credentials)
    message = outgoing(None, (ForwardPath(Mailbox("b", "example.net")),), None, None)
    seen: list[str] = []
    said = b""
    for part in parts:
        try:
            session.receive_data(part)
        except BadReply as problem:
            return seen, said, bool(str(problem))
        while (event := session.next_event()) is not None:
            seen.append(repr(event))
            match event:
                case StartTls():
                    session.tls_started()
                case Ready():
                    session.begin(message)
                case ContentWanted():
                    session.send_content(b"Text.\r\n")
                    session.end_content()
        said += session.data_to_send()
    return seen, said, False


@given(STREAMS, st.sets(st.integers(0, 400)))
def test_replies_are_the_same_however_they_are_cut(
    stream: bytes, cuts: set[int]
) -> None:
    def read(parts: list[bytes]) -> tuple[list[Reply], bool]:
        reader, heard = ReplyReader(), []
        try:
            for part in parts:
                reader.feed(part)
                while (one := reader.next()) is not None:
                    heard.append(one)
        except BadReply:
            return heard, False
        return heard, True

    assert read(pieces(stream, cuts)) == read([stream])


def test_a_line_that_is_too_long_is_so_however_it_is_cut() -> None:
    stream = b"250 " + b"x" * 70_000 + b"\r\n"
    for parts in ([stream], pieces(stream, {1000, 69_000})):
        assert converse(parts, TlsWish.NEVER, None) == ([], b"", True)


@given(
    STREAMS,
    st.sampled_from([TlsWish.NEVER, TlsWish.ALWAYS]),
    st.sampled_from([None, ("user", "secret")]),
)
def test_no_words_of_a_next_hop_raise_or_get_a_password_in_the_clear(
    stream: bytes, wish: TlsWish, credentials: tuple[str, str] | None
) -> None:
    seen, said, _ = converse(pieces(stream, set(range(400))), wish, credentials)

    assert said == b"" or said.endswith(b"\r\n")
    if not any(one.startswith("StartTls") for one in seen):
        assert b"AUTH" not in said
    lines = said.split(b"\r\n")
    assert all(b"\r" not in line and b"\n" not in line for line in lines)


@given(
    st.none() | MAILBOXES,
    st.lists(FORWARD_PATHS, min_size=1, max_size=3).map(tuple),
    st.sampled_from([None, *Ret]),
    st.none() | NAMES,
)
def test_what_a_next_hop_is_told_is_what_was_meant(
    reverse_path: Mailbox | None,
    forward_paths: tuple[ForwardPath, ...],
    ret: Ret | None,
    envid: str | None,
) -> None:
    """MAIL and RCPT, read by our own server's grammar."""
    session = ClientSession("me.example", tls=TlsWish.NEVER)
    session.receive_data(
        b"220 hi\r\n250-mx\r\n250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n250 DSN\r\n"
    )
    session.data_to_send()
    session.begin(outgoing(reverse_path, forward_paths, ret, envid))
    mail, *rcpts, data, rest = session.data_to_send().split(b"\r\n")

    assert (data, rest) == (b"DATA", b"")
    command = split_command(mail)
    assert command is not None
    read = read_mail(command[1], KNOWN.mail)
    assert isinstance(read, SenderOffered)
    assert read == SenderOffered(
        reverse_path, Body.EIGHT_BIT_MIME, False, 42, ret, envid
    )
    for line, meant in zip(rcpts, forward_paths, strict=True):
        command = split_command(line)
        assert command is not None
        path = read_rcpt(
            command[1], KNOWN.rcpt, smtputf8=False, hostname="submit.example.org"
        )
        assert path == meant


@given(
    st.sampled_from([220, 250, 354, 421, 452, 550]),
    st.lists(
        st.text(st.characters(exclude_categories=("C", "Z")), max_size=30),
        min_size=1,
        max_size=4,
    ),
)
def test_a_reply_is_read_as_it_was_said(code: int, lines: list[str]) -> None:
    """RFC 5321 section 4.2: by our own reader of replies."""
    reply = Reply(code, None, lines)
    reader = ReplyReader()
    reader.feed(reply.encode())

    read = reader.next()
    assert read is not None
    if read.enhanced is None:
        assert read == reply
    assert reader.next() is None
    assert reader.is_empty
