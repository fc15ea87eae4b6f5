"""The sender's side of the conversation, byte by byte."""

import base64
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from submitd.mail.address import parse_mailbox
from submitd.mail.envelope import (
    Body,
    ForwardPath,
    Notify,
    OriginalRecipient,
    Ret,
)
from submitd.smtp.client import (
    NO_AUTH,
    NO_STARTTLS,
    ClientSession,
    ContentWanted,
    Outgoing,
    Ready,
    Refused,
    Settled,
    StartTls,
    TlsWish,
    Waiting,
)
from submitd.smtp.client_reply import BadReply, ReplyReader
from submitd.smtp.framing import DotReader
from submitd.smtp.reply import MAX_TEXT

FULL = (
    b"250-mx.example\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250 DSN\r\n"
)
PLAIN = b"250 mx.example\r\n"


def outgoing(*to: ForwardPath, **changes: object) -> Outgoing:
    facts: dict[str, object] = {
        "reverse_path": parse_mailbox("a@example.org"),
        "forward_paths": to or (ForwardPath(parse_mailbox("b@example.net")),),
        "size": 42,
        "body": Body.SEVEN_BIT,
        "smtputf8": False,
        "ret": None,
        "envid": None,
    }
    return Outgoing(**(facts | changes))  # type: ignore[arg-type]


def to(*names: str) -> tuple[ForwardPath, ...]:
    return tuple(ForwardPath(parse_mailbox(f"{name}@example.net")) for name in names)


def ready(hello: bytes = FULL) -> ClientSession:
    """A session that takes transactions."""
    session = ClientSession("me.example", tls=TlsWish.NEVER)
    session.receive_data(b"220 hello\r\n")
    assert session.data_to_send() == b"EHLO me.example\r\n"
    session.receive_data(hello)
    assert session.next_event() == Ready()
    assert session.waiting is Waiting.NOTHING
    return session


def codes(event: object) -> list[int]:
    assert isinstance(event, Settled)
    return [verdict.code for verdict in event.verdicts]


@pytest.mark.rfc("2920", "3.1")
def test_a_transaction_is_said_in_one_go_where_the_server_pipelines() -> None:
    session = ready()
    session.begin(outgoing(*to("b", "c")))
    assert session.data_to_send() == (
        b"MAIL FROM:<a@example.org> SIZE=42\r\n"
        b"RCPT TO:<b@example.net>\r\nRCPT TO:<c@example.net>\r\nDATA\r\n"
    )
    session.receive_data(b"250 ok\r\n250 ok\r\n550 5.1.1 no\r\n354 go\r\n")
    assert session.next_event() == ContentWanted((0,))
    session.send_content(b"")
    session.send_content(b"A: b\r\n\r\n.x\r\n")
    assert session.waiting is Waiting.BLOCK
    session.end_content()
    assert session.dot_sent
    assert session.data_to_send() == b"A: b\r\n\r\n..x\r\n.\r\n"
    session.receive_data(b"250 2.0.0 done\r\n")
    assert codes(session.next_event()) == [250, 550]
    assert session.next_event() is None


def test_without_pipelining_each_command_waits_for_its_answer() -> None:
    session = ready(PLAIN)
    session.begin(outgoing())
    said = []
    for answer in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
        said.append(session.data_to_send())
        session.receive_data(answer)
    assert said == [
        b"MAIL FROM:<a@example.org>\r\n",
        b"RCPT TO:<b@example.net>\r\n",
        b"DATA\r\n",
    ]
    assert session.next_event() == ContentWanted((0,))


@pytest.mark.rfc("5321", "4.1.4")
def test_a_refused_mail_ends_the_transaction_and_the_next_resets() -> None:
    session = ready(PLAIN)
    session.begin(outgoing(*to("b", "c")))
    session.data_to_send()
    session.receive_data(b"451 4.3.0 later\r\n")
    assert codes(session.next_event()) == [451, 451]
    session.begin(outgoing())
    assert session.data_to_send() == b"RSET\r\n"
    session.receive_data(b"250 ok\r\n")
    assert session.data_to_send() == b"MAIL FROM:<a@example.org>\r\n"


