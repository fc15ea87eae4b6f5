import pytest

from submitd.sasl.login import Login
from submitd.sasl.plain import Plain
from submitd.smtp import reply
from submitd.smtp.authentication import Authentication, begin
from submitd.smtp.event import PasswordOffered
from submitd.smtp.reply import Reply


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
