"""Questions, answers, and the order of replies."""

from typing import Final

import pytest

from submitd.mail.address import Mailbox, parse_mailbox
from submitd.mail.envelope import Body, ForwardPath, Notify
from submitd.mail.status import EnhancedCode
from submitd.sasl.plain import Plain
from submitd.smtp.conversation import ProtocolMisuse
from submitd.smtp.event import (
    ContentArrived,
    ContentEnded,
    ContentOffered,
    Event,
    KeysFound,
    KeysWanted,
    LogInEnded,
    PasswordOffered,
    ProofOffered,
    RecipientOffered,
    SenderOffered,
    TlsWanted,
    TransactionAborted,
)
from submitd.smtp.reply import Reply
from submitd.smtp.server import Phase, ServerSession, SessionLimits, TlsManner
from tests.support.mechanisms import PENCIL, named_all
from tests.support.session_peer import SessionPeer, make_session

LIMITS: Final = SessionLimits()
OK: Final = Reply(250, EnhancedCode(2, 0, 0), "Ok")
NO: Final = Reply(550, EnhancedCode(5, 7, 1), "No")
SEND_IT: Final = Reply(354, None, "Send it")
LOGGED_IN: Final = Reply(235, EnhancedCode(2, 7, 0), "Logged in")
CANNOT_TELL: Final = Reply(454, EnhancedCode(4, 7, 0), "Cannot tell")
CLOSING: Final = Reply(421, EnhancedCode(4, 3, 2), "Closing")
ALICE: Final = parse_mailbox("alice@example.org")
BOB: Final = ForwardPath(parse_mailbox("bob@example.net"))


def _sender(reverse_path: Mailbox | None = ALICE) -> SenderOffered:
    return SenderOffered(reverse_path, Body.SEVEN_BIT, False, None, None, None)


def _session() -> ServerSession:
    """A session with a trusted client that has said EHLO."""
    session = ServerSession("submit.example.org", TlsManner.NONE, LIMITS)
    session.greet()
    _next(session, b"EHLO satellite\r\n", None)
    session.data_to_send()
    return session


def _next(session: ServerSession, octets: bytes, expected: Event | None) -> None:
    session.receive_data(octets)
    assert session.next_event() == expected


def _in_transaction() -> ServerSession:
    """The same, with MAIL and RCPT answered."""
    session = _session()
    _next(session, b"MAIL FROM:<alice@example.org>\r\n", _sender())
    session.answer(OK)
    _next(session, b"RCPT TO:<bob@example.net>\r\n", RecipientOffered(BOB))
    session.answer(OK)
    session.data_to_send()
    return session


def _in_content() -> ServerSession:
    """The same, with DATA answered."""
    session = _in_transaction()
    _next(session, b"DATA\r\n", ContentOffered(_sender(), (BOB,)))
    session.answer(SEND_IT)
    assert session.next_event() is None
    session.data_to_send()
    return session


@pytest.mark.rfc("2920", "3.2")
def test_a_command_behind_an_open_question_waits_for_its_answer() -> None:
    """Or one slow look-up would answer the wrong command."""
    session = _session()
    _next(session, b"MAIL FROM:<alice@example.org>\r\nNOOP\r\n", _sender())
    assert session.data_to_send() == b""
    assert session.unread == len(b"NOOP\r\n")

    session.answer(OK)

    assert session.next_event() is None
    assert session.data_to_send() == b"250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n"


def test_nothing_is_parsed_before_it_is_asked_for() -> None:
    session = _session()
    session.receive_data(b"NOOP\r\n")

    assert session.data_to_send() == b""


@pytest.mark.rfc("5321", "3.3")
def test_a_small_message_is_five_events() -> None:
    session = _in_transaction()
    _next(session, b"DATA\r\n", ContentOffered(_sender(), (BOB,)))
    session.answer(SEND_IT)
    assert session.next_event() is None
    assert session.in_data
    _next(session, b"..Hi\r\n.\r\n", ContentArrived(b".Hi\r\n"))
    session.answer(None)
    assert session.next_event() == ContentEnded()
    before = session.in_transaction
    session.answer(OK)

    assert session.next_event() is None
    assert (before, session.in_transaction) == (True, False)
    assert session.data_to_send() == b"354 Send it\r\n250 2.0.0 Ok\r\n"