def test_a_refused_mail_in_a_pipeline_outweighs_what_follows() -> None:
    session = ready()
    session.begin(outgoing())
    session.data_to_send()
    session.receive_data(b"550 5.7.1 not you\r\n503 no\r\n503 no\r\n")
    event = session.next_event()
    assert codes(event) == [550]


def test_nobody_accepted_needs_no_data() -> None:
    session = ready(PLAIN)
    session.begin(outgoing(*to("b", "c")))
    session.receive_data(b"250 ok\r\n")
    session.receive_data(b"550 no\r\n")
    session.receive_data(b"550 no\r\n")
    assert codes(session.next_event()) == [550, 550]
    assert b"DATA" not in session.data_to_send()


@pytest.mark.rfc("2920", "3.1")
def test_content_that_is_wanted_for_nobody_is_a_lone_dot() -> None:
    session = ready()
    session.begin(outgoing())
    session.data_to_send()
    session.receive_data(b"250 ok\r\n550 no\r\n354 go\r\n")
    assert session.next_event() is None
    assert session.data_to_send() == b".\r\n"
    session.receive_data(b"250 whatever\r\n")
    assert codes(session.next_event()) == [550]


def test_a_refused_mail_with_content_wanted_delivers_to_nobody() -> None:
    session = ready()
    session.begin(outgoing())
    session.data_to_send()
    session.receive_data(b"451 no\r\n250 ok\r\n354 go\r\n554 none\r\n")
    assert codes(session.next_event()) == [451]


def test_refused_data_speaks_for_all_who_were_accepted() -> None:
    session = ready()
    session.begin(outgoing(*to("b", "c")))
    session.receive_data(b"250 ok\r\n250 ok\r\n550 no\r\n452 4.3.1 full\r\n")
    assert codes(session.next_event()) == [452, 550]


@pytest.mark.rfc("5321", "4.5.3.1.10")
def test_too_many_recipients_are_for_a_further_transaction() -> None:
    """552 after RCPT is to be read as 452."""
    session = ready()
    session.begin(outgoing(*to("b", "c", "d")))
    session.receive_data(b"250 ok\r\n250 ok\r\n452 many\r\n552 many\r\n354 go\r\n")
    session.next_event()
    session.send_content(b"x")
    session.end_content()
    session.receive_data(b"250 ok\r\n")
    event = session.next_event()
    assert codes(event) == [250, 452, 452]
    assert isinstance(event, Settled)
    assert event.tail_refused == 2


def test_a_host_that_takes_nobody_now_is_not_asked_again_at_once() -> None:
    session = ready()
    session.begin(outgoing(*to("b", "c")))
    session.receive_data(b"250 ok\r\n452 full\r\n452 full\r\n503 nobody\r\n")
    event = session.next_event()
    assert codes(event) == [452, 452]
    assert isinstance(event, Settled)
    assert event.tail_refused == 0


def test_parameters_are_said_to_those_who_offer_them() -> None:
    """RFC 3461 section 4, RFC 6152, RFC 6531."""
    session = ready()
    path = ForwardPath(
        parse_mailbox("b@example.net"),
        Notify.SUCCESS | Notify.FAILURE,
        OriginalRecipient("rfc822", "b+c@x.org"),
    )
    never = ForwardPath(
        parse_mailbox("n@example.net"),
        Notify.NEVER,
        OriginalRecipient("utf-8", "ü@x.org"),
    )
    session.begin(
        outgoing(
            path,
            never,
            body=Body.EIGHT_BIT_MIME,
            smtputf8=True,
            ret=Ret.HEADERS,
            envid="a b",
        )
    )
    said = session.data_to_send().decode()
    assert "BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+20b" in said
    assert "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b+2Bc@x.org" in said
    assert "NOTIFY=NEVER ORCPT=utf-8;" in said


