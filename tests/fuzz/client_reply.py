"""What a next hop says: no words of its make a sender raise, hang or grow.

The first octet says what our side wishes, the second how the rest is cut.
"""

from submitd.mail.address import Mailbox
from submitd.mail.envelope import Body, ForwardPath
from submitd.smtp.client import (
    ClientSession,
    ContentWanted,
    Outgoing,
    Ready,
    Settled,
    StartTls,
    TlsWish,
)
from submitd.smtp.client_reply import BadReply, ReplyReader
from submitd.smtp.reply import Reply

_PATHS = tuple(ForwardPath(Mailbox(name, "example.net"), None, None) for name in "abc")
_OUTGOING = Outgoing(
    reverse_path=Mailbox("alice", "example.org"),
    forward_paths=_PATHS,
    size=10,
    body=Body.EIGHT_BIT_MIME,
    smtputf8=False,
    ret=None,
    envid="x+y",
)


def one_input(octets: bytes) -> None:
    """The reader alone, whole and cut; then a whole session as sender."""
    if len(octets) < 2:
        return
    kind, cut, stream = octets[0], octets[1] % 13 + 1, octets[2:]
    assert _replies(stream, len(stream) or 1) == _replies(stream, cut)
    _converse(kind, cut, stream)


def _replies(stream: bytes, cut: int) -> tuple[list[Reply], bool]:
    reader, heard = ReplyReader(), []
    try:
        for at in range(0, len(stream), cut):
            reader.feed(stream[at : at + cut])
            while (one := reader.next()) is not None:
                assert one.encode().count(b"\n") == len(one.lines)
                heard.append(one)
    except BadReply:
        return heard, False
    return heard, True


def _converse(kind: int, cut: int, stream: bytes) -> None:
    session = ClientSession(
        "submit.example.org",
        tls=list(TlsWish)[kind % 3],
        credentials=("user", "secret") if kind & 4 else None,
        under_tls=bool(kind & 8),
    )
    begun = settled = 0
    for at in range(0, len(stream), cut):
        try:
            session.receive_data(stream[at : at + cut])
        except BadReply:
            return
        while (event := session.next_event()) is not None:
            match event:
                case StartTls():
                    session.tls_started()
                case Ready():
                    session.begin(_OUTGOING)
                    begun += 1
                case ContentWanted(accepted):
                    assert accepted
                    session.send_content(b"Text\r\n.dot\r\n")
                    session.end_content()
                case Settled(verdicts):
                    assert len(verdicts) == len(_PATHS)
                    settled += 1
        said = session.data_to_send()
        assert said == b"" or said.endswith(b"\r\n")
        assert session.under_tls or b"secret" not in said
        if session.is_over:
            break
    assert settled <= begun
