"""What the spool promises, and the values that go in and out of it.

`Spool` is what sessions and couriers use, inside the event loop. `Store` is
one database behind it, synchronous: group commit (`committer`), recovery and
``submitctl queue``, which must work while the server is stopped, stand on it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol

from attrs import field, frozen

from submitd.mail.address import Mailbox
from submitd.mail.envelope import DeliverBy, Envelope, ForwardPath, TlsDemand
from submitd.mail.status import EnhancedCode
from submitd.mail.usage import Span, Stored, Usage
from submitd.smtp.reply import Reply

CHUNK: int = 256 * 1024
"""Octets of body in one chunk, at most."""


class SpoolUnavailable(Exception):
    """The store cannot tell or cannot write now (451 4.3.0). Nothing was kept."""


class SpoolFull(SpoolUnavailable):
    """The disk is full, or only the reserve is left (452 4.3.1)."""


@frozen(kw_only=True)
class Needs:
    """What the next hop must be able to do for this content as it is."""

    eight_bit: bool = False
    """An octet above 127 stands in the body (8BITMIME, RFC 6152)."""

    smtputf8: bool = False
    """The header section or the reverse-path needs SMTPUTF8 (RFC 6531)."""

    binary: bool = False
    """It came as BINARYMIME, and goes on as it is by BDAT alone (RFC 3030)."""


@frozen(kw_only=True)
class NewMessage:
    """A message about to be accepted, without its body."""

    queue_id: str
    envelope: Envelope
    header: bytes
    """From the first octet up to and with the empty line, as it will be sent:
    Received field and DKIM signatures on top."""

    needs: Needs
    submitter: str | None
    """The login that sent it; None for a report of ours."""

    session: str
    """Id of the session that brought it, or the queue id that a report is about."""

    held: bool = False

    @property
    def waits(self) -> bool:
        """True where nobody is to attempt it yet."""
        return self.held or self.envelope.sent_from > self.envelope.accepted_at


class State(Enum):
    """Where a recipient stands."""

    QUEUED = "queued"
    RELAYED = "relayed"
    FAILED = "failed"


@frozen(kw_only=True)
class Recipient:
    """A forward-path with its state."""

    number: int
    """Position in the envelope, from 0."""

    forward_path: ForwardPath
    state: State = State.QUEUED
    attempts: int = 0
    due_at: datetime
    delay_reported: bool = False
    last_status: EnhancedCode | None = None
    last_diagnostic: str = ""
    """What the last attempt came to, in one line; a remote's words included."""

    last_host: str = ""
    """The host that said it, as a name (Remote-MTA); empty where none was reached."""

    last_attempt_at: datetime | None = None
    interruptions: int = 0
    """Attempts that our own death cut off between the final dot and its record."""


@frozen(kw_only=True)
class Spooled:
    """A message that is on disk and claimed by this process."""

    queue_id: str
    envelope: Envelope
    needs: Needs
    submitter: str | None
    session: str
    header_size: int
    body_size: int
    recipients: tuple[Recipient, ...]
    """The claimed ones: due, queued, and leased to this process."""

    header: bytes | None = field(default=None, repr=False)
    """In memory where the message is fresh; else `Spool.read_header` has it."""

    body: tuple[bytes, ...] | None = field(default=None, repr=False)
    """The chunks, where the message is fresh and its body at most 1 MiB."""

    @property
    def size(self) -> int:
        """Octets of the whole message."""
        return self.header_size + self.body_size


@frozen
class Rendition:
    """Another form of a message. It is there for as long as the message."""

    content_id: str
    """`Spool.read_header` and `Spool.read_chunk` know it by this."""

    size: int
    """Octets of its header section and body."""


@frozen
class NoRendition:
    """It was found out that a message has no such form."""

    reason: str


@frozen(kw_only=True)
class Result:
    """What an attempt came to for one recipient."""

    number: int
    state: State
    at: datetime
    """When the attempt ended, or the outcome was known without one."""

    due_at: datetime
    """When to try next (State.QUEUED); otherwise of no meaning."""

    status: EnhancedCode
    diagnostic: str
    host: str
    delay_reported: bool = False
    """A delay report goes with this record."""

    is_attempt: bool = True
    """False: nothing was tried; only the sender hears something."""


@frozen(kw_only=True)
class Report:
    """A report of ours that enters the spool together with what it reports."""

    message: NewMessage
    body: bytes


