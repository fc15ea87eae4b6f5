"""The receiving server: each mail becomes a file, and some names misbehave.

``bounce@`` does not exist, ``greylist@`` is put off once, ``slow@`` is never
answered.
"""

import argparse
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import IO, Any, Final

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import (
    IHandshakeListener,
    ITLSTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure
from zope.interface import implementer

from demo.serving import serve, tls_of
from demo.settings import EXCHANGER, HOST
from submitd.mail.address import Mailbox
from submitd.mail.status import EnhancedCode
from submitd.smtp.event import (
    ContentArrived,
    ContentEnded,
    ContentOffered,
    Event,
    RecipientOffered,
    SenderOffered,
    TlsWanted,
    TransactionAborted,
)
from submitd.smtp.extension import CHUNKING, SMTPUTF8
from submitd.smtp.reply import Reply
from submitd.smtp.server import ServerSession, SessionLimits, TlsManner
from submitd.tls.server import ServerTls

_IDLE: Final = 300
"""Seconds without a byte after which a connection ends."""

_MOST_PUT_OFF: Final = 1000

_YES: Final = Reply(250, EnhancedCode(2, 1, 0), "Ok")
_GO_AHEAD: Final = Reply(354, None, "Go ahead")
_NOBODY: Final = Reply(550, EnhancedCode(5, 1, 1), "No such mailbox here")
_LATER: Final = Reply(451, EnhancedCode(4, 7, 1), "Greylisted, try again in a moment")


class Mailbag:
    """Mail on its way into a file, and what is remembered of earlier tries."""

    def __init__(self, directory: Path, tell: Callable[[str], None]) -> None:
        self.directory = directory
        self.tell = tell
        self._put_off: set[tuple[Mailbox | None, Mailbox]] = set()

    def verdict(self, sender: Mailbox | None, recipient: Mailbox) -> Reply | None:
        """What the client hears; None: nothing at all."""
        match recipient.local_part.lower():
            case "bounce":
                return _NOBODY
            case "slow":
                return None
            case "greylist":
                return self._once(sender, recipient)
            case _:
                return _YES

    def _once(self, sender: Mailbox | None, recipient: Mailbox) -> Reply:
        pair = (sender, recipient)
        if pair in self._put_off:
            self._put_off.remove(pair)
            return _YES
        if len(self._put_off) >= _MOST_PUT_OFF:
            self._put_off.clear()
        self._put_off.add(pair)
        return _LATER


class Delivery:
    """One mail, being written. It gets its name when it is complete."""

    def __init__(self, bag: Mailbag, offered: ContentOffered, trace: str) -> None:
        now = datetime.now(UTC)
        self._bag = bag
        self._offered = offered
        first = offered.forward_paths[0].mailbox.local_part
        place = re.sub(r"[^A-Za-z0-9+_.-]", "_", first)[:40].lstrip(".")
        name = f"{now:%Y%m%d-%H%M%S}-{place}-{secrets.token_hex(3)}.eml"
        self._path = bag.directory / name
        self._part = bag.directory / f".{name}.part"
        self._file: IO[bytes] = self._part.open("xb")
        lines = [
            f"Return-Path: <{offered.sender.reverse_path or ''}>",
            *(f"Delivered-To: {one.mailbox}" for one in offered.forward_paths),
            f"Received: {trace};",
            f"\t{format_datetime(now)}",
        ]
        self._file.write("".join(f"{line}\r\n" for line in lines).encode())

    def write(self, octets: bytes) -> None:
        """Some more of it."""
        self._file.write(octets)

    def finish(self) -> str:
        """It is complete; gives the file's name."""
        self._file.close()
        self._part.rename(self._path)
        recipients = ", ".join(str(one.mailbox) for one in self._offered.forward_paths)
        sender = self._offered.sender.reverse_path or ""
        self._bag.tell(f"arrived  {self._path.name}  <{sender}> -> {recipients}")
        return self._path.name

    def drop(self) -> None:
        """It will never be complete."""
        self._file.close()
        self._part.unlink(missing_ok=True)


@implementer(IHandshakeListener)
class ReceivingProtocol(Protocol, TimeoutMixin):
    """Bytes between a transport and a session, and the session's answers."""

    transport: Any

    def __init__(self, bag: Mailbag, tls: ServerTls, client: str) -> None:
        self._bag = bag
        self._tls = tls
        self._client = client
        self._session = ServerSession(
            EXCHANGER,
            TlsManner.STARTTLS,
            SessionLimits(message_size=None),
            # No DSN: whoever asks for a report of success gets it from submitd.
            (SMTPUTF8, CHUNKING),
            needs_log_in=False,
        )
        self._tls_version = ""
        self._is_silent = False
        self._sender: Mailbox | None = None
        self._delivery: Delivery | None = None

    def connectionMade(self) -> None:
        self.setTimeout(_IDLE)
        self._session.greet()
        self._pump()

    def dataReceived(self, data: bytes) -> None:
        self.resetTimeout()
        if not self._is_silent:  # else nothing that comes matters any more
            self._session.receive_data(data)
            self._pump()

    def handshakeCompleted(self) -> None:
        self._tls_version = self.transport.getHandle().get_protocol_version_name()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        self.setTimeout(None)
        self._drop()

    def _pump(self) -> None:
        session = self._session
        while (event := session.next_event()) is not None:
            if isinstance(event, TlsWanted):
                self.transport.write(session.data_to_send())
                ITLSTransport(self.transport).startTLS(self._tls)
                session.answer(None)
                continue
            if isinstance(event, RecipientOffered):
                recipient = event.forward_path.mailbox
                verdict = self._bag.verdict(self._sender, recipient)
                if verdict is None:
                    self._is_silent = True
                    self._bag.tell(f"silent   to {recipient}, until the client is gone")
                    break
                if not verdict.is_positive:
                    said = verdict.encode().decode().rstrip()
                    self._bag.tell(f"refused  {recipient}: {said}")
                session.answer(verdict)
                continue
            session.answer(self._answer(event))
        self.transport.write(session.data_to_send())
        if session.is_closing:
            self.transport.loseConnection()

    def _answer(self, event: Event) -> Reply | None:
        match event:
            case SenderOffered():
                self._sender = event.reverse_path
                return _YES
            case ContentOffered():
                self._delivery = Delivery(self._bag, event, self._trace())
                return _GO_AHEAD
            case ContentArrived() if self._delivery is not None:
                self._delivery.write(event.octets)
            case ContentEnded() if self._delivery is not None:
                name, self._delivery = self._delivery.finish(), None
                return Reply(250, EnhancedCode(2, 0, 0), f"Written to {name}")
            case TransactionAborted():
                self._drop()
        return None

    def _trace(self) -> str:
        protocol = "ESMTP" if self._session.esmtp else "SMTP"
        version = ""
        if self._session.tls:
            protocol, version = f"{protocol}S", f" ({self._tls_version})"
        return (
            f"from {self._session.client_name} ([{self._client}])\r\n"
            f"\tby {EXCHANGER} with {protocol}{version}"
        )

    def _drop(self) -> None:
        if self._delivery is not None:
            self._delivery.drop()
            self._delivery = None


class ReceivingFactory(Factory):
    """Connections of the receiving server."""

    def __init__(self, bag: Mailbag, tls: ServerTls) -> None:
        self._bag = bag
        self._tls = tls

    def buildProtocol(self, addr: Any) -> ReceivingProtocol:  # noqa: ANN401
        client = addr.host if isinstance(addr, IPv4Address) else "unknown"
        return ReceivingProtocol(self._bag, self._tls, client)


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--mail", type=Path, required=True)
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    options = parser.parse_args()

    def listen(reactor: Any) -> int:  # noqa: ANN401
        options.mail.mkdir(parents=True, exist_ok=True)
        for left in options.mail.glob(".*.part"):
            left.unlink()
        bag = Mailbag(options.mail, lambda line: print(line, flush=True))
        factory = ReceivingFactory(bag, tls_of(options.certificate, options.key))
        port = reactor.listenTCP(options.port, factory, interface=HOST)
        return int(port.getHost().port)

    serve(listen)


if __name__ == "__main__":
    main()
