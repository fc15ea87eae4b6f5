"""The conversation as seen by a sender, without IO (RFC 5321, RFC 2920)."""

import base64
import re
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum, auto
from functools import partial
from typing import Final, Self

from attrs import frozen

from submitd.mail.address import Mailbox
from submitd.mail.envelope import (
    Body,
    ByMode,
    ForwardPath,
    Notify,
    Ret,
    SubmittedBy,
)
from submitd.mail.status import EnhancedCode
from submitd.smtp.client_reply import BadReply, ReplyReader
from submitd.smtp.reply import Reply
from submitd.smtp.xtext import encode_utf8_address, encode_xtext

_MOST_RECIPIENTS: Final = 100
"""In one transaction: what every server must take (RFC 5321 4.5.3.1.8)."""

_MOST_CHUNKS: Final = 4
"""On their way at a time: who refuses one is not sent all the others."""


_MOST_SECONDS: Final = 999_999_999
_MOST_ORCPT: Final = 500
"""Characters of ORCPT (RFC 3461 section 4.2)."""

_LIMIT_WORD: Final = re.compile(r"[A-Za-z0-9_-]+(?:=[!-:<-~]+)?")
_LIMIT: Final = re.compile(r"[1-9][0-9]{0,5}")


class Waiting(Enum):
    """What the remote host is to do next: each has a time-out of its own."""

    GREETING = auto()
    HELO = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    BLOCK = auto()
    DOT = auto()
    QUIT = auto()
    NOTHING = auto()


class TlsWish(Enum):
    """Whether to ask for STARTTLS."""

    NEVER = auto()
    IF_OFFERED = auto()
    ALWAYS = auto()


@frozen(kw_only=True)
class Outgoing:
    """A transaction to be: what MAIL and RCPT will say."""

    reverse_path: Mailbox | None
    forward_paths: tuple[ForwardPath, ...]
    size: int
    body: Body
    smtputf8: bool
    ret: Ret | None
    envid: str | None
    by: "TimeLeft | None" = None
    """Said to a host that offers DELIVERBY."""

    priority: int = 0
    """… and this where MT-PRIORITY is offered."""

    submitted_by: SubmittedBy | None = None
    """… and this where we have logged in."""


@frozen
class TimeLeft:
    """BY: how long the delivery may still take (RFC 2852 section 4)."""

    seconds: int
    """Of mode N also negative: how long ago the time was up."""

    mode: ByMode
    trace: bool

    @property
    def parameter(self) -> str:
        """As MAIL has it: nine digits at most."""
        seconds = max(-_MOST_SECONDS, min(self.seconds, _MOST_SECONDS))
        return f"BY={seconds};{self.mode.value}{'T' * self.trace}"


@frozen
class HostLimits:
    """What a server takes in a session, as it says (RFC 9422). None: not said."""

    transactions: int | None = None
    recipients: int | None = None
    domains: int | None = None

    @classmethod
    def parse(cls, words: str) -> Self:
        """What stands behind LIMITS; what is wrong there counts as not said."""
        found: dict[str, int] = {}
        for word in words.split():
            name, _, value = word.partition("=")
            if not _LIMIT_WORD.fullmatch(word):
                return cls()
            if _LIMIT.fullmatch(value):
                found[name.upper()] = int(value)
        return cls(
            found.get("MAILMAX"), found.get("RCPTMAX"), found.get("RCPTDOMAINMAX")
        )


@frozen
class StartTls:
    """Start TLS now, then call `ClientSession.tls_started`."""


@frozen
class Ready:
    """The session takes a transaction: call `ClientSession.begin`."""


@frozen
class ContentWanted:
    """354, or time for the first BDAT: send the content by `send_content`, then
    `end_content`.
    """

    accepted: tuple[int, ...]
    """The recipients that it goes to: places among those of the transaction."""


@frozen
class Settled:
    """A transaction is over."""

    verdicts: tuple[Reply, ...]
    """For each recipient, in order."""

    tail_refused: int
    """How many at the end were refused only because they were too many."""


@frozen
class Refused:
    """The session cannot be used: greeting, EHLO, STARTTLS or AUTH was refused."""

    reply: Reply
    misconfigured: bool = False
    """It refused STARTTLS or the log-in, which an operator asked for: that is
    nothing that a message could be blamed for."""


ClientEvent = StartTls | Ready | ContentWanted | Settled | Refused


