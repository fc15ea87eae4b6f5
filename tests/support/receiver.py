"""A receiving server inside the test's reactor: it remembers, and can refuse."""

import time
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IReactorTCP
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure


@define
class Received:
    """One message as it came."""

    reverse_path: str
    forward_paths: list[str] = field(factory=list)
    content: bytes = b""
    at: float = 0.0
    """When it was taken, by the clock of `time.monotonic`."""

    wishes: str = ""
    """The parameters of MAIL."""

    rcpt_wishes: list[str] = field(factory=list)
    """Those of RCPT, for each of the forward-paths."""


class Receiver(ServerFactory):
    """Takes mail on a free loopback port.

    What ``refusals`` holds for a local part is said to RCPT instead of 250, and
    what ``replies`` holds for a verb to that; None: it hangs up. After
    ``most_lines`` of content it says ``too_much``. ``keywords`` are those that
    EHLO offers; the limits of LIMITS among them are enforced (RFC 9422). The
    first ``unanswered`` messages it takes without a word; while its ``greeting`` is
    empty it says nothing at all.
    """

    noisy = False

    def __init__(self, keywords: tuple[str, ...] = ("PIPELINING", "8BITMIME")) -> None:
        self.keywords = keywords
        self.refusals: dict[str, str] = {}
        self.replies: dict[str, str | None] = {}
        self.most_lines: int | None = None
        self.too_much = "552 5.3.4 Too much for us"
        self.unanswered = 0
        self.after_dot = "250 2.0.0 Ok"
        self.greeting = "220 receiver.example ESMTP"
        self.commands: list[str] = []
        self.received: list[Received] = []
        self.connections = 0
        self.open = 0
        self.most_open = 0
        self._asleep: list[_Conversation] = []
        self._waiting: list[tuple[int, Deferred[None]]] = []
        self._port: IListeningPort | None = None

    def listen(self, reactor: IReactorTCP) -> int:
        """Begin; gives the port."""
        self._port = reactor.listenTCP(0, self, interface="127.0.0.1")
        where: Any = self._port.getHost()
        return int(where.port)

    async def close(self) -> None:
        """Listen no more."""
        if self._port is not None:
            stopping = self._port.stopListening()
            if stopping is not None:
                await stopping

    def buildProtocol(self, addr: object) -> "_Conversation":  # noqa: ARG002
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        conversation = _Conversation(self)
        self._asleep.append(conversation)
        return conversation

    def greet_all(self, greeting: str) -> None:
        """Say this to those who heard nothing so far, and to all that come."""
        self.greeting = greeting
        for one in tuple(self._asleep):
            one.greet()

    async def has(self, count: int) -> None:
        """Wait until so many messages have come."""
        if len(self.received) < count:
            waiting: Deferred[None] = Deferred()
            self._waiting.append((count, waiting))
            await waiting

    def take(self, message: Received) -> None:
        """One more."""
        message.at = time.monotonic()
        self.received.append(message)
        for count, waiting in tuple(self._waiting):
            if len(self.received) >= count:
                self._waiting.remove((count, waiting))
                waiting.callback(None)