@pytest.mark.rfc("6533", "3")
@pytest.mark.rfc("3461", "5.2.1")
def test_an_original_recipient_is_passed_on_as_it_was_written() -> None:
    """In a form of seven bits, which a server without SMTPUTF8 takes, too."""
    session = ready()
    path = ForwardPath(
        parse_mailbox("b@example.net"), None, OriginalRecipient("UTF-8", "ü+@x.org")
    )
    session.begin(outgoing(path))
    said = session.data_to_send().decode()
    assert r"ORCPT=UTF-8;\x{FC}\x{2B}@x.org" in said


@pytest.mark.rfc("3461", "4.2")
def test_an_original_recipient_that_grew_too_long_is_left_out() -> None:
    session = ready()
    paths = [
        ForwardPath(
            parse_mailbox(f"{count}@example.net"),
            Notify.FAILURE,
            OriginalRecipient("utf-8", "é" * count),
        )
        for count in (82, 83)
    ]
    session.begin(outgoing(*paths))
    said = session.data_to_send().decode()
    assert "ORCPT=utf-8;" + r"\x{E9}" * 82 + "\r\n" in said
    assert "RCPT TO:<83@example.net> NOTIFY=FAILURE\r\n" in said


def test_the_null_reverse_path_is_said_as_such() -> None:
    session = ready(PLAIN)
    session.begin(outgoing(reverse_path=None))
    assert session.data_to_send() == b"MAIL FROM:<>\r\n"


def test_an_old_server_is_met_with_helo() -> None:
    session = ClientSession("me.example", tls=TlsWish.NEVER)
    session.receive_data(b"220 hello\r\n")
    session.data_to_send()
    session.receive_data(b"502 what\r\n")
    assert session.data_to_send() == b"HELO me.example\r\n"
    session.receive_data(b"250 mx\r\n")
    assert session.next_event() == Ready()


@pytest.mark.parametrize(
    "answers",
    [
        [b"554 no service\r\n"],
        [b"220 hi\r\n", b"421 busy\r\n"],
        [b"220 hi\r\n", b"502 no\r\n", b"550 no\r\n"],
    ],
)
def test_a_host_may_refuse_the_session(answers: list[bytes]) -> None:
    session = ClientSession("me.example", tls=TlsWish.NEVER)
    for answer in answers:
        session.receive_data(answer)
    event = session.next_event()
    assert isinstance(event, Refused)
    assert session.is_over


OFFERS_TLS = b"250-mx\r\n250 STARTTLS\r\n"


def before_tls(wish: TlsWish, hello: bytes = OFFERS_TLS) -> ClientSession:
    session = ClientSession("me.example", tls=wish)
    session.receive_data(b"220 hello\r\n")
    session.receive_data(hello)
    session.data_to_send()
    return session


@pytest.mark.rfc("3207", "4.2")
def test_after_starttls_everything_is_said_again() -> None:
    session = before_tls(TlsWish.IF_OFFERED)
    session.receive_data(b"220 go\r\n")
    assert session.next_event() == StartTls()
    session.tls_started()
    assert session.offered == {}
    assert session.data_to_send() == b"EHLO me.example\r\n"
    session.receive_data(b"250 mx\r\n")
    assert session.next_event() == Ready()


def test_ehlo_that_is_refused_under_tls_is_no_reason_for_helo() -> None:
    session = before_tls(TlsWish.ALWAYS)
    session.receive_data(b"220 go\r\n")
    session.tls_started()
    session.receive_data(b"502 no\r\n")
    session.next_event()
    assert isinstance(session.next_event(), Refused)


def test_octets_behind_the_reply_to_starttls_are_an_attack() -> None:
    """CVE-2021-38371 and its family."""
    session = before_tls(TlsWish.IF_OFFERED)
    with pytest.raises(BadReply):
        session.receive_data(b"220 go\r\n250 injected\r\n")


def test_starttls_that_is_refused_is_gone_without_where_policy_allows() -> None:
    session = before_tls(TlsWish.IF_OFFERED)
    session.receive_data(b"454 4.7.0 not now\r\n")
    assert session.next_event() == Ready()


def test_starttls_that_is_refused_ends_it_where_policy_insists() -> None:
    session = before_tls(TlsWish.ALWAYS)
    session.receive_data(b"454 4.7.0 not now\r\n")
    event = session.next_event()
    assert isinstance(event, Refused)
    assert event.reply.code == 454


