"""A session's questions, answered: who is this, may they send this, keep it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

from attrs import evolve, frozen
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from submitd.auth.errors import AskedAlready, DirectoryUnavailable, TooManyFailures
from submitd.auth.portal import Audience, LoginPortal
from submitd.auth.proofs import KnownKeys
from submitd.auth.submitter import Submitter
from submitd.mail.address import Mailbox
from submitd.mail.envelope import Envelope, SubmittedBy
from submitd.mail.status import EnhancedCode
from submitd.mail.trace import Origin, TlsFacts
from submitd.observe.events import (
    LOGIN_ABANDONED,
    LOGIN_BRAKED,
    LOGIN_FAILED,
    LOGIN_SUCCEEDED,
    LOGIN_UNAVAILABLE,
    MESSAGE_ACCEPTED,
    MESSAGE_REFUSED,
    RECIPIENT_REFUSED,
    SENDER_REFUSED,
    SPOOL_UNAVAILABLE,
    Events,
)
from submitd.observe.metrics import Metrics
from submitd.policy.priority import Priorities
from submitd.policy.recipient import check_recipient
from submitd.policy.sender import SENDER_OK, check_sender
from submitd.sasl.channel import Channel
from submitd.sasl.mechanism import Certificate, Digest, KeysProof, Proof, Token
from submitd.server.allowance import Allowance, Allowances
from submitd.server.intake import ContentIntake, ContentRules
from submitd.server.limits import LoginPlaces
from submitd.smtp.conversation import Answer
from submitd.smtp.event import (
    ContentArrived,
    ContentEnded,
    ContentOffered,
    Event,
    KeysFound,
    KeysWanted,
    LogInEnded,
    PasswordOffered,
    ProofOffered,
    RecipientOffered,
    SenderOffered,
    TransactionAborted,
)
from submitd.smtp.reply import BRAKED, Reply, priority_assigned
from submitd.smtp.server import ServerSession
from submitd.spool.store import Spool, Spooled, SpoolFull, SpoolUnavailable

_MOST_OF_A_NAME: Final = 320
"""Characters of what a client calls itself, in the log."""

LOGGED_IN: Final = Reply(235, EnhancedCode(2, 7, 0), "Welcome")
LOGIN_REFUSED: Final = Reply(
    535, EnhancedCode(5, 7, 8), "User name or password not accepted"
)
CANNOT_TELL: Final = Reply(
    454, EnhancedCode(4, 7, 0), "Cannot check passwords now, try again later"
)
CROWDED: Final = Reply(
    454,
    EnhancedCode(4, 7, 0),
    "Too many sessions of this account at once, close some or try again later",
)
GO_AHEAD: Final = Reply(354, None, "End data with <CR><LF>.<CR><LF>")
FULL: Final = Reply(452, EnhancedCode(4, 3, 1), "The spool is full, try again later")
CANNOT_STORE: Final = Reply(
    451, EnhancedCode(4, 3, 0), "The message could not be stored, try again later"
)
NO_SUBMITTER: Final = Reply(
    451, EnhancedCode(4, 3, 5), "This listener has no submitter configured"
)


class TakesMessages(Protocol):
    """Delivery, as a desk sees it."""

    def take(self, spooled: Spooled) -> None:
        """A fresh message, leased to this process. Never raises, never waits."""


@frozen(kw_only=True)
class DeskServices:
    """What the desks of all sessions share."""

    clock: IReactorTime
    portal: LoginPortal
    places: LoginPlaces
    spool: Spool
    delivery: TakesMessages
    content: ContentRules
    allowances: Allowances
    priorities: Priorities
    routed: frozenset[str]
    """Domains with a route of their own, which may be short names."""

    show_client: bool
    """Name the client in the Received field."""

    events: Events
    metrics: Metrics


class Desk:
    """Answers one session's events."""

    def __init__(
        self,
        services: DeskServices,
        session: ServerSession,
        session_id: str,
        client: str,
        trusted_as: Callable[[], Awaitable[Submitter]] | None,
    ) -> None:
        """``trusted_as``: on a trusted listener, who its submissions count as."""
        self._services = services
        self._session = session
        self._id = session_id
        self._client = client
        self._trusted_as = trusted_as
        self._who: Submitter | None = None
        self._proved: tuple[Submitter, Mapping[str, str]] | None = None
        """Who has a log-in coming, of which the client was not told yet."""

        self._place: str | None = None
        self._audience = Audience()
        self._is_closed = False
        self._tls: TlsFacts | None = None
        self._channel: Channel | None = None
        self._known: KnownKeys | None = None
        """Of the log-in that is under way, by SCRAM."""

        self._reverse_path: Mailbox | None = None
        self._priority = self._priority_asked = 0
        self._content: ContentIntake | None = None
        self._stored: SpoolUnavailable | None = None

    def tls_started(self, facts: TlsFacts, channel: Channel) -> None:
        """TLS is up: what the trace field will say, and what log-ins may rest on."""
        self._tls = facts
        self._channel = channel
        self._session.offer(self._services.portal.mechanisms(channel))

    def answer(self, event: Event) -> Answer | Awaitable[Answer]:
        """Answer at once, or with something to wait for.

        What needs no waiting takes no turn of the loop: at a thousand
        messages a second each turn counts.
        """
        match event:
            case SenderOffered():
                return self._check_sender(event)
            case RecipientOffered():
                return self._check_recipient(event)
            case ContentOffered():
                return self._open_content(event)
            case ContentArrived():
                return self._take_content(event.octets)
            case ContentEnded():
                return self._finish_content()
            case PasswordOffered() | ProofOffered():
                return self._log_in(event)
            case KeysWanted():
                return self._find_keys(event)
            case LogInEnded() | TransactionAborted():
                self._note(event)
                return None
            case _:
                raise TypeError(f"not a desk's question: {event!r}")

    def _note(self, news: LogInEnded | TransactionAborted) -> None:
        if isinstance(news, LogInEnded):
            # Unless the client was gone before the session came to say so.
            if self._proved is not None:
                self._end_log_in(is_told=news.is_told)
        else:
            self.abandon()

    def abandon(self) -> None:
        """Drop what the transaction had begun."""
        content, self._content = self._content, None
        self._reverse_path = None
        self._stored = None
        if content is not None:
            Deferred.fromCoroutine(content.abandon())

    def close(self) -> None:
        """The client is gone: its place among the sessions of its login is free."""
        self._is_closed = True
        self._audience.leave()
        if self._proved is not None:
            self._end_log_in(is_told=False)
        self._give_place()

    def _give_place(self) -> None:
        login, self._place = self._place, None
        if login is not None:
            self._services.places.closed(login)

    # Who is this?

    async def _find_keys(self, wanted: KeysWanted) -> KeysFound | Reply:
        """The brake comes before the question, not only before the proof."""
        portal, name = self._services.portal, wanted.authcid[:_MOST_OF_A_NAME]
        self._known = None
        try:
            self._known = await portal.keys(
                wanted.authcid, self._client, self._audience
            )
        except (TooManyFailures, DirectoryUnavailable) as problem:
            return self._put_off(problem, name, self._attempt_by(wanted.mechanism))
        return KeysFound(self._known.keys)

    def _attempt_by(self, mechanism: str) -> dict[str, str]:
        return {"session": self._id, "client": self._client, "mechanism": mechanism}

    def _put_off(
        self,
        problem: TooManyFailures | DirectoryUnavailable,
        name: str,
        facts: Mapping[str, str],
    ) -> Reply:
        services = self._services
        if isinstance(problem, TooManyFailures):
            services.metrics.logins.labels("braked").inc()
            services.events.emit(LOGIN_BRAKED, login=name, **facts)
            return BRAKED
        if isinstance(problem, AskedAlready):
            # Anybody can bring it about: it is nothing to wake an operator for.
            services.metrics.logins.labels("braked").inc()
            reason = str(problem)
            services.events.emit(LOGIN_BRAKED, login=name, reason=reason, **facts)
            return CANNOT_TELL
        services.metrics.logins.labels("unavailable").inc()
        services.events.emit(
            LOGIN_UNAVAILABLE, login=name, reason=str(problem), **facts
        )
        return CANNOT_TELL

    async def _prove(self, offered: PasswordOffered | ProofOffered) -> Submitter:
        """Raises as `LoginPortal.login`."""
        portal = self._services.portal
        known, self._known = self._known, None
        if isinstance(offered, PasswordOffered):
            return await portal.login(
                offered.authcid,
                offered.authzid,
                offered.password,
                self._client,
                self._audience,
            )
        return await portal.prove(
            _proof_in(offered),
            self._client,
            known=known,
            channel=self._channel,
            audience=self._audience,
        )

    async def _log_in(self, offered: PasswordOffered | ProofOffered) -> Reply:
        services = self._services
        name = _name_in(offered)[:_MOST_OF_A_NAME]
        facts = self._attempt_by(offered.mechanism)
        try:
            who = await self._prove(offered)
        except UnauthorizedLogin as refusal:
            services.metrics.logins.labels("refused").inc()
            services.events.emit(LOGIN_FAILED, login=name, reason=str(refusal), **facts)
            return LOGIN_REFUSED
        except (TooManyFailures, DirectoryUnavailable) as problem:
            return self._put_off(problem, name, facts)
        if not await self._take_place(who.login):
            services.metrics.logins.labels("crowded").inc()
            services.events.emit(LOGIN_BRAKED, login=who.login, reason="crowd", **facts)
            return CROWDED
        self._proved = who, facts
        return LOGGED_IN

    def _end_log_in(self, *, is_told: bool) -> None:
        """Logged in is who knows it; of others nothing is kept."""
        assert self._proved is not None  # noqa: S101
        services, (who, facts) = self._services, self._proved
        self._proved = None
        if is_told:
            self._who = who
            services.metrics.logins.labels("accepted").inc()
            services.events.emit(LOGIN_SUCCEEDED, login=who.login, **facts)
        else:
            self._give_place()
            services.metrics.logins.labels("abandoned").inc()
            services.events.emit(LOGIN_ABANDONED, login=who.login, **facts)

    async def _take_place(self, login: str) -> bool:
        if not await self._services.places.opened(login):
            return False
        self._place = login
        if self._is_closed:
            self._give_place()
        return True

    async def _resolve_trusted(self, offered: SenderOffered) -> Reply:
        assert self._trusted_as is not None  # noqa: S101
        try:
            self._who = await self._trusted_as()
        except DirectoryUnavailable as problem:
            self._services.events.emit(
                LOGIN_UNAVAILABLE, session=self._id, reason=str(problem)
            )
            return CANNOT_TELL
        verdict = self._sender_verdict(self._who, offered)
        return await self._with_room(self._who, offered, verdict)

    # May they send this?

    def _check_sender(self, offered: SenderOffered) -> Reply | Awaitable[Reply]:
        if self._who is None:
            if self._trusted_as is None:
                return NO_SUBMITTER
            return self._resolve_trusted(offered)
        verdict = self._sender_verdict(self._who, offered)
        if offered.release_at is None:
            return verdict
        return self._with_room(self._who, offered, verdict)

    async def _with_room(
        self, who: Submitter, offered: SenderOffered, verdict: Reply
    ) -> Reply:
        """The verdict, unless too much waits already (RFC 4865 section 6)."""
        if offered.release_at is None or not verdict.is_positive:
            return verdict
        allowance = self._services.allowances.of(who, self._id, for_later=True)
        if allowance is None:
            return verdict
        asked = allowance.refusal_at_mail(offered.declared_size or 0)
        return await self._objection(who, asked) or verdict

    async def _objection(
        self, who: Submitter, asked: Awaitable[Reply | None]
    ) -> Reply | None:
        """What the spool's counts say against a message, or that they cannot tell."""
        services = self._services
        try:
            refusal = await asked
        except SpoolUnavailable as problem:
            services.metrics.messages.labels("unavailable").inc()
            services.events.emit(
                SPOOL_UNAVAILABLE,
                session=self._id,
                login=who.login,
                reason=str(problem),
            )
            return CANNOT_STORE
        if refusal is not None:
            services.metrics.messages.labels("refused").inc()
        return refusal

    def _sender_verdict(self, who: Submitter, offered: SenderOffered) -> Reply:
        reverse_path = offered.reverse_path
        verdict = check_sender(who, reverse_path, utf8=offered.smtputf8)
        if (
            not verdict.is_positive
            and self._services.content.rewrite_foreign_from
            and (own := who.primary(utf8=offered.smtputf8)) is not None
        ):
            reverse_path, verdict = own, SENDER_OK
        if verdict.is_positive:
            self._reverse_path = reverse_path
            self._priority_asked = offered.priority
            self._priority = self._services.priorities.assigned(
                who.login, offered.priority
            )
            if self._priority < offered.priority:
                return priority_assigned(self._priority)
        else:
            self._services.metrics.messages.labels("refused").inc()
            self._services.events.emit(
                SENDER_REFUSED,
                session=self._id,
                login=who.login,
                sender=offered.reverse_path,
            )
        return verdict

    def _check_recipient(self, offered: RecipientOffered) -> Reply:
        mailbox = offered.forward_path.mailbox
        verdict = check_recipient(mailbox, self._services.routed)
        if not verdict.is_positive:
            self._services.events.emit(
                RECIPIENT_REFUSED,
                session=self._id,
                recipient=mailbox,
                reply=verdict.text,
            )
        return verdict

    # Keep it.

    def _open_content(self, offered: ContentOffered) -> Reply | Awaitable[Reply]:
        who = self._who
        assert who is not None, "MAIL was accepted"  # noqa: S101
        for_later = offered.sender.release_at is not None
        allowance = self._services.allowances.of(who, self._id, for_later=for_later)
        if allowance is None:
            return self._begin_content(who, offered, None)
        return self._open_within(allowance, who, offered)

    async def _open_within(
        self, allowance: Allowance, who: Submitter, offered: ContentOffered
    ) -> Reply:
        declared = offered.sender.declared_size or 0
        asked = allowance.refusal(offered.forward_paths, declared)
        refusal = await self._objection(who, asked)
        return refusal or self._begin_content(who, offered, allowance)

    def _begin_content(
        self, who: Submitter, offered: ContentOffered, allowance: Allowance | None
    ) -> Reply:
        services, session = self._services, self._session
        show = services.show_client
        sender = _vouched_for(who, offered.sender)
        if self._priority != sender.priority:
            sender = evolve(sender, priority=self._priority)
        self._content = ContentIntake(
            services.content,
            services.spool.open_intake(),
            who=who,
            session=self._id,
            sender=sender,
            reverse_path=self._reverse_path,
            forward_paths=offered.forward_paths,
            origin=Origin(
                client_name=session.client_name if show else None,
                client_address=self._client if show else None,
                esmtp=session.esmtp,
                authenticated=session.authenticated,
                smtputf8=sender.smtputf8,
                tls=self._tls,
                priority=sender.priority,
            ),
            events=services.events,
            allowance=allowance,
        )
        return GO_AHEAD

    def _take_content(self, octets: bytes) -> Awaitable[None] | None:
        if self._content is None or self._stored is not None:
            return None
        storing = self._content.feed(octets)
        return None if storing is None else self._store(storing)

    async def _store(self, storing: Awaitable[None]) -> None:
        try:
            await storing
        except SpoolUnavailable as problem:
            # The client hears it after the dot; until then, drain.
            self._stored = problem

    async def _finish_content(self) -> Reply:
        services, content, who = self._services, self._content, self._who
        assert content is not None and who is not None  # noqa: PT018, S101
        self._content = None
        started = services.clock.seconds()
        facts = {
            "session": self._id,
            "queue_id": content.queue_id,
            "login": who.login,
            "sender": self._reverse_path or "<>",
            "message_id": content.message_id,
        }
        try:
            if self._stored is not None:
                await content.abandon()
                raise self._stored
            spooled = await content.finish()
        except SpoolUnavailable as problem:
            services.metrics.messages.labels("unavailable").inc()
            services.events.emit(SPOOL_UNAVAILABLE, reason=str(problem), **facts)
            return FULL if isinstance(problem, SpoolFull) else CANNOT_STORE
        finally:
            self._stored = None
        if isinstance(spooled, Reply):
            services.metrics.messages.labels("refused").inc()
            services.events.emit(MESSAGE_REFUSED, reply=spooled.text, **facts)
            return spooled
        services.metrics.accept_seconds.observe(services.clock.seconds() - started)
        services.metrics.messages.labels("accepted").inc()
        services.metrics.message_octets.inc(spooled.size)
        services.events.emit(
            MESSAGE_ACCEPTED,
            **facts,
            size=spooled.size,
            recipients=len(spooled.envelope.forward_paths),
            **_wishes(spooled.envelope, self._priority_asked),
        )
        if spooled.recipients:
            services.delivery.take(spooled)
        return Reply(250, EnhancedCode(2, 0, 0), f"Ok: queued as {content.queue_id}")


