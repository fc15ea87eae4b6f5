"""What is written can be read back, and what cannot be read raises nothing."""

from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from submitd.mail.address import (
    BadAddress,
    Mailbox,
    parse_domain,
    parse_mailbox,
)
from submitd.mail.envelope import ForwardPath, Notify, OriginalRecipient
from submitd.mail.status import EnhancedCode
from submitd.smtp import extension
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
from submitd.smtp.xtext import (
    decode_utf8_address,
    decode_xtext,
    encode_utf8_address,
    encode_xtext,
)
from submitd.spool.rows import read_forward_path, wishes_text

KNOWN: Final = parameters_of((*extension.ALWAYS, *extension.OPTIONAL, extension.AUTH))

LOCAL_PARTS: Final = st.text(
    st.characters(
        min_codepoint=0x20,
        exclude_categories=("Cc", "Cs", "Zl", "Zp"),
    ),
    max_size=20,
)
LABELS: Final = st.from_regex(
    r"[a-z]([a-z0-9_-]{0,10}[a-z0-9])?", fullmatch=True
).filter(lambda label: label[2:4] != "--")
DOMAINS: Final = st.one_of(
    st.lists(LABELS, min_size=1, max_size=4).map(".".join),
    st.ip_addresses(v=4).map(lambda address: f"[{address}]"),
    st.ip_addresses(v=6).map(lambda address: f"[IPv6:{address}]"),
)
MAILBOXES: Final = st.builds(Mailbox, LOCAL_PARTS, DOMAINS)
PRINTABLE: Final = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=30
)
NOTIFY: Final = st.sampled_from(
    [Notify.NEVER, Notify.SUCCESS, Notify.FAILURE | Notify.DELAY, ~Notify.NEVER]
)


@given(MAILBOXES)
def test_a_mailbox_is_read_as_it_was_written(mailbox: Mailbox) -> None:
    assert parse_mailbox(str(mailbox)) == mailbox


@given(MAILBOXES)
def test_a_key_is_a_key_s_key(mailbox: Mailbox) -> None:
    """Comparing must not depend on which of two equals is asked."""
    local_part, domain = mailbox.key

    assert Mailbox(local_part, domain).key == mailbox.key


@given(st.text(max_size=40) | st.text('a.@[]"\\<> \x00é', max_size=12))
def test_no_text_raises_anything_but_that_it_is_bad(text: str) -> None:
    for parse in (parse_domain, parse_mailbox):
        try:
            parsed = parse(text)
        except BadAddress:
            continue
        assert parse(str(parsed)) == parsed


@given(MAILBOXES, st.none() | st.integers(0, 10**20 - 1), st.none() | PRINTABLE)
def test_a_reverse_path_is_read_as_it_was_written(
    mailbox: Mailbox, size: int | None, envid: str | None
) -> None:
    parameters = b" SMTPUTF8"
    if size is not None:
        parameters += b" SIZE=%d" % size
    if envid is not None:
        parameters += b" ENVID=" + encode_xtext(envid)

    offered = read_mail(f"FROM:<{mailbox}>".encode() + parameters, KNOWN.mail)

    assert isinstance(offered, SenderOffered)
    assert offered.reverse_path == mailbox
    assert offered.declared_size == size
    assert offered.envid == envid


@given(MAILBOXES, st.none() | NOTIFY, st.none() | PRINTABLE)
def test_a_forward_path_is_read_as_it_was_written(
    mailbox: Mailbox, notify: Notify | None, original: str | None
) -> None:
    parameters = b""
    if notify is not None:
        words = ",".join(str(one.name) for one in notify) or "NEVER"
        parameters += b" NOTIFY=" + words.encode()
    orcpt = None if original is None else OriginalRecipient("rfc822", original)
    if orcpt is not None:
        parameters += b" ORCPT=rfc822;" + encode_xtext(orcpt.address)

    read = read_rcpt(
        f"TO:<{mailbox}>".encode() + parameters,
        KNOWN.rcpt,
        smtputf8=True,
        hostname="submit.example.org",
    )

    assert read == ForwardPath(mailbox, notify, orcpt)


@given(st.integers(0, 10**18 - 1), st.booleans())
def test_a_chunk_s_size_is_read_as_it_was_written(size: int, is_last: bool) -> None:
    argument = f"{size}{' LAST' if is_last else ''}".encode()

    assert read_bdat(argument) == (size, is_last)


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1))
def test_a_client_s_name_is_read_as_it_was_written(name: str) -> None:
    assert read_hello(name.encode()) == (name if len(name) <= 255 else None)


@given(DOMAINS)
def test_a_domain_is_read_as_it_was_written(domain: str) -> None:
    assert parse_domain(domain) == domain


@given(MAILBOXES, st.none() | NOTIFY, st.none() | PRINTABLE)
def test_a_forward_path_comes_out_of_the_spool_as_it_went_in(
    mailbox: Mailbox, notify: Notify | None, original: str | None
) -> None:
    orcpt = None if original is None else OriginalRecipient("rfc822", original)
    path = ForwardPath(mailbox, notify, orcpt)

    assert read_forward_path(str(mailbox), wishes_text(path)) == path


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda some: b"<" + some))
def test_no_argument_raises(argument: bytes) -> None:
    split_command(argument)
    read_bdat(argument)
    read_mail(b"FROM:" + argument, KNOWN.mail)
    read_rcpt(
        b"TO:" + argument, KNOWN.rcpt, smtputf8=True, hostname="submit.example.org"
    )


@given(PRINTABLE)
def test_xtext_is_read_as_it_was_written(text: str) -> None:
    assert decode_xtext(encode_xtext(text)) == text


@given(st.text(min_size=1).filter(str.isprintable))
def test_an_internationalized_address_is_read_as_it_was_written(text: str) -> None:
    assert decode_utf8_address(encode_utf8_address(text), raw=False) == text


@given(st.sampled_from([2, 4, 5]), st.integers(0, 999), st.integers(0, 999))
def test_a_status_code_is_read_as_it_was_written(
    severity: int, subject: int, detail: int
) -> None:
    code = EnhancedCode(severity, subject, detail)

    assert EnhancedCode.parse(str(code)) == code


@given(st.lists(st.text(max_size=40), min_size=1, max_size=4))
def test_a_reply_is_as_many_lines_as_it_has(lines: list[str]) -> None:
    try:
        octets = Reply(250, None, lines).encode()
    except ValueError:
        assert not all(line.isprintable() for line in lines)
    else:
        assert octets.count(b"\n") == octets.count(b"\r\n") == len(lines)