def test_starttls_that_is_not_offered_is_gone_without_where_policy_allows() -> None:
    assert before_tls(TlsWish.IF_OFFERED, b"250 mx\r\n").next_event() == Ready()


def test_starttls_that_is_not_offered_ends_it_where_policy_insists() -> None:
    session = before_tls(TlsWish.ALWAYS, b"250 mx\r\n")
    assert session.next_event() == Refused(NO_STARTTLS, misconfigured=True)


def logging_in(hello: bytes, *, under_tls: bool = True) -> ClientSession:
    session = ClientSession(
        "me.example",
        tls=TlsWish.NEVER,
        credentials=("user", "secret"),
        under_tls=under_tls,
    )
    session.receive_data(b"220 hello\r\n")
    session.data_to_send()
    session.receive_data(hello)
    return session


@pytest.mark.rfc("4954", "4")
def test_log_in_by_plain() -> None:
    session = logging_in(b"250-mx\r\n250 AUTH LOGIN PLAIN\r\n")
    initial = base64.b64encode(b"\0user\0secret")
    assert session.data_to_send() == b"AUTH PLAIN " + initial + b"\r\n"
    session.receive_data(b"235 ok\r\n")
    assert session.next_event() == Ready()


def test_log_in_by_login() -> None:
    session = logging_in(b"250-mx\r\n250 AUTH LOGIN\r\n")
    assert session.data_to_send() == b"AUTH LOGIN\r\n"
    session.receive_data(b"334 VXNlcm5hbWU6\r\n")
    assert session.data_to_send() == base64.b64encode(b"user") + b"\r\n"
    session.receive_data(b"334 UGFzc3dvcmQ6\r\n")
    assert session.data_to_send() == base64.b64encode(b"secret") + b"\r\n"
    session.receive_data(b"535 5.7.8 no\r\n")
    assert isinstance(session.next_event(), Refused)


@pytest.mark.parametrize("answers", [[b"535 no\r\n"], [b"334 \r\n", b"535 no\r\n"]])
def test_login_may_be_refused_at_each_step(answers: list[bytes]) -> None:
    session = logging_in(b"250-mx\r\n250 AUTH LOGIN\r\n")
    for answer in answers:
        session.receive_data(answer)
    assert isinstance(session.next_event(), Refused)


def test_a_password_is_never_said_in_the_clear() -> None:
    session = logging_in(b"250-mx\r\n250 AUTH PLAIN\r\n", under_tls=False)
    assert session.next_event() == Refused(NO_AUTH, misconfigured=True)
    assert session.data_to_send() == b"QUIT\r\n"


def test_421_ends_the_session_wherever_it_comes() -> None:
    session = ready()
    session.receive_data(b"421 4.4.2 idle too long\r\n")
    assert session.is_over
    session = ready()
    session.begin(outgoing())
    session.receive_data(b"421 4.3.2 going down\r\n250 not read\r\n")
    assert session.is_over


@pytest.mark.rfc("5321", "3.8")
@pytest.mark.parametrize(
    ("answers", "verdicts"),
    [
        (b"421 4.3.2 bye\r\n", [421, 421]),
        (b"250 ok\r\n421 4.3.2 bye\r\n", [421, 421]),
        (b"250 ok\r\n550 no\r\n421 4.3.2 bye\r\n", [550, 421]),
        (b"250 ok\r\n250 ok\r\n250 ok\r\n421 4.3.2 bye\r\n", [421, 421]),
    ],
)
def test_421_within_a_transaction_speaks_for_all_who_are_open(
    answers: bytes, verdicts: list[int]
) -> None:
    session = ready()
    session.begin(outgoing(*to("b", "c")))
    session.receive_data(answers)
    assert codes(session.next_event()) == verdicts
    assert session.is_over


