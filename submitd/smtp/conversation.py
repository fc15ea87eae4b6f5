"""Taking turns: bytes in, one question at a time, replies out in order."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from typing import Final

from submitd.smtp.event import (
    ContentEnded,
    ContentOffered,
    Event,
    KeysFound,
    KeysWanted,
    PasswordOffered,
    ProofOffered,
    RecipientOffered,
    SenderOffered,
)
from submitd.smtp.framing import InputBuffer
from submitd.smtp.reply import Reply

_YES: Final[Mapping[type[Event], int]] = {
    PasswordOffered: 235,
    ProofOffered: 235,
    KeysWanted: 0,
    SenderOffered: 250,
    RecipientOffered: 250,
    ContentOffered: 354,
    ContentEnded: 250,
}
"""The questions, and the positive answer to each. Other events are news.

A yes to `KeysWanted` is no reply.
"""


_MOST_SAID: Final = 64 * 1024
"""Octets of replies: a command of eight may have an answer of three hundred."""


Answer = Reply | KeysFound | None
"""What `Conversation.answer` takes."""


class ProtocolMisuse(Exception):
    """A session was used out of order: a bug of ours, never the client's."""


class Conversation(ABC):
    """What a carrier needs of a session, and the session to speak.

    It never waits and never calls out. It *asks*, by `next_event`, and stands
    still until `answer`; so replies leave in the order of the commands,
    however fast those come (RFC 2920 section 3.2).

    Attributes:
        smtputf8: the client understands UTF-8 in replies.
        is_closing: send what `data_to_send` gives, then close the connection.
        last_words: what the session was ended with; None while it was not.
    """

    def __init__(self) -> None:
        self.smtputf8 = False
        self.is_closing = False
        self.last_words: Reply | None = None
        self._arrived = InputBuffer()
        self._said: list[bytes] = []
        self._said_size = 0
        self._question: Event | None = None
        self._events: deque[Event] = deque()

    # What the carrier calls

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the client. Nothing is parsed until `next_event`."""
        if not self.is_closing:
            self._arrived.receive(data)

    @property
    def unread(self) -> int:
        """Octets received and not yet looked at."""
        return len(self._arrived)

    @property
    def is_full(self) -> bool:
        """So much is to be sent that nothing more is read before it was taken."""
        return self._said_size >= _MOST_SAID

    def next_event(self) -> Event | None:
        """The next thing that needs the outside world's answer.

        None means: send what `data_to_send` gives; then, where it was full,
        ask again, else wait for more bytes, or close where `is_closing` says so.

        Raises:
            ProtocolMisuse: the last event was not answered yet.
        """
        if self._question is not None:
            raise ProtocolMisuse("answer the open question first")
        while True:
            if self.is_closing:
                self._wind_up()
            if self._events:
                self._question = self._events.popleft()
                return self._question
            if self.is_closing or self.is_full or not self._read():
                return None

    def answer(self, verdict: Answer) -> None:
        """Settle the event that was given last.

        Raises:
            ProtocolMisuse: there is none, or it wants another kind of answer.
        """
        question = self._question
        if question is None:
            raise ProtocolMisuse("there is no open question")
        if isinstance(verdict, KeysFound):
            if not isinstance(question, KeysWanted):
                raise ProtocolMisuse(f"keys are no answer to {question!r}")
            self._question = None
            self._settle_keys(verdict)
            return
        yes = _YES.get(type(question))
        if verdict is None:
            if yes is not None:
                raise ProtocolMisuse(f"{question!r} needs a reply")
            self._question = None
            self._settle_news(question)
            return
        if yes is None or (verdict.is_positive and verdict.code != yes):
            raise ProtocolMisuse(f"{verdict.code} is no answer to {question!r}")
        self._question = None
        if verdict.code == 421:
            self._close(verdict)
        self._settle(question, verdict)

    def data_to_send(self) -> bytes:
        """All replies since the last call."""
        octets = b"".join(self._said)
        self._said.clear()
        self._said_size = 0
        return octets

    def interrupt(self, verdict: Reply) -> None:
        """Queue ``verdict`` (421) and close, wherever the conversation is.

        A question that is open is still to be answered, but the client no
        longer hears what the answer was: wait for it where there is time.
        """
        self._close(verdict)

    def connection_lost(self) -> None:
        """The client is gone. `next_event` may still have TransactionAborted."""
        self.is_closing = True
        self._said.clear()
        self._arrived.clear()

    # What a session calls

    def _say(self, verdict: Reply) -> None:
        if self.is_closing:
            return
        octets = verdict.encode()
        if not (self.smtputf8 or octets.isascii()):
            octets = verdict.in_ascii.encode()
        self._said.append(octets)
        self._said_size += len(octets)

    def _close(self, verdict: Reply) -> None:
        self._say(verdict)
        self.last_words = self.last_words or verdict
        self.is_closing = True
        self._arrived.clear()

    # What a session brings

    @abstractmethod
    def _read(self) -> bool:
        """Take the next step; False: more octets are needed for one."""

    @abstractmethod
    def _settle(self, question: Event, verdict: Reply) -> None:
        """Go on with ``verdict``, and say it."""

    @abstractmethod
    def _settle_keys(self, found: KeysFound) -> None:
        """Go on with the log-in that asked for them."""

    @abstractmethod
    def _settle_news(self, news: Event) -> None:
        """Go on: ``news`` has been taken in."""

    @abstractmethod
    def _wind_up(self) -> None:
        """The session is over: keep no event but what ends a transaction."""
