"""Behind HAProxy, with both versions of its protocol, on both kinds of listener."""

import smtplib
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path

import pytest
from twisted.internet import reactor

from tests.support.dns_peers import free_port
from tests.support.in_reactor import in_reactor
from tests.support.one_process import OneProcess, in_thread

pytestmark = pytest.mark.integration

Peer = Callable[[str], Path]

CLIENT = "127.0.0.77"
"""Where the client is: not where the proxy is."""

MESSAGE = b"From: alice@example.org\r\nSubject: hi\r\n\r\nText.\r\n"
HEADER = b"PROXY TCP4 198.51.100.7 192.0.2.1 51234 587\r\n"


def listeners() -> str:
    """Two listeners behind a proxy."""
    return "\n".join(
        f"""
[listener.{name}]
address = "127.0.0.1"
port = {free_port()}
tls = "{tls}"
proxy = ["127.0.0.1/32"]
"""
        for name, tls in (("behind", "starttls"), ("behind-tls", "implicit"))
    )


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def haproxy(
    program: Path, folder: Path, to: int, send: str
) -> Generator[int, None, None]:
    """HAProxy in front of port ``to``; gives its own. Blocks."""
    port = free_port()
    settings = folder / "haproxy.cfg"
    settings.write_text(
        f"""
global
    maxconn 100
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen submission
    bind 127.0.0.1:{port}
    server one 127.0.0.1:{to} {send} check inter 200ms
"""
    )
    with subprocess.Popen([program, "-db", "-q", "-f", settings]) as running:
        try:
            deadline = time.monotonic() + 10
            while not _listens(port):
                assert time.monotonic() < deadline
                time.sleep(0.05)  # noqa: TID251 - another process starts
            yield port
        finally:
            running.terminate()


@pytest.mark.peers("haproxy")
@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2"])
@pytest.mark.parametrize("name", ["behind", "behind-tls"])
@in_reactor
async def test_the_client_behind_haproxy_is_the_one_that_is_named(
    tmp_path: Path, peer: Peer, name: str, send: str
) -> None:
    def submit(server: OneProcess) -> None:
        tls = ssl.create_default_context(cafile=server.ca)
        tls.check_hostname = False

        def connect(port: int) -> smtplib.SMTP:
            source = (CLIENT, 0)
            if name == "behind-tls":
                return smtplib.SMTP_SSL(
                    "127.0.0.1", port, timeout=20, source_address=source, context=tls
                )
            client = smtplib.SMTP("127.0.0.1", port, None, 20, source)
            client.starttls(context=tls)
            return client

        with haproxy(peer("haproxy"), tmp_path, server.port(name), send) as port:
            with connect(port) as client, pytest.raises(smtplib.SMTPException):
                client.login("alice", "wrong")
            with connect(port) as client:
                client.login("alice", "wonderland")
                client.sendmail("alice@example.org", ["bob@example.net"], MESSAGE)

    more = listeners() + '[message]\nreceived_client = "show"\n'
    async with OneProcess(reactor, tmp_path, more) as server:
        await in_thread(lambda: submit(server))
        await server.receiver.has(1)
        fields = message_from_bytes(server.receiver.received[0].content)
        assert f"[{CLIENT}]" in fields["Received"]
        named = f"client={CLIENT} proxy=127.0.0.1"
        await server.until(lambda: server.log.count(named) == 2)
        await server.until(lambda: server.log.count(f"{CLIENT} end=quit") == 2)
        lines = server.log.splitlines()
        for event in ("login-failed", "login-succeeded", "session-closed"):
            assert any(event in one and CLIENT in one for one in lines), event
        # Its looks whether we live are not our clients'.
        assert "session-broken" not in server.log
        assert "[bug]" not in server.log


@pytest.mark.parametrize("name", ["behind", "behind-tls"])
@pytest.mark.parametrize("cut", [3, len(HEADER), 1 << 16])
@in_reactor
async def test_a_header_comes_before_tls_however_it_is_cut(
    tmp_path: Path, name: str, cut: int
) -> None:
    """The client's first octets, which TLS must get, may come in one segment."""

    def submit(server: OneProcess) -> bytes:
        context = ssl.create_default_context(cafile=server.ca)
        arriving, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(arriving, leaving, server_hostname="localhost")
        first = b"EHLO x\r\n"
        if name == "behind-tls":
            with pytest.raises(ssl.SSLWantReadError):
                tls.do_handshake()
            first = leaving.read()
        octets = HEADER + first
        with socket.create_connection(("127.0.0.1", server.port(name)), 10) as wire:
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for start in range(0, len(octets), cut):
                wire.sendall(octets[start : start + cut])
                time.sleep(0.002)  # noqa: TID251 - a segment each
            heard = b""
            while b"220 submit.example.org" not in heard:
                octets = wire.recv(65536)
                assert octets, "closed"
                if name == "behind":
                    heard += octets
                    continue
                arriving.write(octets)
                try:
                    if not tls.cipher():
                        tls.do_handshake()
                    heard += tls.read(65536)
                except ssl.SSLWantReadError:
                    pass
                if leaving.pending:
                    wire.sendall(leaving.read())
            return heard

    async with OneProcess(reactor, tmp_path, listeners()) as server:
        await in_thread(lambda: submit(server))
        await server.logs("client=198.51.100.7 proxy=127.0.0.1")
        assert "[bug]" not in server.log


@in_reactor
async def test_a_header_before_starttls_does_not_loosen_it(tmp_path: Path) -> None:
    """RFC 3207 section 4: what is said in clear text behind STARTTLS is not obeyed."""

    def inject(server: OneProcess) -> bytes:
        with socket.create_connection(("127.0.0.1", server.port("behind")), 10) as wire:
            wire.sendall(HEADER + b"EHLO x\r\nSTARTTLS\r\nEHLO y\r\n")
            heard = b""
            while octets := wire.recv(65536):
                heard += octets
            return heard

    async with OneProcess(reactor, tmp_path, listeners()) as server:
        heard = await in_thread(lambda: inject(server))
        assert b"220 2.0.0" not in heard
        assert b"503 5.5.1 Nothing may follow STARTTLS" in heard


@in_reactor
async def test_only_a_proxy_that_is_configured_is_believed(tmp_path: Path) -> None:
    """Who comes directly is refused, and its header with it."""

    def attempt(server: OneProcess) -> bytes:
        with socket.create_connection(
            ("127.0.0.1", server.port("behind")), 10, (CLIENT, 0)
        ) as wire:
            wire.sendall(HEADER)
            heard = b""
            while octets := wire.recv(65536):
                heard += octets
            return heard

    async with OneProcess(reactor, tmp_path, listeners()) as server:
        heard = await in_thread(lambda: attempt(server))
        assert heard.startswith(b"554 5.7.1 Only a proxy of this server")
        await server.logs("reason=no-proxy")
        assert "198.51.100.7" not in server.log