def _proof_in(offered: ProofOffered) -> Proof:
    proof = offered.proof
    assert isinstance(proof, KeysProof | Digest | Token | Certificate)  # noqa: S101
    return proof


def _name_in(offered: PasswordOffered | ProofOffered) -> str:
    """Who a client says they are, for the log; empty where it says nothing."""
    if isinstance(offered, PasswordOffered):
        return offered.authcid
    proof = _proof_in(offered)
    return proof.authcid if isinstance(proof, KeysProof | Digest) else proof.authzid


def _wishes(envelope: Envelope, priority_asked: int) -> dict[str, object]:
    """What its sender wishes for, for the log; None where that is nothing.

    A priority is logged as it came, too (RFC 6710 section 4.1).
    """
    by = envelope.deliver_by
    was_lowered = priority_asked != envelope.priority
    return {
        "priority": envelope.priority or None,
        "priority_asked": priority_asked if was_lowered else None,
        "release_at": envelope.release_at,
        "deliver_by": by and by.at,
    }


def _vouched_for(who: Submitter, sender: SenderOffered) -> SenderOffered:
    """The same, with an AUTH= that is theirs, or names nobody (RFC 4954 section 5)."""
    said = sender.submitted_by
    if said is None or said.mailbox is None or who.permission_for(said.mailbox):
        return sender
    return evolve(sender, submitted_by=SubmittedBy(None))
