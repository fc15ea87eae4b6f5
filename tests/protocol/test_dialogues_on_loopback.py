"""Every dialogue again, with TLS and sockets between the client and the session."""

from pathlib import Path

import pytest
from twisted.internet import reactor

from submitd.tls.server import ServerTls, TlsFiles
from tests.support.certificates import make_certificate
from tests.support.dialogue import Dialogue, load_all, run
from tests.support.in_reactor import in_reactor
from tests.support.one_process import in_thread
from tests.support.socket_peer import LoopbackServer, SocketPeer


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For all of them."""
    return make_certificate(
        tmp_path_factory.mktemp("tls"), "cert.pem", "key.pem", ["localhost"]
    )


@pytest.fixture
def tls(certificate: Path) -> ServerTls:
    """The server's side of it."""
    files = TlsFiles(certificate=certificate, key=certificate.with_name("key.pem"))
    return ServerTls(files.load())


@pytest.mark.parametrize(
    "dialogue", [pytest.param(one, id=one.name) for one in load_all()]
)
@in_reactor
async def test_the_server_keeps_to_the_script(
    dialogue: Dialogue, certificate: Path, tls: ServerTls
) -> None:
    """And the session is over when the client is gone."""
    server = LoopbackServer(reactor, dialogue.settings, tls)
    implicit = server.factory.implicit_tls

    def converse() -> None:
        peer = SocketPeer(server, certificate, implicit=implicit)
        try:
            peer.greeted()
            if dialogue.logs_in:
                peer.log_in()
            run(dialogue, peer, peer.wait)
        finally:
            peer.leave()

    try:
        await in_thread(converse)
    finally:
        await server.close()
    assert server.events.faults == []
    assert not server.desk.is_open
    assert server.events.names[-1] == "session-closed"
