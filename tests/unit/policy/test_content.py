"""Whose name a message carries; hostile From fields must not get past."""

import encodings

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from submitd.auth.submitter import Exactly, Permission, Submitter, WholeDomain
from submitd.mail.address import Mailbox, parse_mailbox
from submitd.mail.message import HeaderSection
from submitd.policy.content import (
    CONTENT_OK,
    MOST_AUTHORS,
    Authors,
    UnreadableAddresses,
    check_content,
    read_authors,
    read_mailboxes,
)
from submitd.smtp.reply import Reply

ALICE = parse_mailbox("alice@example.org")
BOB = parse_mailbox("bob@example.org")
WHO = Submitter("alice", (Permission(Exactly(ALICE), "own", "here"),))


def verdict(*lines: bytes, smtputf8: bool = False) -> Reply:
    """What becomes of a message of alice's with these header lines."""
    section = HeaderSection.parse(b"".join(line + b"\r\n" for line in lines))
    authors = read_authors(section, smtputf8=smtputf8)
    if isinstance(authors, Reply):
        return authors
    return check_content(WHO, authors, utf8=smtputf8)


@pytest.mark.rfc("5322", "3.4")
@pytest.mark.parametrize(
    "line",
    [
        b"From: alice@example.org",
        b"From:alice@EXAMPLE.org",
        b"From: <alice@example.org>",
        b"From: Alice <alice@example.org>",
        b"From: Alice Q. Public <alice@example.org>",
        b'From: "Public, Alice \\"Q\\"" <alice@example.org>',
        b"From: \tAlice\r\n\t<alice@example.org>",
        b"From:\r\n alice@example.org",
        b"From : alice@example.org",
        b"FROM: (a) Alice (b) <alice@example.org> (c)",
        b"From: alice@example.org (Alice (who (else)))",
        b"From: (\\) still a comment) alice@example.org",
        b"From: =?utf-8?q?bob=40example=2Eorg?= <alice@example.org>",
        b'From: "bob@example.org" <alice@example.org>',
        b'From: "<bob@example.org>," <alice@example.org>',
        b"From: (bob@example.org,) alice@example.org",
        b'From: "alice"@example.org',
        b'From: <"al\\ice"@example.org>',
        b"From: alice@example.org, Alice <alice@example.org>",
    ],
)
def test_the_submitters_own_mailbox_is_accepted_however_it_is_written(
    line: bytes,
) -> None:
    assert verdict(line) == CONTENT_OK


@pytest.mark.parametrize(
    "line",
    [
        b"From: bob@example.org",
        b"From: alice@example.org, bob@example.org",
        b"From: alice@example.org,\r\n bob@example.org",
        b'From: "alice@example.org" <bob@example.org>',
        b"From: =?us-ascii?q?alice=40example.org?= <bob@example.org>",
        b"From: (alice@example.org) bob@example.org",
        b"From: bob@example.org (alice@example.org)",
        b"From: (\\) <alice@example.org> ) bob@example.org",
        b'From: "alice bob"@example.org',
        b'From: "alice@example.org"@example.net',
        b"From: <alice@example.org.example.net>",
        b"From: alice@[192.0.2.1]",
        # Cyrillic a: another name, also where it comes in A-labels.
        b"From: alice@xn--exmple-4nf.org",
    ],
)
def test_any_mailbox_of_somebody_else_is_refused(line: bytes) -> None:
    reply = verdict(line)

    assert reply.code == 550
    assert str(reply.enhanced) == "5.7.1"
    assert "is not yours to send from" in reply.text


def test_the_refusal_names_the_mailbox_that_is_not_theirs() -> None:
    reply = verdict(b"From: alice@example.org, bob@example.org")

    assert reply.lines[0] == "<bob@example.org> is not yours to send from."


