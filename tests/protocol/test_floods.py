"""Clients that talk and do not listen."""

import socket
import time
from pathlib import Path

from twisted.internet import reactor

from submitd.smtp.server import ServerSession, SessionLimits, TlsManner
from submitd.tls.server import ServerTls, TlsFiles
from tests.support.certificates import make_certificate
from tests.support.in_reactor import in_reactor
from tests.support.one_process import in_thread
from tests.support.session_peer import SessionPeer, make_session
from tests.support.socket_peer import LoopbackServer


@in_reactor
async def test_a_client_that_does_not_read_its_replies_is_not_read_on(
    tmp_path: Path,
) -> None:
    """Its own socket fills, not our memory; and when it reads, it goes on."""
    certificate = make_certificate(tmp_path, "cert.pem", "key.pem", ["localhost"])
    files = TlsFiles(certificate=certificate, key=tmp_path / "key.pem")
    server = LoopbackServer(reactor, {"listener": "none"}, ServerTls(files.load()))
    command = b"RCPT TO:<b@example.net>\r\n"

    def flood() -> tuple[int, int]:
        with socket.create_connection(("127.0.0.1", server.port), 5) as client:
            client.sendall(b"EHLO x\r\nMAIL FROM:<a@example.org>\r\n")
            client.setblocking(False)
            sent, since = 0, time.monotonic()
            while time.monotonic() - since < 0.5:
                try:
                    sent += client.send((command * 3000)[sent % len(command) :])
                    since = time.monotonic()
                except BlockingIOError:
                    time.sleep(0.01)  # noqa: TID251 - the server may read on
            heard = b""
            client.settimeout(5)
            while heard.count(b"250 2.1.5 ") < sent // len(command):
                heard += client.recv(1 << 16)
            return sent, heard.count(b"250 2.1.5 ")

    try:
        sent, answered = await in_thread(flood)
    finally:
        await server.close()
    # What two sockets hold, and a little of ours.
    assert 100_000 < sent < 16_000_000
    assert answered == sent // len(command)


def test_replies_that_nobody_took_stop_the_session() -> None:
    session = make_session({"listener": "none"})
    session.receive_data(b"EHLO x\r\n" * 1000)
    assert session.next_event() is None
    assert session.is_full
    assert session.unread > 1000
    assert 64 * 1024 <= len(session.data_to_send()) < 65 * 1024
    assert session.next_event() is None
    assert session.data_to_send()


def test_small_talk_has_an_end_unless_there_is_mail() -> None:
    peer = SessionPeer(ServerSession("submit.example", TlsManner.NONE, SessionLimits()))
    mail = (
        b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"
        b"From: a@example.org\r\n\r\n.\r\n"
    )
    peer.send(b"EHLO x\r\n")
    for _ in range(3):
        peer.send(b"NOOP\r\n" * 900 + mail)
    assert len(peer.accepted) == 3
    peer.send(b"RSET\r\n" * 1000)
    assert peer.said.endswith(b"250 2.0.0 Ok\r\n")
    peer.send(b"NOOP\r\n")
    assert peer.said.endswith(b"421 4.7.0 Too many errors, closing\r\n")
