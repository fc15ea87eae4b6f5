"""The conversation as seen by a server (RFC 5321, RFC 6409)."""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import ClassVar, Final

from attrs import field, frozen, validators

from submitd.mail.address import parse_domain
from submitd.smtp import extension, grammar, reply
from submitd.smtp.authentication import Authentication, Mechanism, Outcome, begin
from submitd.smtp.conversation import Conversation
from submitd.smtp.event import (
    ContentArrived,
    ContentEnded,
    ContentOffered,
    Event,
    KeysFound,
    LogInEnded,
    RecipientOffered,
    SenderOffered,
    TlsWanted,
    TransactionAborted,
)
from submitd.smtp.extension import Extension, MailReader, RcptReader, parameters_of
from submitd.smtp.framing import BinaryRule, LineEnds, LineFault, TextRule
from submitd.smtp.reception import ChunkReception, Content, DataReception, Reception
from submitd.smtp.reply import Reply
from submitd.smtp.transaction import Transaction

_SMALL_TALK: Final = frozenset(
    (b"EHLO", b"HELO", b"RSET", b"NOOP", b"HELP", b"VRFY", b"AUTH")
)
_MOST_SMALL_TALK: Final = 1000
"""Commands that are no fault and bring no mail, between two accepted messages."""

_MOST_BEFORE_LOG_IN: Final = 100
"""… and before a log-in: what is answered to many who do not read must fit memory."""

_MOST_ANNOUNCED: Final = 999_999
"""No limit has more digits (RFC 9422 section 4)."""

_MOST_PUT_OFF: Final = 10
"""Log-ins of a session that could not be looked at: each may cost all the time that a
directory is given."""

_AUTH_LINE: Final = 12288
"""Octets that a line of a log-in may have (RFC 4954 section 4)."""


class TlsManner(Enum):
    """How a listener comes by TLS."""

    STARTTLS = auto()
    IMPLICIT = auto()
    NONE = auto()
    """Not at all: for trusted clients only, who need not log in and cannot."""


class Phase(Enum):
    """What the next octet from the client belongs to."""

    COMMAND = auto()
    LOG_IN = auto()
    CONTENT = auto()


def _at_least_one(_: object, __: object, value: int | None) -> None:
    if value is not None and value < 1:
        raise ValueError("a limit is at least 1, or None for none")


@frozen(kw_only=True)
class SessionLimits:
    """What one session may cost us. None: no limit."""

    message_size: int | None = field(default=50_000_000, validator=_at_least_one)
    """Octets of content, dot-stuffing undone."""

    recipients: int | None = field(default=1000, validator=_at_least_one)
    """In one transaction."""

    line: int = field(default=4096, validator=validators.ge(512))
    """Octets of a command line, CR LF included."""

    bad_commands: int | None = field(default=20, validator=_at_least_one)
    """Commands in error since the last accepted message."""

    failed_log_ins: int | None = field(default=3, validator=_at_least_one)
    """Refused or malformed; and put off by the brake."""