@frozen
class Notices:
    """Messages of ours that tell that mail is held."""

    told: Mailbox | None = None
    """Where the submitter is told; None: only the postmaster is."""

    reports: tuple[Report, ...] = ()


@frozen(kw_only=True)
class Charge:
    """What a message is counted by, and who says whether that is too much."""

    login: str
    """As the directory spells it. Case does not count."""

    spans: frozenset[Span]
    """Over which is counted."""

    remembers: bool
    """First-time recipients are told from others."""

    judge: Callable[[Usage], Reply | None]
    """Asked within the transaction: no two messages are judged by one count."""

    for_later: bool = False
    """The message waits for a time: what else does is to be judged, too."""

    reason: str = ""
    """Why the message is held, for its story."""

    notices: Notices = Notices()
    """What tells of it, unless that was done not long ago."""


@frozen
class Over:
    """What `Charge.judge` said against a message: nothing was written."""

    reply: Reply
    usage: Usage


@frozen(kw_only=True)
class Reminder:
    """Somebody was told a day ago that mail of theirs is held."""

    login: str
    told: Mailbox | None
    """As `Notices.told`."""

    told_at: datetime
    held: Stored
    """What still is."""


@frozen(kw_only=True)
class QueueEntry:
    """A message as ``submitctl queue`` shows it."""

    queue_id: str
    reverse_path: Mailbox | None
    submitter: str | None
    session: str
    accepted_at: datetime
    size: int
    held: bool
    leased_to: str | None
    recipients: tuple[Recipient, ...]
    release_at: datetime | None = None
    """Not sent before."""

    deliver_by: DeliverBy | None = None
    priority: int = 0
    tls_demand: TlsDemand | None = None


@frozen(kw_only=True)
class Happening:
    """One line of a message's story, kept while the message is queued."""

    at: datetime
    what: str


@frozen(kw_only=True)
class Wanted:
    """Which messages ``submitctl queue`` means. Empty: all."""

    queue_ids: tuple[str, ...] = ()
    sender: str = ""
    """Reverse-path or login, compared without case."""

    login: str = ""
    """The submitter's, compared without case: what others sent is not meant."""

    recipient: str = ""
    domain: str = ""
    """Domain of a recipient."""

    older_than: timedelta | None = None
    held: bool | None = None


@frozen(kw_only=True)
class Standing:
    """The queue in figures."""

    messages: int
    recipients: int
    held: int
    octets: int
    oldest_accepted_at: datetime | None
    """When the oldest came, or was first to be sent where that was later."""


class Intake(Protocol):
    """One upload, from the first octet to the accepting transaction."""

    queue_id: str

    async def write(self, chunk: bytes) -> None:
        """Store a full chunk (`CHUNK` octets) of the body.

        Raises:
            SpoolUnavailable: it is not stored; the upload must be abandoned.
        """

    async def accept(self, message: NewMessage, tail: bytes) -> Spooled:
        """Commit the message; when this returns it survives power loss.

        ``tail`` is what follows the chunks written before (at most `CHUNK`
        octets). The recipients of what is returned are leased to this
        process and due at once (a message that waits has none).

        Raises:
            SpoolUnavailable: the message does not exist, now or ever.
        """

    async def accept_within(
        self, message: NewMessage, tail: bytes, charge: Charge
    ) -> Spooled | Over:
        """As `accept`, and counted in the same transaction.

        After an `Over` the upload is still open.
        """

    async def abandon(self) -> None:
        """Forget what was written. Never raises; a start sweeps what stays."""


class RenditionIntake(Protocol):
    """Another form of a message on its way to disk."""

    async def write(self, chunk: bytes) -> None:
        """As `Intake.write`."""

    async def finish(self, header: bytes, tail: bytes) -> Rendition:
        """Commit it; when this returns it survives power loss.

        ``header`` has its empty line, ``tail`` is as for `Intake.accept`. Where
        another process was faster, what that one has made is given.

        Raises:
            SpoolUnavailable: it is not stored.
            LookupError: the message is gone.
        """

    async def abandon(self) -> None:
        """As `Intake.abandon`."""