def test_content_is_handed_on_as_it_comes() -> None:
    """Or the memory that a message takes would have no bound."""
    session = _in_content()
    block = b"x" * 76 + b"\r\n"

    _next(session, block * 1000, ContentArrived(block * 999 + block[:-2]))
    session.answer(None)
    assert session.next_event() is None
    assert session.unread == 0


def test_what_a_recipient_wishes_goes_with_the_question() -> None:
    session = _session()
    _next(session, b"MAIL FROM:<alice@example.org>\r\n", _sender())
    session.answer(OK)

    wishes = ForwardPath(BOB.mailbox, Notify.NEVER)
    _next(
        session,
        b"RCPT TO:<bob@example.net> NOTIFY=NEVER\r\n",
        RecipientOffered(wishes),
    )


def test_a_recipient_given_twice_is_offered_and_passed_on_once() -> None:
    session = _in_transaction()

    _next(session, b"RCPT TO:<bob@EXAMPLE.net>\r\n", None)
    _next(session, b"DATA\r\n", ContentOffered(_sender(), (BOB,)))


def test_a_recipient_that_was_refused_is_not_passed_on() -> None:
    session = _in_transaction()
    carol = ForwardPath(parse_mailbox("carol@example.net"))
    _next(session, b"RCPT TO:<carol@example.net>\r\n", RecipientOffered(carol))
    session.answer(NO)

    _next(session, b"DATA\r\n", ContentOffered(_sender(), (BOB,)))


# Every transaction that was begun ends, with a message or without.


@pytest.mark.parametrize(
    "command",
    [b"RSET\r\n", b"EHLO again\r\n", b"HELO again\r\n", b"QUIT\r\n"],
)
def test_a_command_that_ends_a_transaction_says_so_once(command: bytes) -> None:
    session = _in_transaction()

    _next(session, command, TransactionAborted())
    session.answer(None)

    assert session.next_event() is None
    session.connection_lost()
    assert session.next_event() is None


def test_commands_outside_a_transaction_abort_none() -> None:
    session = _session()

    _next(session, b"RSET\r\nEHLO again\r\nQUIT\r\n", None)


def test_a_refused_sender_leaves_nothing_to_abort() -> None:
    session = _session()
    _next(session, b"MAIL FROM:<alice@example.org>\r\n", _sender())
    session.answer(NO)

    _next(session, b"QUIT\r\n", None)


def test_content_refused_before_it_comes_ends_the_transaction() -> None:
    session = _in_transaction()
    _next(session, b"DATA\r\n", ContentOffered(_sender(), (BOB,)))
    session.answer(NO)

    assert session.next_event() == TransactionAborted()


def test_content_refused_in_the_end_ends_the_transaction() -> None:
    session = _in_content()
    _next(session, b".\r\n", ContentEnded())
    session.answer(NO)

    assert session.next_event() == TransactionAborted()


def test_a_broken_line_end_ends_the_transaction_before_the_dot() -> None:
    """What was stored can go at once; the client hears it after the dot."""
    session = _in_content()
    _next(session, b"a\nb\r\n", TransactionAborted())
    session.answer(None)
    assert session.next_event() is None
    before = session.in_transaction
    assert session.data_to_send() == b""

    _next(session, b".\r\n", None)
    assert (before, session.in_transaction) == (True, False)
    assert session.data_to_send().startswith(b"550 5.6.0 ")


@pytest.mark.rfc("3030", "2")
def test_a_chunk_may_come_only_after_a_yes_and_hears_nothing_before_it_has() -> None:
    session = _in_transaction()
    _next(session, b"BDAT 4\r\nHi\r", ContentOffered(_sender(), (BOB,)))
    session.answer(SEND_IT)
    assert session.next_event() == ContentArrived(b"Hi")
    session.answer(None)
    assert session.next_event() is None
    assert session.data_to_send() == b""

    _next(session, b"\nBDAT 0 LAST\r\n", ContentArrived(b"\r\n"))
    session.answer(None)
    assert session.data_to_send() == b"250 2.0.0 Chunk received\r\n"
    assert session.next_event() == ContentEnded()


