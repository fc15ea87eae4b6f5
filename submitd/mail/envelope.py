"""Envelopes: where a message comes from and where it is to go."""

from datetime import datetime
from enum import Enum, Flag, auto
from typing import Final

from attrs import field, frozen, validators

from submitd.mail.address import Mailbox

HEAD_START: Final = 3600.0
"""Seconds of waiting that one step of priority is worth.

What is urgent overtakes what has waited for up to so much longer, and no more:
nothing of low priority waits for ever.
"""


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


class ByMode(Enum):
    """What happens when a message's time is up (RFC 2852 section 4)."""

    NOTIFY = "N"
    RETURN = "R"


@frozen
class DeliverBy:
    """BY: the moment by which a message is to be delivered (RFC 2852)."""

    at: datetime
    mode: ByMode
    trace: bool = False
    """The sender hears of each host that takes the message."""

    was_over: bool = False
    """It was over when it was set (``BY=-60;N``): the sender knows that it is late."""


class TlsDemand(Enum):
    """What the sender said of TLS on the way (RFC 8689)."""

    REQUIRED = "required"
    """REQUIRETLS: not without it, whatever happens."""

    OPTIONAL = "optional"
    """``TLS-Required: no``: better in clear text than not at all."""


@frozen
class SubmittedBy:
    """AUTH= of MAIL: who first submitted the message (RFC 4954 section 5)."""

    mailbox: Mailbox | None
    """None is ``<>``: nobody can tell."""


@frozen
class OriginalRecipient:
    """ORCPT: the address that the sender first used, xtext decoded.

    Source: RFC 3461 section 4.2.
    """

    address_type: str
    """As it was written, for it is passed on unchanged (RFC 3461 section 5.2.1):
    ``rfc822``, ``utf-8`` (RFC 6533), seldom another."""

    address: str
    """Printable: it goes into the fields of a report as it stands."""

    @property
    def is_utf8(self) -> bool:
        """True where the address may hold more than ASCII (RFC 6533)."""
        return self.address_type.lower() == "utf-8"

    @property
    def in_ascii(self) -> str:
        r"""The address for those who know no UTF-8: ``\x{20AC}`` for what is not ASCII.

        Source: RFC 6533 section 3.
        """
        return escape_utf8_address(self.address) if self.is_utf8 else self.address


def escape_utf8_address(text: str) -> str:
    """An address of type ``utf-8`` in ASCII (RFC 6533 section 3)."""
    return "".join(
        one if "!" <= one <= "~" and one not in "+=\\" else rf"\x{{{ord(one):02X}}}"
        for one in text
    )


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
    """When we took responsibility: aware, UTC."""

    release_at: datetime | None = None
    """FUTURERELEASE: not sent before (RFC 4865). None: at once."""

    release_request: str = ""
    """How its sender said that, in the words of Future-Release-Request."""

    deliver_by: DeliverBy | None = None

    priority: int = field(
        default=0, validator=validators.and_(validators.ge(-9), validators.le(9))
    )
    """MT-PRIORITY as it was assigned: higher goes first (RFC 6710)."""

    tls_demand: TlsDemand | None = None

    submitted_by: SubmittedBy | None = None
    """None: the client did not say."""

    @accepted_at.validator
    def _is_aware(self, _: object, value: datetime) -> None:
        if value.tzinfo is None:
            raise ValueError("accepted_at must carry a time zone")

    @property
    def sent_from(self) -> datetime:
        """When it was first to be sent. What waits in the queue is so old."""
        if self.release_at is None:
            return self.accepted_at
        return max(self.accepted_at, self.release_at)

    @property
    def is_report(self) -> bool:
        """True where a failure must be dropped, not reported (RFC 5321 6.1)."""
        return self.reverse_path is None