class Spool(Protocol):
    """The store as the event loop sees it. All work is done in threads."""

    def open_intake(self) -> Intake:
        """A new upload, with a queue id never used before. Touches no disk."""

    async def usage(
        self,
        login: str,
        spans: Iterable[Span],
        paths: Sequence[ForwardPath],
        now: datetime,
        *,
        held: bool = False,
        later: bool = False,
    ) -> Usage:
        """What a login has sent; ``paths``: whose newness is to be told.

        ``held``, ``later``: what lies there for either reason is asked for, too.

        Raises:
            SpoolUnavailable: cannot tell.
        """

    async def reminders(self, now: datetime) -> Sequence[Reminder]:
        """Whom to remind that mail is held: some of them, the longest waiting first.

        Raises:
            SpoolUnavailable: cannot tell.
        """

    async def remind(
        self, due: Reminder, reports: Sequence[Report], now: datetime
    ) -> None:
        """Enter these messages of ours, unless another process was faster.

        Without any it is looked at again in an hour; where nothing is held, never.

        Raises:
            SpoolUnavailable: nothing is entered.
        """

    async def claim_due(self, now: datetime, limit: int) -> Sequence[Spooled]:
        """Lease at most ``limit`` messages with due recipients to this process.

        Raises:
            SpoolUnavailable: nothing was claimed.
        """

    async def read_header(self, queue_id: str) -> bytes:
        """The header section as stored (SpoolUnavailable; LookupError: gone)."""

    async def read_chunk(self, queue_id: str, number: int) -> bytes | None:
        """One chunk of the body, from 0; None past the last one."""

    async def find_rendition(
        self, queue_id: str, form: str
    ) -> Rendition | NoRendition | None:
        """What was stored for hosts that take ``form``, if anything was.

        Raises:
            SpoolUnavailable: nobody can tell.
        """

    def open_rendition(self, queue_id: str, form: str) -> RenditionIntake:
        """A new form of a message, which is claimed by this process."""

    async def refuse_rendition(self, queue_id: str, form: str, reason: str) -> None:
        """Remember with the message that it has no such form, and why.

        May use the disk's reserve.

        Raises:
            SpoolUnavailable: it is not remembered.
            LookupError: the message is gone.
        """

    def mark_sent(self, queue_id: str, numbers: Iterable[int]) -> None:
        """The final dot for claimed recipients is sent next. Never waits or raises.

        Until `record` or `release` a death of this process counts among their
        `Recipient.interruptions`.
        """

    async def record(
        self,
        queue_id: str,
        results: Sequence[Result],
        reports: Sequence[Report] = (),
    ) -> Sequence[Spooled]:
        """Write outcomes, end the leases on these recipients, enter reports.

        All in one transaction: a report exists if and only if what it says is
        recorded. A message without queued recipients is removed. Gives the
        reports as claimed, fresh messages. May use the disk's reserve.

        Raises:
            SpoolUnavailable: nothing is recorded; the leases stay. Try again.
        """

    async def release(
        self, queue_id: str, numbers: Sequence[int], due_at: datetime | None = None
    ) -> None:
        """Give claimed recipients back unharmed, due as before or at another time."""

    def new_queue_id(self) -> str:
        """A queue id for a report of ours."""


class Store(Protocol):
    """One database: the queue as ``submitctl queue`` and recovery use it.

    Synchronous; safe beside a running server. Raises SpoolUnavailable.
    """

    def search(self, wanted: Wanted) -> Iterator[QueueEntry]:
        """The messages that match, oldest first, without holding them all."""

    def story(self, queue_id: str) -> Sequence[Happening]:
        """What happened to a queued message so far, oldest first."""

    def read_header(self, queue_id: str) -> bytes: ...

    def read_body(self, queue_id: str) -> Iterator[bytes]: ...

    def retry(self, queue_ids: Iterable[str], now: datetime) -> int:
        """Make queued recipients due now; gives the number of messages.

        What is to be sent later becomes due then, and no earlier.
        """

    def hold(self, queue_ids: Iterable[str]) -> int: ...

    def release_held(self, queue_ids: Iterable[str], now: datetime) -> int:
        """Let held ones go; what is to be sent later still waits for its time.

        Their age, for giving up and for reports of delay, counts from now. What is
        not held stays as it is, and is not among the number that this gives.
        """

    def release_early(self, queue_ids: Iterable[str], now: datetime) -> int:
        """Send what is to be sent later, and is not held, now."""

    def remove(self, queue_ids: Iterable[str]) -> int:
        """Delete messages without a report. Leased ones go when their attempt ends."""

    def standing(self) -> Standing: ...

    def usage(self, login: str, now: datetime) -> Usage:
        """What a login has sent, as far as it was counted."""
