"""SMTP extensions: EHLO keywords, and the parameters they bring along."""

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Final, TypeVar

from attrs import define, field, frozen

from submitd.mail.address import BadAddress, parse_mailbox
from submitd.mail.envelope import Body, Notify, OriginalRecipient, Ret
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


@cache
def hello(hostname: str, keywords: tuple[str, ...]) -> Reply:
    """The answer to EHLO. Few are ever needed, and each many times."""
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
            return reply.REPEATED_PARAMETER
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
    parameters.envid = envid = decode_xtext(value or b"")
    return None if envid and len(envid) <= _MAX_ENVID else reply.BAD_PARAMETER


def _auth(_: MailParameters, value: bytes | None) -> Reply | None:
    """Who first submitted the message, says the client.

    Checked and dropped: we are where messages are first submitted, so what
    another host claims of that is not passed on (RFC 4954 section 5).
    """
    if value == b"<>":
        return None
    try:
        parse_mailbox(decode_xtext(value or b"") or "")
    except BadAddress:
        return reply.BAD_PARAMETER
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
    address_type = kind.decode("ascii", "replace").lower()
    if address_type == "utf-8":
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

ALWAYS: Final = (SIZE, EIGHT_BIT_MIME, ENHANCED_STATUS_CODES, PIPELINING)
OPTIONAL: Final = (SMTPUTF8, DSN, CHUNKING, BINARY_MIME)
"""What an operator may leave out."""