@pytest.mark.parametrize(
    "answers",
    [
        [b"220 hello\r\n", b"250-mx\r\n250 STARTTLS\r\n", b"421 4.3.2 bye\r\n"],
        [b"220 hello\r\n", b"250 mx\r\n421 4.3.2 bye\r\n"],
        [b"220 hello\r\n", b"421 4.3.2 bye\r\n"],
        [b"421 4.3.2 bye\r\n"],
    ],
)
def test_a_host_that_closes_before_the_first_transaction_is_not_ready(
    answers: list[bytes],
) -> None:
    """Else whoever waits would connect again at once, and for ever."""
    session = ClientSession("me.example", tls=TlsWish.IF_OFFERED)
    for answer in answers:
        session.receive_data(answer)
    event = session.next_event()
    assert isinstance(event, Refused)
    assert event.reply.code == 421
    assert session.next_event() is None
    assert session.is_over


@pytest.mark.parametrize(
    ("answer", "verdict"), [(b"552 5.3.4 too big\r\n", 552), (b"250 odd\r\n", 451)]
)
def test_content_that_is_answered_before_its_end_is_not_sent_on(
    answer: bytes, verdict: int
) -> None:
    """No reply could be told from that to the final dot; "yes" is none."""
    session = ready()
    session.begin(outgoing(*to("b", "c")))
    session.receive_data(b"250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n")
    assert session.next_event() == ContentWanted((0,))
    session.send_content(b"A: b\r\n")
    session.receive_data(answer)
    assert codes(session.next_event()) == [verdict, 550]
    assert session.is_over
    assert not session.dot_sent


@pytest.mark.parametrize("odd", [b"250", b"235", b"334"])
def test_nothing_but_354_to_data_lets_content_go_and_nothing_is_a_yes(
    odd: bytes,
) -> None:
    """Else a message that was never sent would count as delivered."""
    session = ready()
    session.begin(outgoing())
    session.receive_data(b"250 ok\r\n250 ok\r\n" + odd + b" what?\r\n")
    assert codes(session.next_event()) == [451]
    assert session.next_event() is None


@pytest.mark.rfc("5321", "4.2.1")
def test_the_first_digit_decides() -> None:
    session = ready()
    session.begin(outgoing(*to("b", "c")))
    session.receive_data(b"259 ok\r\n253 ok\r\n354 what?\r\n354 go\r\n")
    assert session.next_event() == ContentWanted((0,))
    session.end_content()
    session.receive_data(b"250 done\r\n")
    assert codes(session.next_event()) == [250, 354]


def test_quit_is_the_end() -> None:
    session = ready()
    session.quit()
    assert session.data_to_send() == b"QUIT\r\n"
    assert session.waiting is Waiting.QUIT
    session.receive_data(b"221 bye\r\n")
    assert session.is_over


@given(
    content=st.lists(
        st.sampled_from([b".", b"\r\n", b"a", b"..", b"\r", b"\n"]), max_size=30
    ).map(lambda parts: b"".join((*parts, b"\r\n"))),
    cuts=st.sets(st.integers(0, 70)),
)
def test_dots_are_stuffed_however_the_content_is_cut(
    content: bytes, cuts: set[int]
) -> None:
    """RFC 5321 section 4.5.2: what the server reads is what was sent."""
    session = ready()
    session.begin(outgoing())
    session.receive_data(b"250 ok\r\n250 ok\r\n354 go\r\n")
    session.data_to_send()
    edges = sorted({0, len(content)} | {cut for cut in cuts if cut < len(content)})
    for start, end in pairwise(edges):
        session.send_content(content[start:end])
    session.end_content()
    read, rest = DotReader().feed(session.data_to_send())
    assert read == content
    assert rest == b""


def test_content_without_a_last_line_end_gets_one() -> None:
    session = ready()
    session.begin(outgoing())
    session.receive_data(b"250 ok\r\n250 ok\r\n354 go\r\n")
    session.data_to_send()
    session.send_content(b"x")
    session.end_content()
    assert session.data_to_send() == b"x\r\n.\r\n"


# Replies


def replies(octets: bytes) -> list[tuple[int, str, tuple[str, ...]]]:
    reader = ReplyReader()
    reader.feed(octets)
    found = []
    while (reply := reader.next()) is not None:
        found.append((reply.code, str(reply.enhanced or ""), reply.lines))
    return found


