import binascii
from typing import Final

import pytest

from submitd.mail.status import EnhancedCode
from submitd.sasl.login import Login
from submitd.sasl.mechanism import Certificate, Plainly
from submitd.sasl.plain import Plain
from submitd.smtp import reply
from submitd.smtp.authentication import Authentication, begin
from submitd.smtp.event import (
    KeysFound,
    KeysWanted,
    PasswordOffered,
    ProofOffered,
)
from submitd.smtp.reply import Reply
from tests.support.mechanisms import PENCIL, named

LOGGED_IN: Final = Reply(235, EnhancedCode(2, 7, 0), "Logged in")
CANNOT_TELL: Final = Reply(454, EnhancedCode(4, 7, 0), "Cannot tell")


@pytest.mark.rfc("4954", "4")
def test_a_challenge_of_nothing_is_a_code_and_a_space() -> None:
    challenge = Authentication(Plain()).open(b"")

    assert isinstance(challenge, Reply)
    assert challenge.encode() == b"334 \r\n"


@pytest.mark.rfc("4954", "4")
def test_an_equals_sign_is_an_initial_response_of_nothing() -> None:
    """It is not the same as none, after which the server would ask."""
    assert Authentication(Plain()).open(b"=") is reply.AUTH_MALFORMED


def test_a_claim_becomes_a_question_with_the_name_of_its_mechanism() -> None:
    login = Authentication(Login())
    login.open(b"")
    login.receive_line(b"YWxpY2U=")

    assert login.receive_line(b"c2VjcmV0") == PasswordOffered(
        "LOGIN", "alice", "", "secret"
    )


def test_a_password_is_not_shown() -> None:
    offered = Authentication(Plain()).open(b"AGFsaWNlAHNlY3JldA==")

    assert isinstance(offered, PasswordOffered)
    assert offered.password == "secret"
    assert "secret" not in repr(offered)


@pytest.mark.rfc("4954", "4")
@pytest.mark.parametrize(
    "encoded", [b"A", b"AA", b"A===", b"AA==AA==", b"A A=", b"\xff", b"AA==\n", b"-_8="]
)
def test_what_is_no_base64_is_malformed(encoded: bytes) -> None:
    assert Authentication(Plain()).open(encoded) is reply.AUTH_MALFORMED


@pytest.mark.rfc("4954", "4")
def test_a_mechanism_is_named_in_any_case_and_its_response_is_kept_apart() -> None:
    authentication, outcome = begin(b"login YWxpY2U=", {b"LOGIN": Login()})

    assert authentication is not None
    assert isinstance(outcome, Reply)
    assert outcome.encode() == b"334 UGFzc3dvcmQ6\r\n"


@pytest.mark.rfc("4954", "4")
def test_last_words_stand_before_a_verdict_and_want_an_empty_line() -> None:
    """SMTP has no other place for them."""
    for line, outcome in ((b"", LOGGED_IN), (b"AA==", reply.AUTH_MALFORMED)):
        login = Authentication(Wordy())
        assert isinstance(login.open(b"YQ=="), ProofOffered)
        assert login.conclude(LOGGED_IN).encode() == b"334 eWVz\r\n"
        assert login.receive_line(line) is outcome


@pytest.mark.rfc("7628", "3.2.3")
@pytest.mark.parametrize("line", [b"", b"AQ==", b"!"])
def test_a_refusal_comes_whatever_the_answer_to_last_words_is(line: bytes) -> None:
    login = Authentication(Wordy())
    login.open(b"YQ==")
    assert login.conclude(reply.BAD_CREDENTIALS).encode() == b"334 bm8=\r\n"
    assert login.receive_line(line) is reply.BAD_CREDENTIALS


def test_a_log_in_that_is_put_off_has_no_last_words() -> None:
    login = Authentication(Wordy())
    login.open(b"YQ==")
    assert login.conclude(CANNOT_TELL) is CANNOT_TELL


def test_a_question_is_answered_with_a_challenge() -> None:
    scram = Authentication(named("SCRAM-SHA-256"))
    first = binascii.b2a_base64(b"n,,n=user,r=abc", newline=False)
    assert scram.open(first) == KeysWanted("SCRAM-SHA-256", "user")
    challenge = scram.take_keys(KeysFound(PENCIL))
    assert challenge.code == 334


class Wordy(Plainly):
    """A mechanism, and its exchange, with last words for each verdict."""

    name = "WORDY"
    first_challenge = b""

    def start(self) -> "Wordy":
        return self

    def respond(self, response: bytes) -> object:
        return Certificate(response.decode())

    def last_words(self, *, accepted: bool) -> bytes | None:
        return b"yes" if accepted else b"no"
