from typing import Final

import pytest

from submitd.mail.address import Mailbox
from submitd.mail.envelope import Body, ForwardPath, Notify, OriginalRecipient, Ret
from submitd.smtp import extension, reply
from submitd.smtp.event import SenderOffered
from submitd.smtp.extension import parameters_of
from submitd.smtp.grammar import (
    read_bdat,
    read_hello,
    read_mail,
    read_rcpt,
    split_command,
)
from submitd.smtp.reply import Reply

KNOWN: Final = parameters_of((*extension.ALWAYS, *extension.OPTIONAL, extension.AUTH))
HOSTNAME: Final = "submit.example.org"


def _rcpt(argument: bytes, *, smtputf8: bool = False) -> ForwardPath | Reply:
    return read_rcpt(argument, KNOWN.rcpt, smtputf8=smtputf8, hostname=HOSTNAME)


@pytest.mark.rfc("5321", "4.1.1")
@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"NOOP", (b"NOOP", b"")),
        (b"noop  x y ", (b"NOOP", b"x y")),
        (b"NOOP\t", (b"NOOP", b"")),
        (b"", (b"", b"")),
        (b" NOOP", (b"", b"NOOP")),
        (b"NOOP \xff", (b"NOOP", b"\xff")),
    ],
)
def test_a_line_is_a_verb_and_an_argument(
    line: bytes, command: tuple[bytes, bytes]
) -> None:
    assert split_command(line) == command


@pytest.mark.parametrize("octet", [b"\0", b"\t", b"\x1b", b"\x7f", b"\x0b"])
def test_a_line_with_control_octets_is_no_command(octet: bytes) -> None:
    assert split_command(b"NOOP " + octet + b"x") is None


@pytest.mark.rfc("5321", "4.1.1.1")
@pytest.mark.parametrize(
    ("argument", "name"),
    [
        (b"client.example.org", "client.example.org"),
        (b"[192.0.2.1]", "[192.0.2.1]"),
        (b"my_laptop", "my_laptop"),
        (b"B\xc3\xbcro", "B??ro"),
        (b"x" * 255, "x" * 255),
    ],
)
def test_a_client_may_call_itself_any_word(argument: bytes, name: str) -> None:
    """What is kept of it is printable ASCII: it may be shown in a field."""
    assert read_hello(argument) == name


@pytest.mark.parametrize("argument", [b"", b"two words", b"x" * 256])
def test_a_client_must_call_itself_one_word(argument: bytes) -> None:
    assert read_hello(argument) is None


@pytest.mark.rfc("5321", "4.1.1.2")
def test_mail_is_read_with_all_that_it_says() -> None:
    offered = read_mail(
        "from:<ålice@example.org> SIZE=7 BODY=8BITMIME SMTPUTF8 RET=FULL "
        "ENVID=x+2B1".encode(),
        KNOWN.mail,
    )

    assert offered == SenderOffered(
        reverse_path=Mailbox("ålice", "example.org"),
        body=Body.EIGHT_BIT_MIME,
        smtputf8=True,
        declared_size=7,
        ret=Ret.FULL,
        envid="x+1",
    )


@pytest.mark.rfc("5321", "4.1.1.2")
def test_mail_that_says_little_means_the_plainest() -> None:
    assert read_mail(b"FROM:<>", KNOWN.mail) == SenderOffered(
        reverse_path=None,
        body=Body.SEVEN_BIT,
        smtputf8=False,
        declared_size=None,
        ret=None,
        envid=None,
    )


@pytest.mark.rfc("5321", "4.1.1.3")
def test_rcpt_is_read_with_all_that_it_says() -> None:
    forward_path = _rcpt(
        b'to: <@a.example:"b>ob"@example.net>  NOTIFY=NEVER ORCPT=rfc822;x@example.net'
    )

    assert forward_path == ForwardPath(
        Mailbox("b>ob", "example.net"),
        Notify.NEVER,
        OriginalRecipient("rfc822", "x@example.net"),
    )


@pytest.mark.rfc("5321", "4.1.1.3")
def test_postmaster_without_a_domain_is_this_host_s() -> None:
    assert _rcpt(b"TO:<PostMaster>") == ForwardPath(Mailbox("PostMaster", HOSTNAME))


@pytest.mark.rfc("5321", "4.1.2")
@pytest.mark.parametrize(
    "argument",
    [
        b"TO:",
        b"TO:bob@example.net",
        b"TO:<bob@example.net",
        b"TO:<bob@example.net>x",
        b'TO:<"bob@example.net>',
        b'TO:"<bob@example.net>"',
        b'TO:<"a\\"@example.net>',
        b'TO:<"a"@example.net>x',
    ],
)
def test_a_path_stands_in_angle_brackets(argument: bytes) -> None:
    assert _rcpt(argument) is reply.RECIPIENT_BRACKETS


def test_a_path_of_nothing_but_quotes_takes_no_longer_than_another() -> None:
    """A pattern that tries everything twice would hold up all other sessions."""
    for argument in (b'TO:<"' + b'\\"' * 2000, b"TO:<" + b'"a"' * 1300):
        assert _rcpt(argument) is reply.RECIPIENT_BRACKETS


@pytest.mark.rfc("3030", "2")
@pytest.mark.parametrize(
    ("argument", "chunk"),
    [
        (b"0", (0, False)),
        (b"86 LAST", (86, True)),
        (b"0 last", (0, True)),
        (b"007", (7, False)),
        (b"0" * 30 + b"1", (1, False)),
        (b"999999999999999999", (999999999999999999, False)),
        (b"1000000000000000000", reply.HUGE_CHUNK),
        (b"99999999999999999999999 LAST", reply.HUGE_CHUNK),
        (b"", reply.BAD_CHUNK),
        (b"LAST", reply.BAD_CHUNK),
        (b"-1", reply.BAD_CHUNK),
        (b"1.5", reply.BAD_CHUNK),
        (b"0x10", reply.BAD_CHUNK),
        (b"10 FIRST", reply.BAD_CHUNK),
        (b"10 LAST LAST", reply.BAD_CHUNK),
        ("\u0661".encode(), reply.BAD_CHUNK),
    ],
)
def test_a_chunk_has_a_size_and_may_be_the_last(
    argument: bytes, chunk: tuple[int, bool] | Reply
) -> None:
    assert read_bdat(argument) == chunk