@pytest.mark.rfc("5321", "4.2.1")
def test_replies_of_many_lines_are_one() -> None:
    octets = b"250-one\r\n250-two\r\n250 three\r\n220\r\n"
    assert replies(octets) == [(250, "", ("one", "two", "three")), (220, "", ("",))]


@pytest.mark.rfc("2034", "4")
def test_the_enhanced_code_is_taken_off_each_line() -> None:
    octets = b"550-5.1.1 no\r\n550 5.1.1 such user\r\n"
    assert replies(octets) == [(550, "5.1.1", ("no", "such user"))]


def test_an_enhanced_code_of_another_class_is_text() -> None:
    assert replies(b"550 4.1.1 odd\r\n") == [(550, "", ("4.1.1 odd",))]


def test_what_is_unprintable_cannot_break_a_log_or_a_report() -> None:
    ((_, _, lines),) = replies(b"550 a\x1b[31m\xff b\r\n")
    assert lines == ("a [31m\ufffd b",)


def test_a_line_that_is_too_long_for_a_reply_is_cut() -> None:
    ((_, _, lines),) = replies(b"550 " + b"x" * 2000 + b"\r\n")
    assert 0 < len(lines[0]) <= MAX_TEXT


@pytest.mark.parametrize(
    "octets",
    [
        b"nonsense\r\n",
        b"199 too low\r\n",
        b"250-one\r\n550 two\r\n",
        b"250-x\r\n" * 200,
        b"2" * 70_000,
    ],
)
def test_what_is_no_reply_is_not_taken_for_one(octets: bytes) -> None:
    with pytest.raises(BadReply):
        replies(octets)


def test_half_a_reply_is_noticed() -> None:
    reader = ReplyReader()
    assert reader.is_empty
    reader.feed(b"250-one\r\n")
    assert reader.next() is None
    assert not reader.is_empty


# Binary content (RFC 3030)

CHUNKS = b"250-mx.example\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 BINARYMIME\r\n"
CHUNKS_IN_TURN = b"250-mx.example\r\n250-CHUNKING\r\n250 BINARYMIME\r\n"


def binary(*names: str, hello: bytes = CHUNKS) -> ClientSession:
    """A session that has said MAIL and RCPT for binary content."""
    session = ready(hello)
    session.begin(outgoing(*to(*names), body=Body.BINARY_MIME))
    return session


@pytest.mark.rfc("3030", "3")
def test_binary_content_goes_by_bdat_and_is_not_stuffed() -> None:
    session = binary("b", "c")
    assert session.data_to_send() == (
        b"MAIL FROM:<a@example.org> BODY=BINARYMIME\r\n"
        b"RCPT TO:<b@example.net>\r\nRCPT TO:<c@example.net>\r\n"
    )
    session.receive_data(b"250 ok\r\n550 no\r\n")
    assert session.next_event() is None
    session.receive_data(b"250 ok\r\n")
    assert session.next_event() == ContentWanted((1,))
    session.send_content(b"A: b\r\n\r\n")
    assert session.data_to_send() == b""
    session.send_content(b"")
    session.send_content(b".\0\r\n.\r\n")
    assert session.data_to_send() == b"BDAT 8\r\nA: b\r\n\r\n"
    waited = [session.waiting]
    session.end_content()
    assert session.data_to_send() == b"BDAT 7 LAST\r\n.\0\r\n.\r\n"
    assert session.dot_sent
    session.receive_data(b"250 part\r\n")
    assert session.next_event() is None
    waited.append(session.waiting)
    assert waited == [Waiting.BLOCK, Waiting.DOT]
    session.receive_data(b"250 done\r\n")
    assert codes(session.next_event()) == [550, 250]
    session.begin(outgoing())
    assert session.data_to_send().startswith(b"MAIL FROM:<a@example.org>\r\n")


def test_nothing_is_a_last_chunk_too() -> None:
    session = binary("b")
    session.receive_data(b"250 ok\r\n250 ok\r\n")
    session.data_to_send()
    session.end_content()
    assert session.data_to_send() == b"BDAT 0 LAST\r\n"


