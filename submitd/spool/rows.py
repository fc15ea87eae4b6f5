"""Values to rows and back."""

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from submitd.mail.address import Mailbox, parse_mailbox
from submitd.mail.envelope import (
    Body,
    ByMode,
    DeliverBy,
    Envelope,
    ForwardPath,
    Notify,
    OriginalRecipient,
    Ret,
    SubmittedBy,
    TlsDemand,
)
from submitd.mail.status import EnhancedCode
from submitd.spool.store import Needs, NewMessage, Recipient, Spooled, State

_DIGITS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Without I, L, O and U: read aloud over a telephone, nothing is mistaken."""

_VALUES: Final = {digit: value for value, digit in enumerate(_DIGITS)}
_LENGTH: Final = 12
_EPOCH: Final = 1_700_000_000_000


def queue_id_of(number: int) -> str:
    """The queue id that stands for this row id."""
    return "".join(
        _DIGITS[number >> shift & 31] for shift in range(5 * (_LENGTH - 1), -1, -5)
    )


@lru_cache(maxsize=4096)
def number_of(queue_id: str) -> int:
    """The row id behind a queue id.

    Raises:
        LookupError: it is no queue id, so there is no such message.
    """
    number = 0
    if len(queue_id) != _LENGTH:
        raise LookupError(queue_id)
    for digit in queue_id.upper():
        if digit not in _VALUES:
            raise LookupError(queue_id)
        number = number << 5 | _VALUES[digit]
    return number


class QueueIds:
    """Names never used before: milliseconds, a count within one, the worker.

    41 bits of time last until 2093. Eleven bits keep the workers of one
    server apart, whose supervisor numbers them; one server at a time has a
    spool. Were a clock ever to be set back, the row's key refuses a second
    message of one name before it is acknowledged.
    """

    def __init__(self, worker: int, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._worker = worker & 0x7FF
        self._last = 0
        self._lock = threading.Lock()

    def next(self) -> str:
        """A fresh queue id, later than all before."""
        with self._lock:
            now = (int(self._clock() * 1000) - _EPOCH) << 8
            self._last = max(now, self._last + 1)
            return queue_id_of(self._last << 11 | self._worker)


def envelope_text(envelope: Envelope) -> str:
    """What of an envelope stands in no column of its own; empty in the usual case."""
    by, submitted_by = envelope.deliver_by, envelope.submitted_by
    found = {
        "body": envelope.body.value if envelope.body is not Body.SEVEN_BIT else None,
        "smtputf8": envelope.smtputf8,
        "ret": envelope.ret and envelope.ret.value,
        "envid": envelope.envid,
        "release_request": envelope.release_request,
        "deliver_by": by and [by.at.timestamp(), by.mode.value, by.trace, by.was_over],
        "priority": envelope.priority,
        "tls": envelope.tls_demand and envelope.tls_demand.value,
        "submitted_by": submitted_by and [_as_text(submitted_by.mailbox)],
    }
    said = {name: value for name, value in found.items() if value}
    return json.dumps(said) if said else ""


def _as_text(mailbox: Mailbox | None) -> str:
    return "" if mailbox is None else str(mailbox)


def _read_mailbox(text: str | None) -> Mailbox | None:
    return parse_mailbox(text) if text else None


def read_envelope(
    text: str,
    *,
    reverse_path: str | None,
    forward_paths: tuple[ForwardPath, ...],
    accepted_at: float,
    release_at: float | None,
) -> Envelope:
    """As `envelope_text` wrote it, or an older version without some of it."""
    found = json.loads(text) if text else {}
    by, submitted_by = found.get("deliver_by"), found.get("submitted_by")
    return Envelope(
        reverse_path=_read_mailbox(reverse_path),
        forward_paths=forward_paths,
        body=Body(found.get("body", Body.SEVEN_BIT.value)),
        smtputf8=found.get("smtputf8", False),
        ret=Ret(found["ret"]) if found.get("ret") else None,
        envid=found.get("envid"),
        accepted_at=read_moment(accepted_at),
        release_at=None if release_at is None else read_moment(release_at),
        release_request=found.get("release_request", ""),
        deliver_by=by and DeliverBy(read_moment(by[0]), ByMode(by[1]), *by[2:]),
        priority=found.get("priority", 0),
        tls_demand=TlsDemand(found["tls"]) if "tls" in found else None,
        submitted_by=submitted_by and SubmittedBy(_read_mailbox(submitted_by[0])),
    )


def wishes_text(path: ForwardPath) -> str:
    """DSN wishes, or nothing, which is the usual case."""
    if path.notify is None and path.orcpt is None:
        return ""
    orcpt = path.orcpt
    return json.dumps(
        {
            "notify": None if path.notify is None else path.notify.value,
            "orcpt": [orcpt.address_type, orcpt.address] if orcpt else None,
        }
    )


def read_forward_path(address: str, wishes: str) -> ForwardPath:
    """As it was written."""
    mailbox = parse_mailbox(address)
    if not wishes:
        return ForwardPath(mailbox)
    found = json.loads(wishes)
    return ForwardPath(
        mailbox,
        None if found["notify"] is None else Notify(found["notify"]),
        OriginalRecipient(*found["orcpt"]) if found["orcpt"] else None,
    )


def read_moment(seconds: float) -> datetime:
    """Seconds since 1970 as an aware moment."""
    return datetime.fromtimestamp(seconds, UTC)


RECIPIENT_COLUMNS: Final = (
    "number, address, wishes, state, attempts, due_at, delay_reported, status, "
    "diagnostic, host, last_attempt_at, interruptions"
)


def read_recipient(row: tuple[Any, ...]) -> Recipient:
    """From `RECIPIENT_COLUMNS`."""
    (
        number,
        address,
        wishes,
        state,
        attempts,
        due_at,
        delay_reported,
        status,
        diagnostic,
        host,
        last_attempt_at,
        interruptions,
    ) = row
    return Recipient(
        number=number,
        forward_path=read_forward_path(address, wishes),
        state=State(state),
        attempts=attempts,
        due_at=read_moment(due_at),
        delay_reported=bool(delay_reported),
        last_status=EnhancedCode.parse(status) if status else None,
        last_diagnostic=diagnostic,
        last_host=host,
        last_attempt_at=None
        if last_attempt_at is None
        else read_moment(last_attempt_at),
        interruptions=interruptions,
    )


MESSAGE_COLUMNS: Final = (
    "queue_id, accepted_at, reverse_path, envelope, submitter, session, eight_bit, "
    "smtputf8, binary, length(header), body_size, release_at"
)


def read_spooled(
    row: tuple[Any, ...],
    claimed: tuple[Recipient, ...],
    forward_paths: tuple[ForwardPath, ...],
) -> Spooled:
    """From `MESSAGE_COLUMNS`, and the recipients' rows."""
    (
        queue_id,
        accepted_at,
        reverse_path,
        envelope,
        submitter,
        session,
        eight_bit,
        smtputf8,
        binary,
        header_size,
        body_size,
        release_at,
    ) = row
    return Spooled(
        queue_id=queue_id,
        envelope=read_envelope(
            envelope,
            reverse_path=reverse_path,
            forward_paths=forward_paths,
            accepted_at=accepted_at,
            release_at=release_at,
        ),
        needs=Needs(
            eight_bit=bool(eight_bit), smtputf8=bool(smtputf8), binary=bool(binary)
        ),
        submitter=submitter,
        session=session,
        header_size=header_size,
        body_size=body_size,
        recipients=claimed,
    )


def fresh_spooled(
    message: NewMessage, body_size: int, body: tuple[bytes, ...] | None
) -> Spooled:
    """A message just committed, as its owner has it."""
    at = message.envelope.sent_from
    return Spooled(
        queue_id=message.queue_id,
        envelope=message.envelope,
        needs=message.needs,
        submitter=message.submitter,
        session=message.session,
        header_size=len(message.header),
        body_size=body_size,
        recipients=()
        if message.waits
        else tuple(
            Recipient(number=number, forward_path=path, due_at=at)
            for number, path in enumerate(message.envelope.forward_paths)
        ),
        header=message.header,
        body=body,
    )
