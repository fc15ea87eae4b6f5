"""Next hops that mean harm, and networks on the way to them."""

from pathlib import Path
from typing import Final

import pytest
from twisted.internet import reactor as the_reactor
from twisted.internet.interfaces import IReactorTCP
from twisted.internet.protocol import ServerFactory
from twisted.protocols.basic import LineReceiver

from tests.support.in_reactor import in_reactor
from tests.support.one_process import OneProcess, in_thread

pytestmark = pytest.mark.integration

MESSAGE: Final = b"From: alice@example.org\r\nSubject: hi\r\n\r\nText.\r\n"


class Scripted(ServerFactory):
    """Says to each verb what its script says; None: it is gone."""

    noisy = False

    def __init__(self, script: dict[str, bytes | None]) -> None:
        self.script = script
        self.commands: list[bytes] = []

    def buildProtocol(self, addr: object) -> "_Conversation":  # noqa: ARG002
        return _Conversation(self)


class _Conversation(LineReceiver):
    delimiter = b"\n"

    def __init__(self, script: Scripted) -> None:
        self._script = script

    def connectionMade(self) -> None:
        self._answer("")

    def lineReceived(self, line: bytes) -> None:
        self._script.commands.append(line)
        self._answer(line[:4].decode("latin-1").upper().strip())

    def _answer(self, verb: str) -> None:
        assert self.transport is not None
        said = self._script.script.get(verb, b"250 2.0.0 Ok\r\n")
        if said is None:
            self.transport.abortConnection()  # type: ignore[attr-defined]
        else:
            self.transport.write(said)


HELLO: Final = b"250-hop.example\r\n250 STARTTLS\r\n"
PLAIN: Final = b"250 hop.example\r\n"
GREETING: Final = b"220 hop.example\r\n"


@pytest.mark.rfc("3207", "4.2")
@pytest.mark.parametrize(
    ("script", "says"),
    [
        # Words that would be obeyed as though they had come under TLS.
        (
            {"EHLO": HELLO, "STAR": b"220 go\r\n250-hop.example\r\n250 AUTH PLAIN\r\n"},
            "octets behind the reply to STARTTLS",
        ),
        ({"EHLO": HELLO, "STAR": b"220 go\r\n25"}, "octets behind the reply"),
        ({"EHLO": PLAIN, "MAIL": b"250 \0\x1b[2J\r" + b"x" * 70_000}, "without end"),
        ({"EHLO": b"250-x\r\n" * 1000}, "without end"),
        ({"EHLO": PLAIN, "MAIL": b"HTTP/1.0 200 Ok\r\n"}, "not a reply"),
        ({"EHLO": PLAIN, "RCPT": None}, "connection was lost"),
        ({"EHLO": PLAIN, "DATA": b"250 2.0.0 Taken already\r\n"}, "out of order"),
    ],
)
@in_reactor
async def test_what_a_next_hop_injects_is_neither_obeyed_nor_believed(
    tmp_path: Path, script: dict[str, bytes | None], says: str
) -> None:
    """The message waits: it is not lost, not handed on, and not taken for relayed."""
    reactor: IReactorTCP = the_reactor
    hop = Scripted({"": GREETING, "STAR": b"454 4.7.0 no\r\n", **script})
    port = reactor.listenTCP(0, hop, interface="127.0.0.1")
    where = port.getHost().port  # type: ignore[attr-defined]
    more = (
        f'[route."hop.example"]\nhost = "127.0.0.1"\nport = {where}\n'
        'tls = "opportunistic"\n'
    )

    def submit(server: OneProcess) -> None:
        with server.logged_in() as client:
            client.sendmail("alice@example.org", ["bob@hop.example"], MESSAGE)

    async with OneProcess(the_reactor, tmp_path, more) as server:
        await in_thread(lambda: submit(server))
        await server.logs("[message-delayed]")
        log = server.log
        assert says in log
        assert "[message-relayed]" not in log
        assert "[bug]" not in log
        assert log.isascii()
        assert not any(b"Subject: hi" in one for one in hop.commands)
        if "STARTTLS" in says:
            assert not any(one.startswith(b"MAIL") for one in hop.commands)
    stopping = port.stopListening()
    if stopping is not None:
        await stopping