@pytest.mark.rfc("3030", "2")
def test_a_refused_chunk_ends_the_transaction_at_once() -> None:
    session = _in_transaction()
    _next(session, b"BDAT 4\r\n", ContentOffered(_sender(), (BOB,)))
    session.answer(NO)

    assert session.next_event() == TransactionAborted()
    session.answer(None)
    assert session.next_event() is None
    assert session.data_to_send() == b""
    _next(session, b"Hi\r\n", None)
    assert session.data_to_send() == b"550 5.7.1 No\r\n"


# The client leaves, or is made to.


def test_a_client_that_leaves_ends_its_transaction() -> None:
    session = _in_content()
    session.connection_lost()

    assert session.next_event() == TransactionAborted()
    session.answer(None)
    assert session.next_event() is None
    assert session.data_to_send() == b""


def test_a_client_that_leaves_before_its_answer_still_has_one_transaction() -> None:
    """MAIL was under way when the connection broke; the answer opens it."""
    session = _session()
    _next(session, b"MAIL FROM:<alice@example.org>\r\n", _sender())
    session.connection_lost()
    session.answer(OK)

    assert session.next_event() == TransactionAborted()


@pytest.mark.rfc("5321", "3.8")
def test_a_message_stored_while_its_client_leaves_is_not_aborted() -> None:
    """It was accepted; that nobody heard it makes at worst a second copy."""
    session = _in_content()
    _next(session, b".\r\n", ContentEnded())
    session.connection_lost()
    session.answer(OK)

    assert session.next_event() is None


def test_a_message_not_yet_offered_when_its_client_leaves_is_dropped() -> None:
    session = _in_content()
    _next(session, b"Hi\r\n.\r\n", ContentArrived(b"Hi\r\n"))
    session.connection_lost()
    session.answer(None)

    assert session.next_event() == TransactionAborted()


@pytest.mark.rfc("5321", "3.8")
def test_an_interrupted_client_hears_421_and_nothing_after_it() -> None:
    session = _in_content()
    session.receive_data(b"Hi\r\n.\r\nNOOP\r\n")
    session.interrupt(CLOSING)

    assert session.is_closing
    assert session.next_event() == TransactionAborted()
    session.answer(None)
    session.receive_data(b"NOOP\r\n")
    assert session.next_event() is None
    assert session.data_to_send() == b"421 4.3.2 Closing\r\n"


def test_an_interruption_waits_for_no_answer() -> None:
    session = _in_content()
    _next(session, b".\r\n", ContentEnded())
    session.interrupt(CLOSING)
    session.answer(OK)

    assert session.next_event() is None
    assert session.data_to_send() == b"421 4.3.2 Closing\r\n"


@pytest.mark.rfc("5321", "3.1")
def test_a_client_can_be_turned_away_at_the_door() -> None:
    session = ServerSession("submit.example.org", TlsManner.NONE, LIMITS)
    session.refuse(CLOSING)
    session.receive_data(b"NOOP\r\n")

    assert session.next_event() is None
    assert session.is_closing
    assert session.data_to_send() == b"421 4.3.2 Closing\r\n"


@pytest.mark.parametrize("octets", [b".\r\n", b"\r\n"])
def test_421_in_answer_to_any_question_closes(octets: bytes) -> None:
    session = _in_content() if octets == b".\r\n" else _session()
    session.receive_data(octets if session.in_data else b"MAIL FROM:<>\r\n")
    session.next_event()
    was_in_transaction = session.in_transaction
    session.answer(CLOSING)

    assert session.is_closing
    expected = TransactionAborted() if was_in_transaction else None
    assert session.next_event() == expected


# TLS and logging in.