class ServerSession(Conversation):
    """One client, from the greeting to the end.

    Attributes:
        client_name: what the client called itself in HELO or EHLO, printable
            ASCII of at most 255 octets; empty before that.
        esmtp: it said EHLO.
        tls: the connection is under TLS.
        authenticated: a log-in was answered with 235.
        phase: what the client is to send next.
        transactions: how many there were, the open one included.
        smtputf8: the last MAIL, and so the open transaction, has SMTPUTF8.
    """

    def __init__(
        self,
        hostname: str,
        manner: TlsManner,
        limits: SessionLimits,
        extensions: Sequence[Extension] = extension.OPTIONAL,
        mechanisms: Sequence[Mechanism] = (),
        line_ends: LineEnds = LineEnds.STRICT,
        needs_log_in: bool = True,
    ) -> None:
        """``extensions``: what to offer besides `extension.ALWAYS`.

        ``needs_log_in``: mail is taken under TLS from those who logged in. Where
        there is no TLS to be had nobody can.

        Raises:
            BadAddress: ``hostname`` is no domain.
        """
        super().__init__()
        self._hostname = parse_domain(hostname)
        self._manner = manner
        self._limits = limits
        self._line_ends = line_ends
        self._needs_log_in = needs_log_in and manner is not TlsManner.NONE
        if extension.CHUNKING not in extensions:
            # Binary content comes by BDAT alone (RFC 3030 section 3).
            extensions = [one for one in extensions if one is not extension.BINARY_MIME]
        if manner is TlsManner.NONE:
            extensions = [one for one in extensions if not one.needs_tls]
        self._without_auth = (*extension.ALWAYS, *extensions)
        self.offer(mechanisms)

        self.client_name = ""
        self.esmtp = False
        self.tls = manner is TlsManner.IMPLICIT
        self.authenticated = False
        self.phase = Phase.COMMAND
        self.transactions = 0

        self._mail: Mapping[bytes, MailReader] = {}
        self._rcpt: Mapping[bytes, RcptReader] = {}
        self._authentication: Authentication | None = None
        self._transaction: Transaction | None = None
        self._reception: Reception | None = None
        self._faults = 0
        self._small_talk = 0
        self._failed_log_ins = 0
        self._put_off_log_ins = 0
        self._has_failed = self._is_proved = False
        # What was pipelined behind a refused MAIL or BDAT is in error only
        # because of that one, and is not held against the client.
        self._is_after_refusal = False

    # What the carrier calls

    def greet(self) -> None:
        """Queue the greeting."""
        self._say(Reply(220, None, f"{self._hostname} ESMTP submitd"))

    def offer(self, mechanisms: Sequence[Mechanism]) -> None:
        """Offer these from the next EHLO on, in this order: TLS is up, and some
        mechanisms depend on what it has shown.
        """
        if self._manner is TlsManner.NONE:
            mechanisms = ()
        self._mechanisms = {one.name.encode(): one for one in mechanisms}
        others = self._without_auth
        self._extensions = (*others, extension.AUTH) if mechanisms else others

    def refuse(self, verdict: Reply) -> None:
        """Queue ``verdict`` (554 or 421) in place of the greeting, and close."""
        self._close(verdict)

    @property
    def in_data(self) -> bool:
        """True while octets of content are to come."""
        return self.phase is Phase.CONTENT

    @property
    def may_send(self) -> bool:
        """Mail is taken from this client: it has logged in, or need not."""
        return self._barred() is None

    @property
    def in_transaction(self) -> bool:
        """True from a yes to MAIL until all content has come and is answered."""
        return self._transaction is not None or self.in_data

    # Turns

    def _settle(self, question: Event, verdict: Reply) -> None:
        match question:
            case SenderOffered():
                self._settle_sender(question, verdict)
            case RecipientOffered():
                self._settle_recipient(question, verdict)
            case ContentOffered():
                self._settle_offer(verdict)
            case ContentEnded():
                self._settle_content(verdict)
            case _:
                self._settle_log_in(verdict)

    def _settle_news(self, news: Event) -> None:
        if isinstance(news, TlsWanted):
            self._begin_again()

    def _wind_up(self) -> None:
        self.phase = Phase.COMMAND
        if self._transaction is not None:
            # What had been accepted for it is dropped with it.
            self._events.clear()
            self._abort()

    def _abort(self) -> None:
        """End the transaction without a message, where there is one."""
        if self._transaction is not None:
            self._transaction = None
            self._events.append(TransactionAborted())

    # Objections

    def _object(self, refusal: Reply) -> None:
        """Refuse a command, and count it where it is a fault of protocol.

        An address that does not exist or a message that is too large is none
        (RFC 3463 section 3: subjects 5 and 7 are protocol and security).
        """
        self._say(refusal)
        if refusal.enhanced is not None and refusal.enhanced.subject in (5, 7):
            self._faults += 1
            most = self._limits.bad_commands
            if most is not None and self._faults >= most:
                self._close(reply.TOO_MANY_ERRORS)

    def _object_in_order(self, refusal: Reply) -> None:
        """Refuse a command that stands where it cannot."""
        if self._is_after_refusal:
            self._say(refusal)
        else:
            self._object(refusal)

    # Reading

    def _read(self) -> bool:
        if self.phase is Phase.COMMAND:
            return self._read_command()
        if self.phase is Phase.CONTENT:
            return self._read_content()
        return self._read_response()

    def _read_command(self) -> bool:
        if not self._arrived.is_at_line():
            return False
        is_auth = self._arrived.starts_with(b"AUTH ")
        most = self._limits.line
        line = self._arrived.next_line(max(_AUTH_LINE, most) if is_auth else most)
        if line is None:
            return False
        if isinstance(line, bytes):
            self._obey(line)
        elif line is LineFault.BARE_LINE_END:
            self._object(reply.BARE_LINE_END)
        else:
            self._object(reply.AUTH_TOO_LONG if is_auth else reply.LINE_TOO_LONG)
        return True

    def _obey(self, line: bytes) -> None:
        command = grammar.split_command(line)
        if command is None:
            self._object(reply.BAD_OCTETS)
            return
        verb, argument = command
        obey = self._COMMANDS.get(verb)
        if obey is None:
            self._object(reply.BAD_COMMAND)
        elif verb in _SMALL_TALK and self._has_talked_enough():
            self._close(reply.TOO_MANY_ERRORS)
        else:
            obey(self, argument)

    def _has_talked_enough(self) -> bool:
        self._small_talk += 1
        most = _MOST_SMALL_TALK if self.may_send else _MOST_BEFORE_LOG_IN
        return self._small_talk > most

    # Hello and small talk

    def _on_ehlo(self, argument: bytes) -> None:
        if self._hello(argument):
            self.esmtp = True
            parameters = parameters_of(self._offered())
            self._mail, self._rcpt = parameters.mail, parameters.rcpt
            self._say(extension.hello(self._hostname, self._keywords()))

    def _on_helo(self, argument: bytes) -> None:
        if self._hello(argument):
            self.esmtp = False
            self._mail, self._rcpt = {}, {}
            self._say(Reply(250, None, self._hostname))

    def _hello(self, argument: bytes) -> bool:
        """Both begin anew (RFC 5321 section 4.1.4)."""
        name = grammar.read_hello(argument)
        if name is None:
            self._object(reply.BAD_HELLO)
            return False
        self.client_name = name
        self._is_after_refusal = False
        self._abort()
        return True

    def _keywords(self) -> tuple[str, ...]:
        """What this client is offered now."""
        keywords = [
            self._announced(one)
            for one in self._offered()
            if one is not extension.AUTH and not self._is_pointless(one)
        ]
        if self._manner is TlsManner.STARTTLS and not self.tls:
            keywords.append(extension.STARTTLS.keyword)
        elif self._mechanisms and not self.authenticated:
            names = " ".join(name.decode() for name in self._mechanisms)
            keywords.append(f"{extension.AUTH.keyword} {names}")
        return tuple(keywords)

    def _offered(self) -> tuple[Extension, ...]:
        """The extensions that there are now."""
        return tuple(one for one in self._extensions if self.tls or not one.needs_tls)

    def _is_pointless(self, one: Extension) -> bool:
        """It has nothing to announce (RFC 9422 section 3: one limit at least)."""
        return one is extension.LIMITS and self._limits.recipients is None

    def _announced(self, one: Extension) -> str:
        if one is extension.SIZE:
            return f"SIZE {self._limits.message_size or 0}"
        if one is extension.LIMITS and (most := self._limits.recipients) is not None:
            return f"LIMITS RCPTMAX={min(most, _MOST_ANNOUNCED)}"
        return one.keyword if one.says is None else f"{one.keyword} {one.says()}"

    def _on_rset(self, argument: bytes) -> None:
        if argument:
            self._object(reply.NO_ARGUMENT)
            return
        self._is_after_refusal = False
        self._abort()
        self._say(reply.OK)

    def _on_noop(self, _: bytes) -> None:
        self._say(reply.OK)

    def _on_help(self, argument: bytes) -> None:
        if not argument:
            self._say(reply.HELP)
        elif (known := reply.HELP_ON.get(argument.upper())) is not None:
            self._say(known)
        else:
            self._object(reply.NO_HELP)

    def _on_vrfy(self, argument: bytes) -> None:
        """RFC 5321 section 3.5.3: 252 tells nothing, and is allowed to."""
        barred = self._barred()
        if barred is not None:
            self._object(barred)
        elif not argument:
            self._object(reply.BAD_ARGUMENT)
        else:
            self._say(reply.NOT_VERIFIED)

    def _on_unsupported(self, _: bytes) -> None:
        self._object(reply.NOT_IMPLEMENTED)

    def _on_foreign(self, _: bytes) -> None:
        """A browser that was told to post commands, or a proxy that nobody expected.

        What follows is not a client's of ours, or its replies would be one behind.
        """
        self._say(reply.BAD_COMMAND)
        self._close(reply.CANNOT_GO_ON)

    def _on_quit(self, argument: bytes) -> None:
        if argument:
            self._object(reply.NO_ARGUMENT)
        else:
            self._close(reply.BYE)

    # TLS and logging in

    def _on_starttls(self, argument: bytes) -> None:
        if self._manner is TlsManner.NONE:
            self._object(reply.NOT_IMPLEMENTED)
        elif self.tls:
            self._object(reply.TLS_IN_USE)
        elif argument:
            self._object(reply.NO_ARGUMENT)
        elif self._arrived:
            self._refuse_injection()
        else:
            self._say(reply.READY_FOR_TLS)
            self._events.append(TlsWanted())

    def _refuse_injection(self) -> None:
        # What was sent in the clear behind STARTTLS may be anybody's words,
        # and must never be taken for the client's under TLS.
        self._say(reply.BEHIND_STARTTLS)
        self._close(reply.CANNOT_GO_ON)

    def _begin_again(self) -> None:
        """TLS is up: forget what was said before (RFC 3207 section 4.2)."""
        self.tls = True
        self.client_name = ""
        self.esmtp = False
        self._mail, self._rcpt = {}, {}
        self._is_after_refusal = False
        if self._arrived:
            self._refuse_injection()

    def _barred(self) -> Reply | None:
        """Why the client may do nothing with mail yet."""
        if not self._needs_log_in:
            return None
        if not self.tls:
            return reply.TLS_FIRST
        return None if self.authenticated else reply.AUTH_REQUIRED

    def _on_auth(self, argument: bytes) -> None:
        if not self._mechanisms:
            self._object(reply.NOT_IMPLEMENTED)
        elif not self.tls:
            self._object(reply.AUTH_NEEDS_TLS)
        elif self.authenticated:
            self._object(reply.AUTH_TWICE)
        elif not self.esmtp:
            self._object(reply.HELLO_FIRST)
        else:
            self._authentication, outcome = begin(argument, self._mechanisms)
            self._continue_log_in(outcome)

    def _read_response(self) -> bool:
        line = self._arrived.next_line(_AUTH_LINE)
        if line is None:
            return False
        assert self._authentication is not None  # noqa: S101
        if isinstance(line, bytes):
            self._continue_log_in(self._authentication.receive_line(line))
        elif line is LineFault.BARE_LINE_END:
            self._continue_log_in(reply.BARE_LINE_END)
        else:
            self._continue_log_in(reply.AUTH_TOO_LONG)
        return True

    def _continue_log_in(self, outcome: Outcome) -> None:
        if not isinstance(outcome, Reply):
            self.phase = Phase.COMMAND
            self._events.append(outcome)
        elif outcome.code == 334:
            self.phase = Phase.LOG_IN
            self._say(outcome)
        else:
            self._end_log_in(outcome)

    def _settle_keys(self, found: KeysFound) -> None:
        assert self._authentication is not None  # noqa: S101
        self._continue_log_in(self._authentication.take_keys(found))

    def _settle_log_in(self, verdict: Reply) -> None:
        assert self._authentication is not None  # noqa: S101
        self._is_proved = verdict.is_positive
        self._has_failed = not (verdict.is_positive or verdict.is_transient)
        self._continue_log_in(self._authentication.conclude(verdict))

    def _end_log_in(self, verdict: Reply) -> None:
        self.phase = Phase.COMMAND
        self._authentication = None
        has_failed, self._has_failed = self._has_failed, False
        is_told = verdict.code == 235 and not self.is_closing
        if self._is_proved:
            self._is_proved = False
            self._events.append(LogInEnded(is_told))
        if verdict.code == 235:
            self.authenticated = is_told
            self._say(verdict)
        elif verdict.is_transient:
            self._say(verdict)
            if verdict == reply.BRAKED:
                # No guess was made, but each of them takes its time, and the brake
                # holds: who goes on here only keeps others out.
                self._count_failure()
            self._put_off_log_ins += 1
            if self._put_off_log_ins >= _MOST_PUT_OFF:
                self._close(reply.TOO_MANY_LOG_INS)
        else:
            self._object(verdict)
            # What is malformed costs as much to look at as a guess does.
            if has_failed or verdict.code == 535 or verdict is reply.AUTH_MALFORMED:
                self._count_failure()

    def _count_failure(self) -> None:
        self._failed_log_ins += 1
        most = self._limits.failed_log_ins
        if most is not None and self._failed_log_ins >= most:
            self._close(reply.TOO_MANY_LOG_INS)

    # The envelope

    def _on_mail(self, argument: bytes) -> None:
        if self._transaction is not None:
            self._object(reply.NESTED_MAIL)
            return
        offered = self._read_mail(argument)
        if isinstance(offered, Reply):
            self._object(offered)
            self._is_after_refusal = True
        else:
            self.smtputf8 = offered.smtputf8
            self._events.append(offered)

    def _read_mail(self, argument: bytes) -> SenderOffered | Reply:
        barred = self._barred()
        if barred is not None:
            return barred
        if not self.client_name:
            return reply.HELLO_FIRST
        offered = grammar.read_mail(argument, self._mail)
        most = self._limits.message_size
        if (
            isinstance(offered, SenderOffered)
            and offered.declared_size is not None
            and most is not None
            and offered.declared_size > most
        ):
            return reply.TOO_LARGE
        return offered

    def _settle_sender(self, offered: SenderOffered, verdict: Reply) -> None:
        self._say(verdict)
        self._is_after_refusal = not verdict.is_positive
        if verdict.is_positive:
            self._transaction = Transaction(offered)
            self.transactions += 1

    def _on_rcpt(self, argument: bytes) -> None:
        transaction = self._transaction
        if transaction is None:
            self._object_in_order(self._barred() or reply.MAIL_FIRST)
            return
        if transaction.content is not None:
            self._object(reply.BAD_SEQUENCE)
            return
        offered = grammar.read_rcpt(
            argument, self._rcpt, smtputf8=self.smtputf8, hostname=self._hostname
        )
        most = self._limits.recipients
        if isinstance(offered, Reply):
            self._object(offered)
            transaction.was_refused = True
        elif offered in transaction:
            self._say(reply.ACCEPTED_BEFORE)
        elif most is not None and len(transaction.forward_paths) >= most:
            self._say(reply.TOO_MANY_RECIPIENTS)
        else:
            self._events.append(RecipientOffered(offered))

    def _settle_recipient(self, offered: RecipientOffered, verdict: Reply) -> None:
        self._say(verdict)
        assert self._transaction is not None  # noqa: S101
        if verdict.is_positive:
            self._transaction.add(offered.forward_path)
        else:
            self._transaction.was_refused = True

    # The content

    def _offer_content(self) -> ContentOffered | Reply:
        """The question whether content may come, or why not even that."""
        transaction = self._transaction
        if transaction is None:
            return self._barred() or reply.MAIL_FIRST
        if not transaction.forward_paths:
            refused = transaction.was_refused
            return reply.NO_RECIPIENTS if refused else reply.RECIPIENT_FIRST
        return ContentOffered(transaction.sender, tuple(transaction.forward_paths))

    def _on_data(self, argument: bytes) -> None:
        if argument:
            self._object(reply.NO_ARGUMENT)
            return
        if self._transaction is not None and self._transaction.content is not None:
            # RFC 3030 section 2: DATA cannot follow BDAT.
            self._object(reply.BAD_SEQUENCE)
            return
        if self._transaction is not None and self._transaction.is_binary:
            # RFC 3030 section 3.
            self._object(reply.BINARY_BY_CHUNKS)
            return
        offer = self._offer_content()
        if isinstance(offer, Reply):
            self._object_in_order(offer)
        else:
            self._reception = DataReception(self._new_content())
            self._events.append(offer)

    def _on_bdat(self, argument: bytes) -> None:
        size = grammar.read_bdat(argument)
        if isinstance(size, Reply):
            # Octets will follow, and may look like commands.
            self._say(size)
            self._close(reply.CANNOT_GO_ON)
            return
        octets, is_last = size
        barred = self._barred()
        if barred is not None and octets > self._limits.line:
            # Not worth its way: whoever may send nothing may send without end.
            self._say(barred)
            self._close(reply.CANNOT_GO_ON)
            return
        if not (octets or is_last) and self._has_talked_enough():
            self._close(reply.TOO_MANY_ERRORS)
            return
        content, offer = self._judge_chunk(octets)
        self._reception = ChunkReception(octets, content, is_last=is_last)
        if offer is None:
            self.phase = Phase.CONTENT
        else:
            self._events.append(offer)

    def _judge_chunk(self, octets: int) -> tuple[Content, ContentOffered | None]:
        """What takes a chunk's octets, and the question to ask before."""
        transaction = self._transaction
        content = transaction.content if transaction is not None else None
        offer = self._offer_content() if content is None else None
        if extension.CHUNKING not in self._extensions:
            offer = reply.NOT_IMPLEMENTED
        if isinstance(offer, Reply):
            return Content(TextRule(self._line_ends), None, offer), None
        content = content or self._new_content()
        if not content.has_room(octets):
            self._fail()
            return Content(TextRule(self._line_ends), None, reply.TOO_LARGE), None
        return content, offer

    def _new_content(self) -> Content:
        transaction = self._transaction
        is_binary = transaction is not None and transaction.is_binary
        rule = BinaryRule() if is_binary else TextRule(self._line_ends)
        return Content(rule, self._limits.message_size)

    def _settle_offer(self, verdict: Reply) -> None:
        transaction, reception = self._transaction, self._reception
        assert transaction is not None  # noqa: S101
        assert reception is not None  # noqa: S101
        transaction.content = content = reception.content
        is_data = isinstance(reception, DataReception)
        if is_data:
            self._say(verdict)
        if verdict.is_positive:
            self.phase = Phase.CONTENT
            return
        if not is_data:
            # BDAT hears nothing before its octets have come.
            content.fault = verdict
            self.phase = Phase.CONTENT
        self._fail()

    def _fail(self) -> None:
        """The transaction cannot end well; what is pipelined finds none."""
        self._abort()
        self._is_after_refusal = True

    def _read_content(self) -> bool:
        reception = self._reception
        assert reception is not None  # noqa: S101
        octets = reception.read(self._arrived)
        if octets is None:
            return False
        if octets:
            self._events.append(ContentArrived(octets))
        fault = reception.content.fault
        transaction = self._transaction
        if fault and transaction and transaction.content is reception.content:
            self._fail()
        if reception.is_complete:
            self.phase = Phase.COMMAND
            if fault is not None:
                self._object_in_order(fault)
            elif reception.is_last:
                self._events.append(ContentEnded())
            else:
                self._say(reply.CHUNK_OK)
        return True

    def _settle_content(self, verdict: Reply) -> None:
        self._say(verdict)
        if verdict.is_positive:
            self._transaction = None
            self._faults = 0
            self._small_talk = 0
        else:
            self._fail()

    _COMMANDS: ClassVar[Mapping[bytes, Callable[["ServerSession", bytes], None]]] = {
        b"EHLO": _on_ehlo,
        b"HELO": _on_helo,
        b"STARTTLS": _on_starttls,
        b"AUTH": _on_auth,
        b"MAIL": _on_mail,
        b"RCPT": _on_rcpt,
        b"DATA": _on_data,
        b"BDAT": _on_bdat,
        b"RSET": _on_rset,
        b"NOOP": _on_noop,
        b"HELP": _on_help,
        b"VRFY": _on_vrfy,
        b"QUIT": _on_quit,
        b"EXPN": _on_unsupported,
        b"ETRN": _on_unsupported,
        b"TURN": _on_unsupported,
        b"SEND": _on_unsupported,
        b"SOML": _on_unsupported,
        b"SAML": _on_unsupported,
        b"CONNECT": _on_foreign,
        b"GET": _on_foreign,
        b"HEAD": _on_foreign,
        b"OPTIONS": _on_foreign,
        b"POST": _on_foreign,
        b"PROXY": _on_foreign,
        b"PUT": _on_foreign,
    }
