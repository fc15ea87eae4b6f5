"""Command lines → what they say, or the reply that refuses them.

Source: RFC 5321 section 4.1, with RFC 6531 section 3.3. Every function here
takes time in proportion to the length of its argument.
"""

import re
from collections.abc import Mapping
from typing import Final

from submitd.mail.address import BadAddress, Mailbox, parse_domain, parse_mailbox
from submitd.mail.envelope import ForwardPath
from submitd.smtp import reply
from submitd.smtp.event import SenderOffered
from submitd.smtp.extension import (
    MailParameters,
    MailReader,
    RcptParameters,
    RcptReader,
    read_parameters,
)
from submitd.smtp.reply import Reply

_QUOTING_PATH: Final = re.compile(rb'<((?:[^"<>]|"(?:[^"\\]|\\.)*+")*+)>')
_PRINTABLE: Final = bytes(octet for octet in range(256) if octet > 31 and octet != 127)
_MAX_HELLO: Final = 255
_MAX_CHUNK_DIGITS: Final = 18
"""Below 2**63, whatever the digits are."""


def split_command(line: bytes) -> tuple[bytes, bytes] | None:
    """The verb in capitals, and its argument; None: control octets within.

    Spaces at the end are let pass (RFC 5321 section 4.1.1), as are further
    ones between verb and argument.
    """
    line = line.rstrip(b" \t")
    if line.translate(None, _PRINTABLE):
        return None
    verb, _, argument = line.partition(b" ")
    return verb.upper(), argument.lstrip(b" ")


def read_hello(argument: bytes) -> str | None:
    """The client's name for itself, as printable ASCII; None: not acceptable.

    What clients send is seldom a domain that is theirs, and no rule depends
    on it, so nearly any word will do (RFC 5321 section 4.1.4).
    """
    if not argument or b" " in argument or len(argument) > _MAX_HELLO:
        return None
    return argument.decode("ascii", "replace").replace("\ufffd", "?")


def read_mail(
    argument: bytes, readers: Mapping[bytes, MailReader]
) -> SenderOffered | Reply:
    """``FROM:<reverse-path> parameters`` (RFC 5321 section 4.1.1.2)."""
    if argument[:5].upper() != b"FROM:":
        return reply.MAIL_SYNTAX
    parts = _split_path(argument[5:])
    if parts is None:
        return reply.SENDER_BRACKETS
    path, words = parts
    parameters = MailParameters()
    if words:
        refusal = read_parameters(words, readers, parameters)
        if refusal is not None:
            return refusal
    reverse_path = None
    if path:
        if not (parameters.smtputf8 or path.isascii()):
            return reply.NOT_ASCII_SENDER
        try:
            reverse_path = _mailbox(path)
        except BadAddress as problem:
            return reply.bad_sender(str(problem))
    by = parameters.deliver_by
    if by and parameters.release_at and parameters.release_at > by.at:
        return reply.RELEASE_AFTER_DELIVERY  # RFC 4865 section 5.2.2
    return SenderOffered(
        reverse_path,
        parameters.body,
        parameters.smtputf8,
        parameters.size,
        parameters.ret,
        parameters.envid,
        parameters.release_at,
        parameters.release_request,
        parameters.deliver_by,
        parameters.priority,
        parameters.tls_demand,
        parameters.submitted_by,
    )


def read_rcpt(
    argument: bytes,
    readers: Mapping[bytes, RcptReader],
    *,
    smtputf8: bool,
    hostname: str,
) -> ForwardPath | Reply:
    """``TO:<forward-path> parameters`` (RFC 5321 section 4.1.1.3).

    ``hostname`` is the domain of ``<Postmaster>``, which needs none.
    """
    if argument[:3].upper() != b"TO:":
        return reply.RCPT_SYNTAX
    parts = _split_path(argument[3:])
    if parts is None:
        return reply.RECIPIENT_BRACKETS
    path, words = parts
    if not path:
        return reply.NO_NULL_RECIPIENT
    parameters = RcptParameters(smtputf8)
    if words:
        refusal = read_parameters(words, readers, parameters)
        if refusal is not None:
            return refusal
    if not (smtputf8 or path.isascii()):
        return reply.NOT_ASCII_RECIPIENT
    if path.lower() == b"postmaster":
        path = b"%b@%b" % (path, hostname.encode("ascii"))
    try:
        mailbox = _mailbox(path)
    except BadAddress as problem:
        return reply.bad_recipient(str(problem))
    return ForwardPath(mailbox, parameters.notify, parameters.orcpt)


def _split_path(argument: bytes) -> tuple[bytes, bytes] | None:
    """What stands between the angle brackets, and what behind them."""
    # Clients that put a space in front are many, and mean well.
    argument = argument.lstrip(b" ")
    if b'"' in argument:
        found = _QUOTING_PATH.match(argument)
        if found is None:
            return None
        path, rest = found[1], argument[found.end() :]
    else:
        before, bracket, rest = argument.partition(b">")
        if not (bracket and before.startswith(b"<")):
            return None
        path = before[1:]
    return None if rest and not rest.startswith(b" ") else (path, rest)


def _mailbox(path: bytes) -> Mailbox:
    """The mailbox of a path; a source route is read and dropped.

    Raises:
        BadAddress: it holds none (RFC 5321 section 4.1.2 and appendix C).
    """
    try:
        text = path.decode()
    except UnicodeDecodeError as problem:
        raise BadAddress("not UTF-8") from problem
    if text.startswith("@"):
        route, _, text = text.partition(":")
        for hop in route.split(","):
            if not hop.startswith("@"):
                raise BadAddress("not a source route")
            parse_domain(hop[1:])
    return parse_mailbox(text)


def read_bdat(argument: bytes) -> tuple[int, bool] | Reply:
    """``chunk-size [LAST]`` (RFC 3030 section 2).

    A refusal means that nobody knows where the next command begins.
    """
    size, _, last = argument.partition(b" ")
    if not size.isdigit() or last.upper() not in (b"", b"LAST"):
        return reply.BAD_CHUNK
    if len(size.lstrip(b"0")) > _MAX_CHUNK_DIGITS:
        return reply.HUGE_CHUNK
    return int(size), bool(last)