@pytest.mark.rfc("3207", "4.2")
def test_tls_makes_the_session_forget_the_client() -> None:
    session = ServerSession(
        "submit.example.org", TlsManner.STARTTLS, LIMITS, mechanisms=(Plain(),)
    )
    session.greet()
    _next(session, b"EHLO client\r\nSTARTTLS\r\n", TlsWanted())
    assert (session.client_name, session.esmtp, session.tls) == ("client", True, False)
    assert session.data_to_send().endswith(b"220 2.0.0 Ready to start TLS\r\n")

    session.answer(None)

    assert (session.client_name, session.esmtp, session.tls) == ("", False, True)


@pytest.mark.rfc("3207", "6")
def test_octets_that_slip_in_before_tls_close_the_session() -> None:
    """They came in the clear, though after the 220 was asked for."""
    session = ServerSession("submit.example.org", TlsManner.STARTTLS, LIMITS)
    _next(session, b"STARTTLS\r\n", TlsWanted())
    session.receive_data(b"NOOP\r\n")
    session.data_to_send()
    session.answer(None)

    assert session.is_closing
    assert session.next_event() is None
    assert session.data_to_send() == (
        b"503 5.5.1 Nothing may follow STARTTLS before TLS\r\n"
        b"421 4.5.0 Cannot go on after this, closing\r\n"
    )


def _logging_in() -> ServerSession:
    session = ServerSession(
        "submit.example.org", TlsManner.IMPLICIT, LIMITS, mechanisms=(Plain(),)
    )
    _next(session, b"EHLO client\r\n", None)
    session.data_to_send()
    return session


@pytest.mark.rfc("4954", "4")
def test_a_log_in_is_true_once_it_is_answered_so() -> None:
    session = _logging_in()
    _next(session, b"AUTH PLAIN\r\n", None)
    phases = [session.phase]
    offered = PasswordOffered("PLAIN", "alice", "", "secret")
    _next(session, b"AGFsaWNlAHNlY3JldA==\r\n", offered)
    before = session.authenticated

    session.answer(LOGGED_IN)

    assert (before, session.authenticated) == (False, True)
    assert [*phases, session.phase] == [Phase.LOG_IN, Phase.COMMAND]


@pytest.mark.rfc("4513", "5.1.2")
def test_a_log_in_without_a_password_is_nobody_s_question() -> None:
    """A directory would take it for a log-in as nobody, and say yes."""
    session = _logging_in()

    _next(session, b"AUTH PLAIN AGFsaWNlAA==\r\n", None)
    assert session.data_to_send().startswith(b"535 5.7.8 ")