NO_STARTTLS: Final = Reply(454, None, "STARTTLS is required here, and is not offered")
NO_AUTH: Final = Reply(454, None, "The server offers no log-in that we can do")
_STRANDED: Final = Reply(451, None, "Accepted nobody, and wanted content all the same")
_OUT_OF_PLACE: Final = Reply(451, None, "The host's answers were out of order")
OUR_WORDS: Final = frozenset((NO_STARTTLS, NO_AUTH, _STRANDED, _OUT_OF_PLACE))
"""Verdicts that no remote host has said."""

_Handler = Callable[[Reply], None]


class ClientSession:
    """One connection to a remote server; transactions one after another."""

    def __init__(
        self,
        hostname: str,
        *,
        tls: TlsWish,
        credentials: tuple[str, str] | None = None,
        under_tls: bool = False,
    ) -> None:
        """``credentials``: user and password, sent under TLS only."""
        self._hostname = hostname
        self._tls = tls
        self._credentials = credentials
        self.under_tls = under_tls
        self.offered: dict[str, str] = {}
        """EHLO keywords in upper case, with their parameters."""

        self.heard = 0
        """Whole replies: what is less than one is no sign of life."""

        self.waiting = Waiting.GREETING
        self.is_over = False
        self.dot_sent = False
        """The final dot left, and its reply has not come: the outcome is open."""

        self._replies = ReplyReader()
        self._output: list[bytes] = []
        self._events: deque[ClientEvent] = deque()
        self._awaited: deque[tuple[Waiting, _Handler]] = deque(
            [(Waiting.GREETING, self._on_greeting)]
        )
        self._held_back: deque[tuple[bytes, Waiting, _Handler]] = deque()
        self._needs_reset = False
        self._in_transaction = False
        self._is_ready = False
        self._verdicts: list[Reply | None] = []
        self._mail_refusal: Reply | None = None
        self._last = b"\r\n"
        self._chunk: bytes | None = None
        """Where content goes by BDAT: what is to go with the next one."""

        self._chunks_awaited = 0
        self._chunk_refusal: Reply | None = None
        self._limits = HostLimits()
        self._transactions = 0
        self._domains: set[str] = set()

    # The carrier's side

    def receive_data(self, octets: bytes) -> None:
        """Take octets from the remote host.

        Raises:
            BadReply: it does not speak SMTP; close the connection.
        """
        self._replies.feed(octets)
        while not self.is_over and (answer := self._replies.next()) is not None:
            self.heard += 1
            if not self._awaited:
                # Unasked: "421 idle too long", or content refused before its end.
                self._end_with(answer)
                return
            _, handler = self._awaited.popleft()
            handler(answer)
            if answer.code == 421:
                self._end_with(answer)
            self._send_held_back()
            self._note_waiting()

    def next_event(self) -> ClientEvent | None:
        """What happened; None: wait for more octets."""
        return self._events.popleft() if self._events else None

    def data_to_send(self) -> bytes:
        """What is to be written since the last call."""
        octets = b"".join(self._output)
        self._output.clear()
        return octets

    def tls_started(self) -> None:
        """TLS is being negotiated; all that was said before is void (RFC 3207 4.2)."""
        self.under_tls = True
        self.offered = {}
        self._say_hello()

    def takes(self, domain: str) -> bool:
        """True where the server's limits leave room for another transaction.

        ``domain`` is that of its first recipient.
        """
        limits = self._limits
        if (
            limits.transactions is not None
            and self._transactions >= limits.transactions
        ):
            return False
        return limits.domains is None or (
            domain in self._domains or len(self._domains) < limits.domains
        )

    def _fitting(self, paths: tuple[ForwardPath, ...]) -> tuple[ForwardPath, ...]:
        """Those at the beginning whom this server takes in one transaction."""
        limits = self._limits
        paths = paths[: min(limits.recipients or _MOST_RECIPIENTS, _MOST_RECIPIENTS)]
        if limits.domains is None:
            return paths
        for place, path in enumerate(paths):
            self._domains.add(path.mailbox.domain)
            if place and len(self._domains) > limits.domains:
                self._domains.discard(path.mailbox.domain)
                return paths[:place]
        return paths

    def begin(self, outgoing: Outgoing) -> None:
        """Start a transaction, with the first 100 recipients at most.

        With fewer, where the server's limits say so.
        """
        paths = self._fitting(outgoing.forward_paths)
        self._transactions += 1
        self._verdicts = [None] * len(paths)
        self._mail_refusal = None
        self._in_transaction = True
        if self._needs_reset:
            self._needs_reset = False
            self._queue(b"RSET", Waiting.MAIL, lambda _: None)
        self._queue(self._mail(outgoing), Waiting.MAIL, self._on_mail)
        for number, path in enumerate(paths):
            self._queue(
                self._rcpt(path),
                Waiting.RCPT,
                partial(self._on_rcpt, number),
            )
        self._chunk = self._chunk_refusal = None
        if outgoing.body is Body.BINARY_MIME:
            self._chunk = b""
        else:
            self._queue(b"DATA", Waiting.DATA, self._on_data)
        self._send_held_back()
        self._note_waiting()

    def send_content(self, octets: bytes) -> None:
        """Some of the content, cut anywhere; dots are stuffed here.

        By BDAT each piece is a chunk (RFC 3030 section 2): see `takes_content`.
        """
        if not octets:
            return
        if self._chunk is not None:
            if self._chunk:
                self._send_chunk(b"", Waiting.BLOCK, self._on_chunk)
            self._chunk = octets
            return
        # A dot is special at a line's start, and the CRLF before it may have
        # gone with the last piece, whole or half.
        whole = self._last + octets
        stuffed = whole.replace(b"\r\n.", b"\r\n..")
        self._output.append(stuffed[len(self._last) :])
        self._last = whole[-2:]
        self.waiting = Waiting.BLOCK

    def end_content(self) -> None:
        """The content is complete: send the final dot, or the last chunk."""
        if self._chunk is not None:
            self.dot_sent = True
            self._send_chunk(b" LAST", Waiting.DOT, self._on_last_chunk)
            return
        self._output.append(b".\r\n" if self._last == b"\r\n" else b"\r\n.\r\n")
        self.dot_sent = True
        self._awaited.append((Waiting.DOT, self._on_dot))
        self._note_waiting()

    @property
    def takes_content(self) -> bool:
        """False: some of what was sent is to be answered first."""
        most = _MOST_CHUNKS if "PIPELINING" in self.offered else 1
        return self._chunk_refusal is None and self._chunks_awaited < most

    def _send_chunk(self, last: bytes, waiting: Waiting, handler: _Handler) -> None:
        chunk, self._chunk = self._chunk or b"", b""
        self._output += (b"BDAT %d%b\r\n" % (len(chunk), last), chunk)
        self._awaited.append((waiting, handler))
        self._chunks_awaited += 1
        self._note_waiting()

    def quit(self) -> None:
        """Say goodbye."""
        self._output.append(b"QUIT\r\n")
        self._awaited.append((Waiting.QUIT, lambda _: self._end()))
        self._note_waiting()

    # What is said

    def _mail(self, outgoing: Outgoing) -> bytes:
        words = [f"MAIL FROM:<{outgoing.reverse_path or ''}>"]
        words += self._about_content(outgoing)
        if "DSN" in self.offered:
            if outgoing.ret is not None:
                words.append(f"RET={outgoing.ret.value}")
            if outgoing.envid is not None:
                words.append("ENVID=" + encode_xtext(outgoing.envid).decode("ascii"))
        if outgoing.by is not None and "DELIVERBY" in self.offered:
            words.append(outgoing.by.parameter)
        if "MT-PRIORITY" in self.offered:
            words.append(f"MT-PRIORITY={outgoing.priority}")
        if (
            outgoing.submitted_by is not None
            and self._credentials is not None
            and "AUTH" in self.offered
        ):
            words.append("AUTH=" + _as_xtext(outgoing.submitted_by.mailbox))
        return " ".join(words).encode()

    def _about_content(self, outgoing: Outgoing) -> list[str]:
        words = [f"SIZE={outgoing.size}"] if "SIZE" in self.offered else []
        if outgoing.body is Body.BINARY_MIME:
            words.append("BODY=BINARYMIME")
        elif "8BITMIME" in self.offered and outgoing.body is not Body.SEVEN_BIT:
            words.append("BODY=8BITMIME")
        if outgoing.smtputf8:
            words.append("SMTPUTF8")
        return words

    def _rcpt(self, path: ForwardPath) -> bytes:
        words = [f"RCPT TO:<{path.mailbox}>"]
        if "DSN" in self.offered:
            if path.notify is not None:
                names = [one.name or "" for one in Notify if one in path.notify]
                words.append("NOTIFY=" + (",".join(names) or "NEVER"))
            if (orcpt := path.orcpt) is not None:
                # RFC 6533 section 3: in ASCII it suits every server.
                encode = encode_utf8_address if orcpt.is_utf8 else encode_xtext
                value = f"{orcpt.address_type};{encode(orcpt.address).decode()}"
                # Raw UTF-8 that became too long so: without it, the mail arrives.
                if len(value) <= _MOST_ORCPT:
                    words.append(f"ORCPT={value}")
        return " ".join(words).encode()

    def _queue(self, line: bytes, waiting: Waiting, handler: _Handler) -> None:
        self._held_back.append((line + b"\r\n", waiting, handler))

    def _send_held_back(self) -> None:
        """All at once where the server can, else each after the last reply."""
        pipelining = "PIPELINING" in self.offered
        while self._held_back and (pipelining or not self._awaited):
            line, waiting, handler = self._held_back.popleft()
            self._output.append(line)
            self._awaited.append((waiting, handler))

    def _note_waiting(self) -> None:
        self.waiting = self._awaited[0][0] if self._awaited else Waiting.NOTHING

    def _ask(self, line: bytes, waiting: Waiting, handler: _Handler) -> None:
        self._output.append(line + b"\r\n")
        self._awaited.append((waiting, handler))

    # What is answered

    def _on_greeting(self, answer: Reply) -> None:
        if answer.code != 220:
            self._refuse(answer)
        else:
            self._say_hello()

    def _say_hello(self) -> None:
        self._ask(b"EHLO " + self._hostname.encode(), Waiting.HELO, self._on_ehlo)
        self._note_waiting()

    def _on_ehlo(self, answer: Reply) -> None:
        if answer.code != 250:
            if answer.code // 100 == 5 and not self.under_tls:
                self._ask(
                    b"HELO " + self._hostname.encode(), Waiting.HELO, self._on_helo
                )
            else:
                self._refuse(answer)
            return
        self.offered = {}
        for line in answer.lines[1:]:
            keyword, _, parameters = line.partition(" ")
            self.offered[keyword.upper()] = parameters
        self._limits = HostLimits.parse(self.offered.get("LIMITS", ""))
        self._after_hello()

    def _on_helo(self, answer: Reply) -> None:
        if answer.code != 250:
            self._refuse(answer)
        else:
            self._after_hello()

    def _after_hello(self) -> None:
        if not self.under_tls and self._tls is not TlsWish.NEVER:
            if "STARTTLS" in self.offered:
                self._ask(b"STARTTLS", Waiting.HELO, self._on_starttls)
                return
            if self._tls is TlsWish.ALWAYS:
                self._refuse(NO_STARTTLS, misconfigured=True)
                return
        if self._credentials is not None:
            self._log_in(*self._credentials)
        else:
            self._be_ready()

    def _be_ready(self) -> None:
        self._is_ready = True
        self._events.append(Ready())

    def _on_starttls(self, answer: Reply) -> None:
        if answer.code != 220:
            if self._tls is TlsWish.ALWAYS:
                self._refuse(answer, misconfigured=True)
            else:
                # RFC 3207 section 4: go on without, where policy allows.
                self._tls = TlsWish.NEVER
                self._after_hello()
            return
        if not self._replies.is_empty:
            # Somebody on the way put words behind the reply, to be obeyed
            # as though they had come under TLS.
            raise BadReply("octets behind the reply to STARTTLS")
        self._events.append(StartTls())

    def _log_in(self, user: str, password: str) -> None:
        mechanisms = self.offered.get("AUTH", "").upper().split()
        if not self.under_tls or not {"PLAIN", "LOGIN"} & set(mechanisms):
            self._refuse(NO_AUTH, misconfigured=True)
            return
        if "PLAIN" in mechanisms:
            initial = base64.b64encode(f"\0{user}\0{password}".encode())
            self._ask(b"AUTH PLAIN " + initial, Waiting.HELO, self._on_log_in)
            return
        name = base64.b64encode(user.encode())
        word = base64.b64encode(password.encode())

        def on_user(answer: Reply) -> None:
            if answer.code == 334:
                self._ask(word, Waiting.HELO, self._on_log_in)
            else:
                self._on_log_in(answer)

        def on_login(answer: Reply) -> None:
            if answer.code == 334:
                self._ask(name, Waiting.HELO, on_user)
            else:
                self._on_log_in(answer)

        self._ask(b"AUTH LOGIN", Waiting.HELO, on_login)

    def _on_log_in(self, answer: Reply) -> None:
        if answer.code == 235:
            self._be_ready()
        else:
            self._refuse(answer, misconfigured=True)

    def _on_mail(self, answer: Reply) -> None:
        if answer.code // 100 != 2:
            self._mail_refusal = answer
            self._verdicts = [answer] * len(self._verdicts)
            self._needs_reset = True
            self._drop_held_back()

    def _on_rcpt(self, number: int, answer: Reply) -> None:
        if answer.code == 552:
            # RFC 5321 section 4.5.3.1.10: after RCPT it means 452.
            answer = Reply(452, _as_transient(answer.enhanced), answer.lines)
        if self._mail_refusal is None and answer.code // 100 != 2:
            self._verdicts[number] = answer
        if self._chunk is not None:
            is_last = not (self._awaited or self._held_back)
            if is_last and answer.code != 421:
                self._begin_chunks()
            return
        if not self._awaited and all(one is not None for one in self._verdicts):
            # Not pipelined, and nobody accepted: DATA would be an error.
            self._needs_reset = True
            self._drop_held_back()

    def _begin_chunks(self) -> None:
        """All recipients are answered. There is no 354 to wait for."""
        if accepted := self._accepted():
            self._events.append(ContentWanted(accepted))
        else:
            self._needs_reset = True
            self._settle()

    def _accepted(self) -> tuple[int, ...]:
        return tuple(place for place, one in enumerate(self._verdicts) if one is None)

    def _drop_held_back(self) -> None:
        if self._held_back:
            # Not pipelined, so nothing that was said is still to be answered.
            self._held_back.clear()
            self._settle()

    def _on_data(self, answer: Reply) -> None:
        accepted = self._accepted()
        if answer.code == 354 and accepted:
            self._last = b"\r\n"
            self._events.append(ContentWanted(accepted))
            return
        if answer.code == 354:
            # RFC 2920 section 3.1: nobody accepted, and yet content is wanted.
            self._ask(b".", Waiting.DOT, lambda _: self._settle())
            return
        self._needs_reset = True
        self._settle_open(_refusal(answer))

    def _on_dot(self, answer: Reply) -> None:
        self.dot_sent = False
        self._settle_open(answer)

    def _on_chunk(self, answer: Reply) -> None:
        self._chunks_awaited -= 1
        if answer.code // 100 != 2 and self._chunk_refusal is None:
            # RFC 3030 section 2: it has failed, and no further chunk is sent.
            self._chunk_refusal = _refusal(answer)
        if self._chunk_refusal is not None and not self._chunks_awaited:
            # Somebody is still fetching the rest: it must not get into the next.
            self.is_over = True
            self._settle_open(self._chunk_refusal)

    def _on_last_chunk(self, answer: Reply) -> None:
        self._chunks_awaited -= 1
        self.dot_sent = False
        # Whoever refused a chunk does not have the message, whatever it says now.
        verdict = self._chunk_refusal or answer
        self._needs_reset = verdict.code // 100 != 2
        self._settle_open(verdict)

    def _end_with(self, answer: Reply) -> None:
        """The server hangs up: its last words hold for all whose fate is open."""
        self.is_over = True
        if self._in_transaction:
            self._settle_open(_refusal(answer))
        elif not self._is_ready or Ready() in self._events:
            # Whoever heard "ready" now would begin what cannot be done.
            self._events.clear()
            self._refuse(answer)

    def _settle_open(self, answer: Reply) -> None:
        self._verdicts = [answer if one is None else one for one in self._verdicts]
        self._settle()

    def _settle(self) -> None:
        self._in_transaction = False
        verdicts = tuple(_STRANDED if one is None else one for one in self._verdicts)
        self._events.append(Settled(verdicts, _too_many(verdicts)))

    def _refuse(self, answer: Reply, *, misconfigured: bool = False) -> None:
        self._events.append(Refused(answer, misconfigured))
        if answer.code != 421:
            self._output.append(b"QUIT\r\n")
        self.is_over = True

    def _end(self) -> None:
        self.is_over = True


def _as_xtext(mailbox: Mailbox | None) -> str:
    """As AUTH= has it; what cannot be written in ASCII names nobody."""
    if mailbox is None or not mailbox.is_ascii:
        return "<>"
    return encode_xtext(str(mailbox)).decode("ascii")


def _refusal(answer: Reply) -> Reply:
    """Where nothing was handed over, a "yes" is not one."""
    return answer if answer.code // 100 in (4, 5) else _OUT_OF_PLACE


def _as_transient(code: EnhancedCode | None) -> EnhancedCode | None:
    return None if code is None else EnhancedCode(4, code.subject, code.detail)


def _too_many(verdicts: Sequence[Reply]) -> int:
    """Recipients at the end refused with 452 behind accepted ones.

    RFC 5321 section 4.5.3.1.10: the rest goes in a further transaction.
    """
    count = 0
    for one in reversed(verdicts):
        if one.code != 452:
            break
        count += 1
    accepted = any(one.code // 100 == 2 for one in verdicts)
    return count if accepted else 0
