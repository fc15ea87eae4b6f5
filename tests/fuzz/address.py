"""Addresses, paths and their parameters: what is read is written as it was read."""

from submitd.mail.address import BadAddress, parse_domain, parse_mailbox
from submitd.smtp import extension
from submitd.smtp.event import SenderOffered
from submitd.smtp.extension import parameters_of
from submitd.smtp.grammar import read_bdat, read_mail, read_rcpt, split_command
from submitd.smtp.reply import Reply
from submitd.smtp.xtext import (
    decode_utf8_address,
    decode_xtext,
    encode_utf8_address,
    encode_xtext,
)

_KNOWN = parameters_of((*extension.ALWAYS, *extension.OPTIONAL, extension.AUTH))
_HOSTNAME = "submit.example.org"


def one_input(octets: bytes) -> None:
    """Read ``octets`` as everything that a command line can hold."""
    _read_text(octets.decode("utf-8", "replace"))
    command = split_command(octets)
    if command is None:
        return
    _, argument = command
    read_bdat(argument)
    _read_mail(argument)
    _read_rcpt(argument)
    _read_xtext(argument)


def _read_text(text: str) -> None:
    for parse in (parse_domain, parse_mailbox):
        try:
            read = parse(text)
        except BadAddress:
            continue
        assert parse(str(read)) == read
        assert len(str(read).splitlines()) == 1


def _read_mail(argument: bytes) -> None:
    for parameters in (_KNOWN.mail, {}):
        read = read_mail(argument, parameters)
        if isinstance(read, Reply):
            assert read.code >= 500
            continue
        assert (read.envid or "").isprintable()
        again = read_mail(
            f"FROM:<{read.reverse_path or ''}> SMTPUTF8".encode(), _KNOWN.mail
        )
        assert isinstance(again, SenderOffered)
        assert again.reverse_path == read.reverse_path


def _read_rcpt(argument: bytes) -> None:
    for utf8 in (False, True):
        read = read_rcpt(argument, _KNOWN.rcpt, smtputf8=utf8, hostname=_HOSTNAME)
        if isinstance(read, Reply):
            assert read.code >= 500
            continue
        assert utf8 or read.mailbox.is_ascii
        if read.orcpt is not None:
            assert read.orcpt.address.isprintable()
            assert read.orcpt.address_type.isprintable()
        again = read_rcpt(
            f"TO:<{read.mailbox}>".encode(), {}, smtputf8=True, hostname=_HOSTNAME
        )
        assert not isinstance(again, Reply)
        assert again.mailbox == read.mailbox


def _read_xtext(argument: bytes) -> None:
    text = decode_xtext(argument)
    if text is not None:
        assert decode_xtext(encode_xtext(text)) == text
    for raw in (False, True):
        address = decode_utf8_address(argument, raw=raw)
        if address is not None:
            written = encode_utf8_address(address)
            assert decode_utf8_address(written, raw=False) == address