def test_a_log_in_that_is_refused_for_good_counts_whatever_its_code() -> None:
    session = _logging_in()
    too_weak = Reply(534, EnhancedCode(5, 7, 9), "Too weak")
    for _ in range(3):
        session.receive_data(b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n")
        session.next_event()
        session.answer(too_weak)

    assert session.is_closing


def test_log_ins_and_errors_may_be_without_limit() -> None:
    session = ServerSession(
        "submit.example.org",
        TlsManner.IMPLICIT,
        SessionLimits(
            message_size=None, recipients=None, bad_commands=None, failed_log_ins=None
        ),
        mechanisms=(Plain(),),
    )
    for _ in range(50):
        session.receive_data(b"EHLO client\r\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n")
        session.next_event()
        session.answer(Reply(535, EnhancedCode(5, 7, 8), "No"))
    assert not session.is_closing


# UTF-8 in replies.


@pytest.mark.rfc("6531", "3.7.4.2")
def test_a_client_that_did_not_ask_for_utf8_is_not_sent_it() -> None:
    session = _session()
    _next(session, b"MAIL FROM:<alice@example.org>\r\n", _sender())
    session.answer(Reply(553, EnhancedCode(5, 7, 1), "Not yours; ask Jörg"))

    assert session.data_to_send() == b"553 5.7.1 Not yours; ask J?rg\r\n"


@pytest.mark.rfc("6531", "3.7.4.2")
def test_a_client_that_asked_for_utf8_is_sent_it() -> None:
    """In answer to the MAIL that says SMTPUTF8 already."""
    session = _session()
    session.receive_data("MAIL FROM:<jörg@example.org> SMTPUTF8\r\n".encode())
    session.next_event()
    assert session.smtputf8
    session.answer(Reply(553, EnhancedCode(5, 7, 1), "Not yours; ask Jörg"))

    assert session.data_to_send() == "553 5.7.1 Not yours; ask Jörg\r\n".encode()


# Misuse is a bug, and not let pass.


def test_an_open_question_must_be_answered_before_the_next() -> None:
    session = _session()
    _next(session, b"MAIL FROM:<alice@example.org>\r\nNOOP\r\n", _sender())

    with pytest.raises(ProtocolMisuse):
        session.next_event()


def test_there_is_no_answer_without_a_question() -> None:
    with pytest.raises(ProtocolMisuse):
        _session().answer(OK)


@pytest.mark.parametrize(
    ("octets", "wrong"),
    [
        (b"MAIL FROM:<>\r\n", None),
        (b"MAIL FROM:<>\r\n", SEND_IT),
        (b"MAIL FROM:<>\r\n", LOGGED_IN),
    ],
)
def test_a_question_wants_its_own_kind_of_yes(
    octets: bytes, wrong: Reply | None
) -> None:
    session = _session()
    session.receive_data(octets)
    session.next_event()

    with pytest.raises(ProtocolMisuse):
        session.answer(wrong)
    session.answer(OK)


def test_content_is_let_in_with_354_alone() -> None:
    """250 there would let the client wait for a go-ahead for ever."""
    session = _in_transaction()
    _next(session, b"DATA\r\n", ContentOffered(_sender(), (BOB,)))

    with pytest.raises(ProtocolMisuse):
        session.answer(OK)


def test_news_wants_no_reply() -> None:
    session = _in_transaction()
    _next(session, b"RSET\r\n", TransactionAborted())

    with pytest.raises(ProtocolMisuse):
        session.answer(OK)


@pytest.mark.parametrize(
    "limits",
    [{"recipients": 0}, {"message_size": -1}, {"bad_commands": 0}, {"line": 511}],
)
def test_limits_that_would_stop_all_mail_are_refused(limits: dict[str, int]) -> None:
    """RFC 5321 section 4.5.3.1.4: a line of 512 octets must be taken."""
    with pytest.raises(ValueError, match=r"at least|>= 512"):
        SessionLimits(**limits)


# Log-ins that ask


def _asking() -> ServerSession:
    session = ServerSession(
        "submit.example.org",
        TlsManner.IMPLICIT,
        LIMITS,
        mechanisms=named_all("SCRAM-SHA-256, OAUTHBEARER"),
    )
    _next(session, b"EHLO client\r\n", None)
    session.receive_data(b"AUTH SCRAM-SHA-256 biwsbj11c2VyLHI9YWJj\r\n")
    assert session.next_event() == KeysWanted("SCRAM-SHA-256", "user")
    session.data_to_send()
    return session


def test_keys_answer_the_question_for_keys_alone() -> None:
    session = _asking()
    for wrong in (None, LOGGED_IN):
        with pytest.raises(ProtocolMisuse):
            session.answer(wrong)
    session.answer(KeysFound(PENCIL))
    with pytest.raises(ProtocolMisuse):
        session.answer(KeysFound(PENCIL))
    assert session.data_to_send().startswith(b"334 ")
    session.receive_data(b"*\r\nAUTH PLAIN AGEAYg==\r\nMAIL FROM:<a@b.example>\r\n")
    assert session.next_event() is None
    assert session.data_to_send().startswith(b"501 5.7.0 ")


def test_keys_are_no_answer_to_another_question() -> None:
    session = _logging_in()
    session.receive_data(b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n")
    assert isinstance(session.next_event(), PasswordOffered)
    with pytest.raises(ProtocolMisuse):
        session.answer(KeysFound(PENCIL))


def test_what_is_pipelined_behind_a_question_waits_for_its_answer() -> None:
    session = _asking()
    session.receive_data(b"*\r\nNOOP\r\n")
    session.answer(KeysFound(PENCIL))
    assert session.next_event() is None
    codes = [line[:3] for line in session.data_to_send().splitlines()]
    assert codes == [b"334", b"501", b"250"]


@pytest.mark.parametrize("verdict", [CANNOT_TELL, CLOSING])
def test_a_log_in_ends_where_there_are_no_keys_now(verdict: Reply) -> None:
    session = _asking()
    session.answer(verdict)
    assert session.next_event() is None
    assert session.data_to_send() == verdict.encode()
    assert session.phase is Phase.COMMAND
    assert session.is_closing is (verdict is CLOSING)


@pytest.mark.parametrize(
    "line", [b"AQ==\n\r\n", b"A" * 12300 + b"\r\n", b"*\r\n", b"AQ==\r\n"]
)
def test_a_refusal_counts_however_its_explanation_is_answered(line: bytes) -> None:
    session = ServerSession(
        "submit.example.org",
        TlsManner.IMPLICIT,
        SessionLimits(failed_log_ins=1),
        mechanisms=named_all("OAUTHBEARER"),
    )
    _next(session, b"EHLO client\r\n", None)
    session.receive_data(b"AUTH OAUTHBEARER biwsAWF1dGg9QmVhcmVyIHgBAQ==\r\n")
    assert isinstance(session.next_event(), ProofOffered)
    session.answer(Reply(535, EnhancedCode(5, 7, 8), "No"))
    session.receive_data(line)
    assert session.next_event() is None
    assert session.is_closing
    assert not session.authenticated


def test_a_question_may_be_open_when_the_client_leaves() -> None:
    session = _asking()
    session.connection_lost()
    session.answer(KeysFound(PENCIL))
    assert session.next_event() is None
    assert session.data_to_send() == b""


def test_other_mechanisms_are_offered_from_the_next_ehlo_on() -> None:
    session = ServerSession("submit.example.org", TlsManner.IMPLICIT, LIMITS)
    _next(session, b"EHLO client\r\n", None)
    assert b"AUTH" not in session.data_to_send()
    session.offer(named_all("PLAIN, EXTERNAL"))
    _next(session, b"EHLO client\r\n", None)
    assert session.data_to_send().endswith(b"250 AUTH PLAIN EXTERNAL\r\n")
    trusting = ServerSession("submit.example.org", TlsManner.NONE, LIMITS)
    trusting.offer(named_all("PLAIN"))
    _next(trusting, b"EHLO client\r\n", None)
    assert b"AUTH" not in trusting.data_to_send()


@pytest.mark.rfc("4954", "4")
@pytest.mark.parametrize(
    ("octets", "is_told"), [(b"\r\n", True), (b"*\r\n", False), (b"eA==\r\n", False)]
)
def test_logged_in_is_who_takes_the_last_words(octets: bytes, is_told: bool) -> None:
    """The proof was right, and the client may still not want to hear so."""
    peer = SessionPeer(make_session({"mechanisms": "SCRAM-SHA-256"}))
    peer.send(
        b"EHLO x\r\n"
        b"AUTH SCRAM-SHA-256 biwsbj11c2VyLHI9ck9wck5HZndFYmVSV2diTkVrcU8=\r\n"
        b"Yz1iaXdzLHI9ck9wck5HZndFYmVSV2diTkVrcU8laHZZRHBXVWEyUmFUQ0FmdXhGSWxqKWhObEYk"
        b"azAscD1kSHpiWmFwV0lrNGpVaE4rVXRlOXl0YWc5empmTUhnc3FtbWl6N0FuZFZRPQ==\r\n"
    )
    assert [type(one) for one in peer.desk.events] == [KeysWanted, ProofOffered]
    peer.send(octets + b"NOOP\r\n")

    assert peer.desk.events[-1] == LogInEnded(is_told)
    assert peer.session.authenticated is is_told
    assert peer.said.endswith(b"\r\n250 2.0.0 Ok\r\n")


def test_nobody_is_told_behind_the_end() -> None:
    peer = SessionPeer(make_session({"mechanisms": "PLAIN"}))
    session = peer.session
    session.receive_data(b"EHLO x\r\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n")
    assert isinstance(session.next_event(), PasswordOffered)
    session.interrupt(CLOSING)
    session.answer(LOGGED_IN)

    assert session.next_event() == LogInEnded(is_told=False)
    assert not session.authenticated