def test_without_pipelining_chunks_go_in_turn() -> None:
    session = binary("b", hello=CHUNKS_IN_TURN)
    said = []
    for answer in (b"250 ok\r\n", b"250 ok\r\n"):
        said.append(session.data_to_send())
        session.receive_data(answer)
    assert said == [
        b"MAIL FROM:<a@example.org> BODY=BINARYMIME\r\n",
        b"RCPT TO:<b@example.net>\r\n",
    ]
    assert session.next_event() == ContentWanted((0,))
    room = []
    for octets in (b"one", b"two"):
        session.send_content(octets)
        room.append(session.takes_content)
    session.receive_data(b"250 ok\r\n")
    assert [*room, session.takes_content] == [True, False, True]


def test_only_so_many_chunks_are_on_their_way() -> None:
    session = binary("b")
    session.receive_data(b"250 ok\r\n250 ok\r\n")
    sent = 0
    while session.takes_content:
        session.send_content(b"x")
        sent += 1
    assert sent == 5


@pytest.mark.parametrize("hello", [CHUNKS, CHUNKS_IN_TURN])
def test_binary_content_for_nobody_is_not_begun(hello: bytes) -> None:
    session = binary("b", "c", hello=hello)
    session.receive_data(b"250 ok\r\n")
    session.receive_data(b"550 no\r\n")
    session.receive_data(b"452 full\r\n")
    assert codes(session.next_event()) == [550, 452]
    session.begin(outgoing())
    assert session.data_to_send().endswith(b"RSET\r\n") or hello is CHUNKS


def test_a_refused_mail_in_a_pipeline_ends_binary_content() -> None:
    session = binary("b")
    session.receive_data(b"555 what\r\n503 no\r\n")
    assert codes(session.next_event()) == [555]


@pytest.mark.rfc("3030", "2")
def test_a_chunk_that_is_refused_ends_it_and_no_later_yes_counts() -> None:
    """All that was on its way is answered; the first refusal is the reason."""
    session = binary("b", "c")
    session.receive_data(b"250 ok\r\n250 ok\r\n550 no\r\n")
    for octets in (b"one", b"two"):
        session.send_content(octets)
    session.end_content()
    session.receive_data(b"552 5.3.4 too much\r\n")
    assert not session.takes_content
    session.next_event()
    assert session.next_event() is None
    session.receive_data(b"250 what a host\r\n")
    assert codes(session.next_event()) == [552, 550]
    assert not session.is_over
    session.data_to_send()
    session.begin(outgoing())
    assert session.data_to_send().startswith(b"RSET\r\n")


@pytest.mark.parametrize(
    ("answer", "verdict"), [(b"451 4.3.0 no\r\n", 451), (b"354 what\r\n", 451)]
)
def test_a_refusal_before_the_end_closes_the_connection(
    answer: bytes, verdict: int
) -> None:
    """The rest is being fetched, and must not get into another message."""
    session = binary("b")
    session.receive_data(b"250 ok\r\n250 ok\r\n")
    session.next_event()
    for octets in (b"one", b"two", b"three"):
        session.send_content(octets)
    session.receive_data(answer)
    assert session.next_event() is None
    session.receive_data(b"503 no\r\n")
    assert codes(session.next_event()) == [verdict]
    assert session.is_over
    assert not session.dot_sent


@pytest.mark.rfc("5321", "3.8")
def test_421_to_a_recipient_begins_no_chunk() -> None:
    """Whoever took one now could have the message, and we would send it again."""
    session = binary("b", "c")
    session.receive_data(b"250 ok\r\n250 ok\r\n421 bye\r\n")
    assert codes(session.next_event()) == [421, 421]
    assert session.next_event() is None


@pytest.mark.parametrize("answers", [b"421 bye\r\n", b"250 ok\r\n421 bye\r\n"])
def test_421_to_a_chunk_speaks_for_all(answers: bytes) -> None:
    session = binary("b")
    session.receive_data(b"250 ok\r\n250 ok\r\n")
    session.next_event()
    session.send_content(b"one")
    session.send_content(b"two")
    session.send_content(b"three")
    session.receive_data(answers)
    assert codes(session.next_event()) == [421]
    assert session.next_event() is None
    assert session.is_over
