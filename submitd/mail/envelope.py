"""Envelopes: where a message comes from and where it is to go."""

from datetime import datetime
from enum import Enum, Flag, auto

from attrs import field, frozen, validators

from submitd.mail.address import Mailbox


class Body(Enum):
    """What the client declared the content to be (RFC 6152, RFC 3030)."""

    SEVEN_BIT = "7BIT"
    EIGHT_BIT_MIME = "8BITMIME"
    BINARY_MIME = "BINARYMIME"


class Notify(Flag):
    """When the sender wants a report on a recipient (RFC 3461 section 4.1)."""

    NEVER = 0
    SUCCESS = auto()
    FAILURE = auto()
    DELAY = auto()


class Ret(Enum):
    """What a failure report returns of the message (RFC 3461 section 4.3)."""

    FULL = "FULL"
    HEADERS = "HDRS"


@frozen
class OriginalRecipient:
    """ORCPT: the address that the sender first used, xtext decoded.

    Source: RFC 3461 section 4.2.
    """

    address_type: str
    """In lower case: ``rfc822``, ``utf-8`` (RFC 6533), seldom another."""

    address: str
    """Printable: it goes into the fields of a report as it stands."""


@frozen
class ForwardPath:
    """One accepted recipient with its wishes for reports."""

    mailbox: Mailbox
    notify: Notify | None = None
    """None: no NOTIFY was given, which means FAILURE and perhaps DELAY."""

    orcpt: OriginalRecipient | None = None

    def wants(self, event: Notify) -> bool:
        """True where the sender is to hear about ``event`` (a single flag)."""
        default = Notify.FAILURE | Notify.DELAY
        return bool(event & (default if self.notify is None else self.notify))


@frozen(kw_only=True)
class Envelope:
    """Where a message comes from and where it is to go.

    Immutable: policy and delivery derive a new envelope, so the one the
    client gave us can still be shown in the log and in a delivery report.

    Source: RFC 5321 section 2.3.1; ``envid`` is RFC 3461 section 4.4.
    """

    reverse_path: Mailbox | None
    """Where reports go. None is ``<>``: never answer it with a report."""

    forward_paths: tuple[ForwardPath, ...] = field(validator=validators.min_len(1))
    """Accepted recipients, in the client's order, without repeats."""

    body: Body = Body.SEVEN_BIT

    smtputf8: bool = False
    """SMTPUTF8 was given (RFC 6531 section 3.4)."""

    declared_size: int | None = field(
        default=None, validator=validators.optional(validators.ge(0))
    )
    """SIZE= as the client declared it, in octets. A hint; the spool counts."""

    ret: Ret | None = None

    envid: str | None = None
    """The client's own name for this transaction, xtext decoded."""

    accepted_at: datetime = field()
    """When we took responsibility: aware, UTC. Queue age counts from here."""

    @accepted_at.validator
    def _is_aware(self, _: object, value: datetime) -> None:
        if value.tzinfo is None:
            raise ValueError("accepted_at must carry a time zone")

    @property
    def is_report(self) -> bool:
        """True where a failure must be dropped, not reported (RFC 5321 6.1)."""
        return self.reverse_path is None