@pytest.mark.rfc("5322", "3.6.2")
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"From:", "no mailbox in it"),
        (b"From: ()", "no mailbox in it"),
        (b"From: Alice", "no mailbox in it"),
        (b"From: friends: alice@example.org;", "group"),
        (b"From: :;", "group"),
        (b"From: <@example.net:alice@example.org>", "source route"),
        (b"From: <@example.net,@example.com:alice@example.org>", "source route"),
        (b"From: <>", "no mailbox between < and >"),
        (b"From: Alice <", "no mailbox between < and >"),
        (b"From: < alice@example.org>", "no mailbox between < and >"),
        (b"From: <(x)alice@example.org>", "no mailbox between < and >"),
        (b"From: <alice>", "no mailbox between < and >"),
        (b"From: <alice @example.org>", "no mailbox between < and >"),
        (b"From: <alice@example.org", "a > is missing"),
        (b"From: <alice@example.org (x)>", "a > is missing"),
        (b"From: <alice@example.org,bob@example.org>", "a > is missing"),
        (b"From: alice @example.org", "white space around an @"),
        (b"From: alice(x)@example.org", "white space around an @"),
        (b"From: alice@ example.org", 'unexpected " "'),
        (b"From: alice@(x)example.org", 'unexpected "("'),
        (b"From: alice@", "ends too early"),
        (b"From: alice@[192.0.2.1", "literal"),
        (b"From: alice@[192.0.2.1 ]", "literal"),
        (b"From: @example.org", 'unexpected "@"'),
        (b"From: al ice@example.org", 'unexpected "@"'),
        (b'From: al."ice"@example.org', 'unexpected "@"'),
        (b"From: alice@example.org <bob@example.org>", 'unexpected "<"'),
        (b"From: <alice@example.org> <bob@example.org>", 'unexpected "<"'),
        (b"From: alice@example.org bob@example.org", 'unexpected "b"'),
        (b"From: alice@example.org;bob@example.org", 'unexpected ";"'),
        (b"From: ,alice@example.org", 'unexpected ","'),
        (b"From: alice@example.org,", "no mailbox in it"),
        (b"From: alice@example.org,,bob@example.org", 'unexpected ","'),
        (b"From: alice@@example.org", 'unexpected "@"'),
        (b"From: alice@example.org@example.net", 'unexpected "@"'),
        (b"From: ali\\ce@example.org", 'unexpected "\\"'),
        (b"From: alice@example..org", "not a domain name"),
        (b"From: .alice@example.org", "not a mailbox"),
        (b"From: =?us-ascii?q?alice@example.org?=", "not a domain name"),
        (b"From: (alice@example.org", "a comment does not end"),
        (b"From: alice@example.org (\\", "a comment does not end"),
        (b'From: "alice@example.org', "a quoted string does not end"),
        (b'From: "alice\\', "a quoted string does not end"),
        (b"From: alice\0@example.org", "control"),
        (b"From: alice@example.org\0", "control"),
        (b"From: alice\x7f@example.org", "control"),
        (b"From: zo\xc3\xab@example.org", "not ASCII, and SMTPUTF8"),
        (b"From: Zo\xc3\xab <alice@example.org>", "not ASCII, and SMTPUTF8"),
        (b"From: =?utf-8?b?Ym9iQGV4YW1wbGUub3JnAA==?= <alice@example.org>", "hides"),
        (b"From: =?utf-8?q?bob=40example.org=0A?= <alice@example.org>", "hides"),
        (b"From: =?utf-8?q?bob=E2=80=AE?= <alice@example.org>", "hides"),
        (b'From: "=?utf-8?q?bob=00?\\="@example.org', "hides"),
        (b'From: "=?utf-8?q?bob=\\00?=" <alice@example.org>', "hides"),
        (b"From: =?no-such?q?bob?= <alice@example.org>", "malformed encoded word"),
        (b"From: =?punycode?q?bob?= <alice@example.org>", "malformed encoded word"),
        (b"From: =?zlib?q?bob?= <alice@example.org>", "malformed encoded word"),
        (b"From: " + b"alice@example.org," * 51 + b"x", "too many"),
        (b"From: alice@\texample.org", 'unexpected "U+0009"'),
    ],
)
def test_what_programs_read_differently_is_refused_with_the_reason(
    line: bytes, reason: str
) -> None:
    reply = verdict(line)

    assert reply.code == 550
    assert str(reply.enhanced) == "5.6.0"
    assert "From field cannot be read" in reply.text
    assert reason in reply.text


