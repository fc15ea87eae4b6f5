"""The way of a message's content: from the client's octets into the spool."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from attrs import frozen

from submitd.auth.submitter import Submitter
from submitd.dkim.canonical import BodyHasher
from submitd.dkim.sign import Signer, signer_for
from submitd.mail.address import Mailbox
from submitd.mail.envelope import Body, Envelope, ForwardPath, TlsDemand
from submitd.mail.message import HeaderSection, MalformedHeader
from submitd.mail.status import EnhancedCode
from submitd.mail.trace import Origin, count_received, received_field
from submitd.observe.events import FROM_REWRITTEN, Events
from submitd.policy.content import Authors, check_content, read_authors
from submitd.policy.repair import repair, rewrite_from
from submitd.server.allowance import Allowance
from submitd.smtp.event import SenderOffered
from submitd.smtp.reply import Reply
from submitd.spool.store import CHUNK, Intake, Needs, NewMessage, Spooled

_HEADER_TOO_LARGE: Final = Reply(
    552, EnhancedCode(5, 3, 4), "The header section is too large"
)
_LOOP: Final = Reply(
    554, EnhancedCode(5, 4, 6), "Too many Received fields: this message is in a loop"
)
_UNSIGNED: Final = EnhancedCode(5, 7, 20)


@frozen(kw_only=True)
class ContentRules:
    """What holds for the content of every message."""

    hostname: str
    message_id_domain: str
    header_size: int | None
    """Octets of a header section at most; None: as the message."""

    received_fields: int | None
    rewrite_foreign_from: bool
    signers: Mapping[str, Signer]
    """By From domain; ``*.example.org`` stands for its subdomains."""

    sign_or_refuse: bool
    """Refuse what no signer is responsible for."""


class ContentIntake:
    """One message's content: feed it, then finish or abandon it.

    A refusal is kept: what still comes is drained, and the refusal is the
    reply to the end of the content.
    """

    def __init__(
        self,
        rules: ContentRules,
        intake: Intake,
        *,
        who: Submitter,
        session: str,
        sender: SenderOffered,
        reverse_path: Mailbox | None,
        forward_paths: tuple[ForwardPath, ...],
        origin: Origin,
        events: Events,
        allowance: Allowance | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``allowance``: what its submitter may send; None: there is no limit."""
        self._rules = rules
        self._intake = intake
        self._who = who
        self._session = session
        self._sender = sender
        self._reverse_path = reverse_path
        self._forward_paths = forward_paths
        self._origin = origin
        self._events = events
        self._allowance = allowance
        self._now = now
        self._head: bytearray | None = bytearray()  # None: it is complete
        self._section = HeaderSection(())
        self._waiting: list[bytes] = []
        self._waiting_size = 0
        self._body_size = 0
        self._eight_bit = False
        self._signer: Signer | None = None
        self._hasher: BodyHasher | None = None
        self.refusal: Reply | None = None

    @property
    def queue_id(self) -> str:
        """The message's name, from the first octet on."""
        return self._intake.queue_id

    @property
    def message_id(self) -> str:
        """The Message-ID field's value, for the log; empty before the header."""
        found = self._section.get_all("message-id")
        return found[0].value.decode("ascii", "replace")[:250] if found else ""

    def feed(self, octets: bytes) -> Awaitable[None] | None:
        """Take octets of the content. What is returned is to be waited for.

        Raises:
            SpoolUnavailable: (when waited for) the chunk was not stored.
        """
        if self.refusal is not None:
            return None
        if self._head is not None:
            rest = self._feed_header(octets)
            if not rest:
                return None
            octets = rest
        return self._feed_body(octets)

    def _feed_header(self, octets: bytes) -> bytes:
        head = self._head
        assert head is not None  # noqa: S101
        searched = max(0, len(head) - 3)
        head += octets
        # A message may begin with the empty line: no header section at all.
        end = 0 if head.startswith(b"\r\n") else head.find(b"\r\n\r\n", searched) + 2
        limit = self._rules.header_size
        if limit is not None and (end if end != 1 else len(head)) > limit:
            self.refusal = _HEADER_TOO_LARGE
            return b""
        if end == 1:
            return b""
        rest = bytes(head[end + 2 :])
        self._take_header(bytes(head[:end]))
        return b"" if self.refusal is not None else rest

    def _take_header(self, octets: bytes) -> None:
        self._head = None
        try:
            section = HeaderSection.parse(octets)
        except MalformedHeader as problem:
            self.refusal = Reply(
                550, EnhancedCode(5, 6, 0), _one_line(f"Malformed message: {problem}")
            )
            return
        rules = self._rules
        most = rules.received_fields
        if most is not None and count_received(section) > most:
            self.refusal = _LOOP
            return
        checked = self._check_authors(section)
        if isinstance(checked, Reply):
            self.refusal = checked
            return
        section, authors = checked
        domain = authors.authors[0].domain
        self._signer = signer_for(domain, rules.signers)
        if self._signer is None and rules.sign_or_refuse:
            self.refusal = Reply(
                550, _UNSIGNED, f"Mail from {domain} cannot be signed by this server"
            )
            return
        if self._signer is not None:
            self._hasher = self._signer.body_hasher()
        self._section = repair(
            section,
            now=self._now(),
            message_id=f"{self.queue_id}@{rules.message_id_domain}",
        )

    def _check_authors(
        self, section: HeaderSection
    ) -> tuple[HeaderSection, Authors] | Reply:
        utf8 = self._sender.smtputf8
        authors = read_authors(section, smtputf8=utf8)
        if isinstance(authors, Reply):
            return authors
        verdict = check_content(self._who, authors, utf8=utf8)
        if verdict.is_positive:
            return section, authors
        own = self._who.primary(utf8=utf8)
        if not self._rules.rewrite_foreign_from or own is None:
            return verdict
        if not all(map(self._who.permission_for, authors.resenders)):
            return verdict  # only From is written anew
        self._events.emit(
            FROM_REWRITTEN,
            session=self._session,
            queue_id=self.queue_id,
            submitter=self._who.login,
            written=", ".join(map(str, authors.all)),
            now=str(own),
        )
        return rewrite_from(section, own), Authors((own,), None)

    def _feed_body(self, octets: bytes) -> Awaitable[None] | None:
        self._body_size += len(octets)
        if not self._eight_bit and not octets.isascii():
            self._eight_bit = True
        if self._hasher is not None:
            self._hasher.update(octets)
        self._waiting.append(octets)
        self._waiting_size += len(octets)
        # What may be the tail stays here: it goes with the accepting commit.
        return self._store() if self._waiting_size > CHUNK else None

    async def _store(self) -> None:
        while self._waiting_size > CHUNK:
            whole = b"".join(self._waiting)
            chunk, rest = whole[:CHUNK], whole[CHUNK:]
            self._waiting, self._waiting_size = [rest], len(rest)
            await self._intake.write(chunk)

    async def finish(self) -> Spooled | Reply:
        """The content is complete: into the spool with it, or the refusal.

        Raises:
            SpoolUnavailable: it is not stored.
        """
        try:
            kept = await self._finish()
        except Exception:
            # Also of a fault of ours: its chunks would lie there until a start.
            await self._intake.abandon()
            raise
        if isinstance(kept, Reply):
            await self._intake.abandon()
        return kept

    async def _finish(self) -> Spooled | Reply:
        if self._head is not None and self.refusal is None:
            # No empty line: header fields are all there is.
            self._take_header(bytes(self._head))
        if self.refusal is not None:
            return self.refusal
        accepted_at = self._now()
        message = NewMessage(
            queue_id=self.queue_id,
            envelope=self._envelope(accepted_at),
            header=self._finished_header(accepted_at),
            needs=self._needs(),
            submitter=self._who.login,
            session=self._session,
        )
        tail = b"".join(self._waiting)
        if self._allowance is None:
            return await self._intake.accept(message, tail)
        size = len(message.header) + self._body_size
        return await self._allowance.accept(self._intake, message, tail, size)

    async def abandon(self) -> None:
        """The content will not be finished."""
        self._waiting = []
        await self._intake.abandon()

    def _finished_header(self, at: datetime) -> bytes:
        signatures = b""
        if self._signer is not None and self._hasher is not None:
            signatures = self._signer.sign(
                [one.raw for one in self._section.fields], self._hasher.digest(), at
            )
        received = received_field(
            self._origin, hostname=self._rules.hostname, queue_id=self.queue_id, at=at
        )
        return received + signatures + self._section.octets + b"\r\n"

    def _envelope(self, accepted_at: datetime) -> Envelope:
        offered = self._sender
        return Envelope(
            reverse_path=self._reverse_path,
            forward_paths=self._forward_paths,
            body=offered.body,
            smtputf8=offered.smtputf8,
            declared_size=offered.declared_size,
            ret=offered.ret,
            envid=offered.envid,
            accepted_at=accepted_at,
            release_at=offered.release_at,
            release_request=offered.release_request,
            deliver_by=offered.deliver_by,
            priority=offered.priority,
            tls_demand=offered.tls_demand or self._tls_demand(),
            submitted_by=offered.submitted_by,
        )

    def _tls_demand(self) -> TlsDemand | None:
        """What the TLS-Required field says, where MAIL said nothing (RFC 8689 4.1)."""
        for one in self._section.get_all("tls-required"):
            if one.value.lower() == b"no":
                return TlsDemand.OPTIONAL
        return None

    def _needs(self) -> Needs:
        plain_header = self._section.octets.isascii()
        plain_path = self._reverse_path is None or self._reverse_path.is_ascii
        smtputf8 = self._sender.smtputf8 and not (plain_header and plain_path)
        # Old programs put bare 8-bit into header fields: it needs a clean path.
        return Needs(
            eight_bit=self._eight_bit or not (plain_header or smtputf8),
            smtputf8=smtputf8,
            # Whatever its octets are: nobody looked at its lines.
            binary=self._sender.body is Body.BINARY_MIME,
        )


def _one_line(text: str) -> str:
    return "".join(one if one.isprintable() else "?" for one in text)[:400]
