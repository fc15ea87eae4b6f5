"""SMTP extensions: EHLO keywords, and the parameters they bring along."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import Final, TypeVar

from attrs import define, field, frozen

from submitd.mail.address import BadAddress, parse_mailbox
from submitd.mail.envelope import (
    Body,
    ByMode,
    DeliverBy,
    Notify,
    OriginalRecipient,
    Ret,
    SubmittedBy,
    TlsDemand,
)
from submitd.smtp import reply
from submitd.smtp.reply import Reply
from submitd.smtp.xtext import decode_utf8_address, decode_xtext

_ATOM: Final = re.compile(rb"[!#-'*+/-9=?A-Z^-~-]++")
_MAX_ENVID: Final = 100
_MAX_ORCPT: Final = 500


@define
class MailParameters:
    """What the parameters of one MAIL command say."""

    body: Body = Body.SEVEN_BIT
    smtputf8: bool = False
    size: int | None = None
    ret: Ret | None = None
    envid: str | None = None
    release_at: datetime | None = None
    release_request: str = ""
    deliver_by: DeliverBy | None = None
    priority: int = 0
    tls_demand: TlsDemand | None = None
    submitted_by: SubmittedBy | None = None


@define
class RcptParameters:
    """What the parameters of one RCPT command say."""

    smtputf8: bool
    """Of the transaction: UTF-8 may stand in a value."""

    notify: Notify | None = None
    orcpt: OriginalRecipient | None = None


MailReader = Callable[[MailParameters, bytes | None], Reply | None]
RcptReader = Callable[[RcptParameters, bytes | None], Reply | None]
"""Puts a value (None: there was no ``=``) in its place, or refuses it."""


@frozen(eq=False)
class Extension:
    """One SMTP extension."""

    keyword: str
    """As EHLO lists it."""

    mail: Mapping[bytes, MailReader] = field(factory=dict)
    rcpt: Mapping[bytes, RcptReader] = field(factory=dict)
    says: Callable[[], str] | None = None
    """What EHLO lists behind the keyword now. None: nothing."""

    needs_tls: bool = False
    """It is offered under TLS only."""


@frozen(eq=False)
class Parameters:
    """The parameters that a session knows, by name in capitals."""

    mail: Mapping[bytes, MailReader]
    rcpt: Mapping[bytes, RcptReader]


@cache
def parameters_of(extensions: tuple[Extension, ...]) -> Parameters:
    """All parameters that ``extensions`` bring."""
    mail: dict[bytes, MailReader] = {}
    rcpt: dict[bytes, RcptReader] = {}
    for extension in extensions:
        mail |= extension.mail
        rcpt |= extension.rcpt
    return Parameters(mail, rcpt)


@lru_cache(maxsize=256)
def hello(hostname: str, keywords: tuple[str, ...]) -> Reply:
    """The answer to EHLO. Few are needed at any time, and each many times."""
    return Reply(250, None, (hostname, *keywords))


_Into = TypeVar("_Into", MailParameters, RcptParameters)


def read_parameters(
    words: bytes,
    readers: Mapping[bytes, Callable[[_Into, bytes | None], Reply | None]],
    into: _Into,
) -> Reply | None:
    """Put what the parameters in ``words`` say into ``into``, or refuse one."""
    seen: set[bytes] = set()
    for word in words.split():
        name, equals, value = word.partition(b"=")
        name = name.upper()
        reader = readers.get(name)
        if reader is None:
            return reply.UNKNOWN_PARAMETER
        if name in seen:
            # RFC 6710 section 4.1 asks for a code of its own.
            is_priority = name == b"MT-PRIORITY"
            return reply.REPEATED_PRIORITY if is_priority else reply.REPEATED_PARAMETER
        seen.add(name)
        refusal = reader(into, value if equals else None)
        if refusal is not None:
            return refusal
    return None


def _size(parameters: MailParameters, value: bytes | None) -> Reply | None:
    if value is None or not value.isdigit() or len(value) > 20:
        return reply.BAD_PARAMETER
    parameters.size = int(value)
    return None


_BODIES: Final = {b"7BIT": Body.SEVEN_BIT, b"8BITMIME": Body.EIGHT_BIT_MIME}


def _body(parameters: MailParameters, value: bytes | None) -> Reply | None:
    body = _BODIES.get((value or b"").upper())
    if body is None:
        # BINARYMIME is a good word, but was not offered (RFC 3030).
        is_known = value is not None and value.upper() == b"BINARYMIME"
        return reply.UNKNOWN_PARAMETER if is_known else reply.BAD_PARAMETER
    parameters.body = body
    return None


def _binary_body(parameters: MailParameters, value: bytes | None) -> Reply | None:
    if value is not None and value.upper() == b"BINARYMIME":
        parameters.body = Body.BINARY_MIME
        return None
    return _body(parameters, value)


def _smtputf8(parameters: MailParameters, value: bytes | None) -> Reply | None:
    if value is not None:
        return reply.BAD_PARAMETER
    parameters.smtputf8 = True
    return None


_RETS: Final = {b"FULL": Ret.FULL, b"HDRS": Ret.HEADERS}


def _ret(parameters: MailParameters, value: bytes | None) -> Reply | None:
    parameters.ret = _RETS.get((value or b"").upper())
    return reply.BAD_PARAMETER if parameters.ret is None else None


def _envid(parameters: MailParameters, value: bytes | None) -> Reply | None:
    parameters.envid = decode_xtext(value or b"")
    # As it is sent, for so it is passed on (RFC 3461 section 4.4).
    is_short = len(value or b"") <= _MAX_ENVID
    return None if parameters.envid and is_short else reply.BAD_PARAMETER


def _auth(parameters: MailParameters, value: bytes | None) -> Reply | None:
    """Who first submitted the message, says the client (RFC 4954 section 5)."""
    mailbox = None
    if value != b"<>":
        try:
            mailbox = parse_mailbox(decode_xtext(value or b"") or "")
        except BadAddress:
            return reply.BAD_PARAMETER
    parameters.submitted_by = SubmittedBy(mailbox)
    return None


_EVENTS: Final = {
    b"SUCCESS": Notify.SUCCESS,
    b"FAILURE": Notify.FAILURE,
    b"DELAY": Notify.DELAY,
}


def _notify(parameters: RcptParameters, value: bytes | None) -> Reply | None:
    wishes = (value or b"").upper()
    notify = Notify.NEVER
    if wishes != b"NEVER":
        for wish in wishes.split(b","):
            event = _EVENTS.get(wish)
            if event is None:
                return reply.BAD_PARAMETER
            notify |= event
    parameters.notify = notify
    return None


def _orcpt(parameters: RcptParameters, value: bytes | None) -> Reply | None:
    kind, _, encoded = (value or b"").partition(b";")
    address_type = kind.decode("ascii", "replace")
    if address_type.lower() == "utf-8":
        address = decode_utf8_address(encoded, raw=parameters.smtputf8)
    else:
        address = decode_xtext(encoded)
    if not (address and _ATOM.fullmatch(kind) and len(value or b"") <= _MAX_ORCPT):
        return reply.BAD_PARAMETER
    parameters.orcpt = OriginalRecipient(address_type, address)
    return None


SIZE: Final = Extension("SIZE", mail={b"SIZE": _size})
EIGHT_BIT_MIME: Final = Extension("8BITMIME", mail={b"BODY": _body})
SMTPUTF8: Final = Extension("SMTPUTF8", mail={b"SMTPUTF8": _smtputf8})
ENHANCED_STATUS_CODES: Final = Extension("ENHANCEDSTATUSCODES")
PIPELINING: Final = Extension("PIPELINING")
DSN: Final = Extension(
    "DSN",
    mail={b"RET": _ret, b"ENVID": _envid},
    rcpt={b"NOTIFY": _notify, b"ORCPT": _orcpt},
)
CHUNKING: Final = Extension("CHUNKING")
BINARY_MIME: Final = Extension("BINARYMIME", mail={b"BODY": _binary_body})
"""Behind `EIGHT_BIT_MIME`, whose parameter it widens. Needs `CHUNKING`."""

STARTTLS: Final = Extension("STARTTLS")
AUTH: Final = Extension("AUTH", mail={b"AUTH": _auth})
LIMITS: Final = Extension("LIMITS")


def _requiretls(parameters: MailParameters, value: bytes | None) -> Reply | None:
    if value is not None:
        return reply.BAD_PARAMETER
    parameters.tls_demand = TlsDemand.REQUIRED
    return None


REQUIRETLS: Final = Extension(
    "REQUIRETLS", mail={b"REQUIRETLS": _requiretls}, needs_tls=True
)
"""To be offered only by a server whose delivery keeps the promise (RFC 8689)."""

Now = Callable[[], datetime]
"""The moment: aware, UTC."""

_MOST_SECONDS: Final = 999_999_999
_SECONDS: Final = re.compile(rb"[1-9][0-9]{0,8}")
_MOMENT: Final = re.compile(
    rb"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
    rb"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def future_release(most: timedelta, now: Now) -> Extension:
    """FUTURERELEASE: at most ``most`` from now; parts of a second do not count.

    Source: RFC 4865. ``most`` is a minute at least.
    """
    longest = min(int(most.total_seconds()), _MOST_SECONDS)

    def latest() -> datetime:
        # To the minute: the answer to EHLO stays the same for so long.
        moment = now() + timedelta(seconds=longest)
        return moment.replace(second=0, microsecond=0)

    def hold(parameters: MailParameters, at: datetime, request: str) -> Reply | None:
        if parameters.release_at is not None:
            return reply.REPEATED_HOLD
        parameters.release_at, parameters.release_request = at, request
        return None

    def hold_for(parameters: MailParameters, value: bytes | None) -> Reply | None:
        if value is None or not _SECONDS.fullmatch(value):
            return reply.BAD_PARAMETER
        if (seconds := int(value)) > longest:
            return reply.HOLD_TOO_LONG
        at = now() + timedelta(seconds=seconds)
        return hold(parameters, at, f"for;{seconds}")

    def hold_until(parameters: MailParameters, value: bytes | None) -> Reply | None:
        at = _moment(value or b"")
        # A moment that is over is invalid (section 4.2, item 8).
        if value is None or at is None or at <= now():
            return reply.BAD_PARAMETER
        if at > latest():
            return reply.HOLD_TOO_LONG
        return hold(parameters, at, f"until;{value.decode('ascii')}")

    return Extension(
        "FUTURERELEASE",
        mail={b"HOLDFOR": hold_for, b"HOLDUNTIL": hold_until},
        says=lambda: f"{longest} {latest():%Y-%m-%dT%H:%M:%SZ}",
    )


def _moment(value: bytes) -> datetime | None:
    """A moment of RFC 3339; None: not one."""
    if not _MOMENT.fullmatch(value):
        return None
    try:
        return datetime.fromisoformat(value.decode("ascii").upper()).astimezone(UTC)
    except (ValueError, OverflowError):  # a 30th of February; a second 60
        return None


_BY: Final = re.compile(rb"([+-]?[0-9]{1,9});([NR])(T?)", re.IGNORECASE)


def deliver_by(least: timedelta, now: Now) -> Extension:
    """DELIVERBY: mode R is taken from ``least`` on (RFC 2852)."""
    shortest = int(least.total_seconds())

    def by(parameters: MailParameters, value: bytes | None) -> Reply | None:
        found = _BY.fullmatch(value or b"")
        if found is None:
            return reply.BAD_PARAMETER
        seconds = int(found[1])
        mode = ByMode(found[2].decode("ascii").upper())
        if mode is ByMode.RETURN:
            if seconds <= 0:
                return reply.BAD_PARAMETER
            if seconds < shortest:
                return reply.TOO_SOON
        at = now() + timedelta(seconds=seconds)
        parameters.deliver_by = DeliverBy(at, mode, bool(found[3]), seconds <= 0)
        return None

    return Extension("DELIVERBY", mail={b"BY": by}, says=lambda: str(shortest))


_PRIORITY: Final = re.compile(rb"-?[1-9]|0")


def _priority(parameters: MailParameters, value: bytes | None) -> Reply | None:
    if value is None or not _PRIORITY.fullmatch(value):
        return reply.BAD_PRIORITY
    parameters.priority = int(value)
    return None


MT_PRIORITY: Final = Extension("MT-PRIORITY", mail={b"MT-PRIORITY": _priority})
"""RFC 6710. How far a priority may be raised is the desk's to say."""


ALWAYS: Final = (SIZE, EIGHT_BIT_MIME, ENHANCED_STATUS_CODES, PIPELINING)
OPTIONAL: Final = (SMTPUTF8, DSN, CHUNKING, BINARY_MIME)
"""What an operator may leave out."""