@pytest.mark.parametrize(
    "charset",
    ["UTF-8", "us-ascii", "ISO-8859-15", "windows-1252", "koi8-u", "iso-2022-jp"],
)
def test_charsets_in_use_are_known(charset: str) -> None:
    """RFC 2047 section 3."""
    line = f"From: =?{charset}?q?bob?= <alice@example.org>".encode()

    assert verdict(line) == CONTENT_OK


def test_no_name_of_a_charset_is_kept() -> None:
    """Python remembers for ever what it was asked for: a megabyte in five messages."""
    name = b"no-such-" + b"x" * 1000
    verdict(b"From: =?" + name + b"?q?bob?= <alice@example.org>")

    remembered: dict[str, object] = encodings._cache
    assert not any(one.startswith("no_such_") for one in remembered)
    assert not any(one.startswith("no-such-") for one in remembered)


@pytest.mark.rfc("6532", "3.2")
def test_with_smtputf8_names_may_be_in_utf8() -> None:
    assert (
        verdict("From: Zoë <alice@example.org>".encode(), smtputf8=True) == CONTENT_OK
    )


@pytest.mark.rfc("5890", "2.3.2.1")
def test_one_domain_in_u_labels_and_in_a_labels_is_one() -> None:
    author = parse_mailbox("alice@bücher.example")
    who = Submitter("alice", (Permission(Exactly(author), "own", "here"),))
    (read,) = read_mailboxes(b"alice@XN--Bcher-KVA.example", smtputf8=False)

    assert check_content(who, Authors((read,), None)) == CONTENT_OK


@pytest.mark.rfc("5890", "2.3.2.1")
def test_a_look_alike_domain_is_another_domain() -> None:
    """Cyrillic letters that look like Latin ones."""
    reply = verdict("From: alice@\u0435\u0445ample.org".encode(), smtputf8=True)

    assert str(reply.enhanced) == "5.7.1"
    assert "xn--" in reply.lines[0]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"From: Zo\xeb <alice@example.org>", "not UTF-8"),
        ("From: Ali\u200bce <alice@example.org>".encode(), "invisible"),
        ("From: \u202ealice@example.org".encode(), "invisible"),
        ("From: alice@example.org\u2028bob@example.org".encode(), "invisible"),
        ("From: <alice@example.org> ü".encode(), 'unexpected "U+00FC"'),
    ],
)
def test_with_smtputf8_what_deceives_the_eye_is_refused(
    value: bytes, reason: str
) -> None:
    reply = verdict(value, smtputf8=True)

    assert str(reply.enhanced) == "5.6.0"
    assert reason in reply.text


@pytest.mark.rfc("5322", "3.6")
@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((b"Subject: x",), "no From field"),
        (
            (b"From: alice@example.org", b"From: bob@example.org"),
            "more than one From field",
        ),
        (
            (b"From: alice@example.org", b"FROM : alice@example.org"),
            "more than one From field",
        ),
        (
            (
                b"From: alice@example.org",
                b"Sender: alice@example.org",
                b"sender: alice@example.org",
            ),
            "more than one Sender field",
        ),
        (
            (
                b"From: alice@example.org",
                b"Sender: alice@example.org, alice@example.org",
            ),
            "Sender field must name exactly one mailbox",
        ),
        (
            (b"From: alice@example.org", b"Sender: alice"),
            "The Sender field cannot be read: there is no mailbox in it",
        ),
    ],
)
def test_fields_that_are_missing_or_too_many_are_refused(
    lines: tuple[bytes, ...], said: str
) -> None:
    reply = verdict(*lines)

    assert reply.code == 550
    assert said in reply.text