class _Conversation(LineReceiver):
    transport: Any

    def __init__(self, factory: Receiver) -> None:
        self._to = factory
        self._message = Received("")
        self._lines: list[bytes] | None = None
        self._chunk_left = 0
        self._is_last_chunk = False
        self._mails = 0
        self._rcpts = 0
        self._domains: set[str] = set()
        self._verbs: dict[str, Callable[[str], None]] = {
            "EHLO": self._ehlo,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "QUIT": self._quit,
        }

    def connectionMade(self) -> None:
        self.greet()

    def greet(self) -> None:
        """Say what there is to say, once."""
        if self._to.greeting and self in self._to._asleep:
            self._to._asleep.remove(self)
            self._say(self._to.greeting)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        self._to.open -= 1

    def lineReceived(self, line: bytes) -> None:
        if self._lines is not None:
            self._content(line)
            return
        text = line.decode()
        self._to.commands.append(text)
        verb = text[:4].upper()
        if verb == "BDAT":
            self._bdat(text)
            return
        if verb in self._to.replies:
            said = self._to.replies[verb]
            if said is None:
                self.transport.loseConnection()
            else:
                self._say(said)
            return
        self._verbs.get(verb, lambda _: self._say("250 2.0.0 Ok"))(text)

    def _say(self, *lines: str) -> None:
        *most, last = lines
        for line in most:
            self.sendLine(f"{line[:3]}-{line[4:]}".encode())
        self.sendLine(last.encode())

    def _ehlo(self, _: str) -> None:
        self._say("250 receiver.example", *(f"250 {one}" for one in self._to.keywords))

    def _exceeds(self, limit: str, count: int) -> bool:
        """True where EHLO named the limit, and this is more."""
        words = " ".join(self._to.keywords).split()
        return any(
            count > int(word.partition("=")[2])
            for word in words
            if word.startswith(f"{limit}=")
        )

    def _mail(self, text: str) -> None:
        self._mails += 1
        self._rcpts = 0
        if self._exceeds("MAILMAX", self._mails):
            self._say("503 5.5.1 No more transactions")
            return
        path, _, wishes = text.partition("<")[2].partition(">")
        self._message = Received(path, wishes=wishes.strip())
        self._say("250 2.1.0 Ok")

    def _rcpt(self, text: str) -> None:
        path, _, wishes = text.partition("<")[2].partition(">")
        self._rcpts += 1
        self._domains.add(path.rpartition("@")[2])
        if self._exceeds("RCPTMAX", self._rcpts) or self._exceeds(
            "RCPTDOMAINMAX", len(self._domains)
        ):
            self._say("550 5.5.3 Beyond the limits")
            return
        refusal = self._to.refusals.get(path.partition("@")[0])
        if refusal is not None:
            self._say(refusal)
            return
        self._message.forward_paths.append(path)
        self._message.rcpt_wishes.append(wishes.strip())
        self._say("250 2.1.5 Ok")

    def _data(self, _: str) -> None:
        if not self._message.forward_paths:
            self._say("554 5.5.1 Nobody")
            return
        self._lines = []
        self._say("354 Go on")

    def _bdat(self, text: str) -> None:
        _, size, *last = text.split()
        self._chunk_left = int(size)
        self._is_last_chunk = bool(last)
        if self._chunk_left:
            self.setRawMode()
        else:
            self._answer_chunk()

    def rawDataReceived(self, data: bytes) -> None:  # noqa: N802
        chunk, rest = data[: self._chunk_left], data[self._chunk_left :]
        self._chunk_left -= len(chunk)
        self._message.content += chunk
        if not self._chunk_left:
            self._answer_chunk()
            self.setLineMode(rest)

    def _answer_chunk(self) -> None:
        """What RFC 3030 section 2 has a server say."""
        refusal = self._to.replies.get("BDAT")
        if refusal is not None:
            self._say(refusal)
        elif self._is_last_chunk:
            self._take()
        else:
            self._say("250 2.0.0 Chunk")

    def _content(self, line: bytes) -> None:
        assert self._lines is not None
        if line != b".":
            self._lines.append(line[1:] if line.startswith(b".") else line)
            if len(self._lines) == self._to.most_lines:
                self._say(self._to.too_much)
            return
        self._message.content = b"".join(one + b"\r\n" for one in self._lines)
        self._lines = None
        self._take()

    def _take(self) -> None:
        if self._to.after_dot.startswith("2"):
            self._to.take(self._message)
            if len(self._to.received) <= self._to.unanswered:
                return
        self._say(self._to.after_dot)

    def _quit(self, _: str) -> None:
        self._say("221 2.0.0 Bye")
        self.transport.loseConnection()