@pytest.mark.rfc("5322", "3.6.2")
def test_the_sender_field_must_be_the_submitters_too() -> None:
    own, foreign = b"Sender: alice@example.org", b"Sender: bob@example.org"

    assert verdict(b"From: alice@example.org", own) == CONTENT_OK
    assert verdict(b"From: alice@example.org", foreign).lines[0] == (
        "<bob@example.org> is not yours to send from."
    )


def test_all_authors_and_the_sender_are_spoken_for() -> None:
    assert Authors((ALICE, BOB), None).all == (ALICE, BOB)
    assert Authors((ALICE,), BOB).all == (ALICE, BOB)


def test_a_list_of_authors_without_end_is_refused() -> None:
    most = b", ".join([b"alice@example.org"] * MOST_AUTHORS)

    assert len(read_mailboxes(most, smtputf8=False)) == MOST_AUTHORS
    with pytest.raises(UnreadableAddresses, match="too many"):
        read_mailboxes(most + b", alice@example.org", smtputf8=False)


def test_deep_comments_are_counted_and_not_recursed_into() -> None:
    deep = b"(" * 100_000 + b")" * 100_000

    assert read_mailboxes(deep + b"alice@example.org", smtputf8=False) == (ALICE,)


PIECES = st.sampled_from(
    [
        b"alice",
        b"alice@example.org",
        b"<bob@example.org>",
        b"@example.org",
        b"[IPv6:2001:db8::1]",
        b"[",
        b"]",
        b'"',
        b"\\",
        b"(",
        b")",
        b"<",
        b">",
        b",",
        b";",
        b":",
        b".",
        b" ",
        b"\t",
        b"\0",
        b"=?utf-8?q?=40?=",
        "ü".encode(),
        b"xn--",
        b"xn--a",
    ]
)


@given(
    st.one_of(st.binary(max_size=60), st.lists(PIECES, max_size=12).map(b"".join)),
    st.booleans(),
)
@example(b"", False)
@example(b"a@xn--\xcc\x80", True)
def test_any_octets_are_mailboxes_or_unreadable(value: bytes, smtputf8: bool) -> None:
    said = ""
    mailboxes: tuple[Mailbox, ...] = ()
    try:
        mailboxes = read_mailboxes(value, smtputf8=smtputf8)
    except UnreadableAddresses as problem:
        said = str(problem)
    # One or the other; and the client is to hear it.
    assert bool(said) is not bool(mailboxes)
    assert said.isascii()
    assert said.isprintable()
    for mailbox in mailboxes:
        assert parse_mailbox(str(mailbox)) == mailbox


@pytest.mark.parametrize(
    "line",
    [
        b"From: =?utf-8?b?Ym9iQGV4YW1wbGUub3Jn?=@example.org",
        b'From: "bob@example.org "@example.org',
        b'From: "alice+ <bob@example.org>"@example.org',
    ],
)
def test_what_a_broad_grant_covers_must_not_look_like_another_address(
    line: bytes,
) -> None:
    section = HeaderSection.parse(line + b"\r\n")
    authors = read_authors(section, smtputf8=False)
    assert isinstance(authors, Authors)
    everybody = Submitter(
        "alice", (Permission(WholeDomain("example.org"), "all", "here"),)
    )
    reply = check_content(everybody, authors)
    assert str(reply.enhanced) == "5.6.0"
    exact = Submitter("alice", (Permission(Exactly(authors.authors[0]), "own", "x"),))
    assert check_content(exact, authors) == CONTENT_OK


@pytest.mark.rfc("5322", "3.6.6")
@pytest.mark.parametrize("name", [b"Resent-From", b"Resent-Sender"])
def test_nobody_is_said_to_have_resent_it_but_the_submitter(name: bytes) -> None:
    own = b"From: alice@example.org"
    assert verdict(own, name + b": alice@example.org") == CONTENT_OK
    refusal = verdict(own, name + b": alice@example.org", name + b": bob@example.org")
    assert str(refusal.enhanced) == "5.7.1"
    assert "<bob@example.org> is not yours" in refusal.text
    unreadable = verdict(own, name + b": bob@example.org;")
    assert str(unreadable.enhanced) == "5.6.0"
    assert name.decode() in unreadable.text
