import pytest

from submitd.sasl.cram import CramMd5
from submitd.sasl.mechanism import Digest, Mechanism

CHALLENGE = b"<1896.697170952@postoffice.reston.mci.net>"
DIGEST = "b913a602c7eda7a495b4e6e7334d3890"


def mechanism() -> Mechanism:
    return CramMd5(lambda: "1896.697170952", "postoffice.reston.mci.net")


@pytest.mark.rfc("2195", "2")
def test_a_name_and_a_digest_answer_the_challenge() -> None:
    run = mechanism().start()

    assert run.first_challenge == CHALLENGE
    assert run.respond(f"tim {DIGEST}".encode()) == Digest("tim", CHALLENGE, DIGEST)


@pytest.mark.rfc("2195", "2")
@pytest.mark.parametrize("name", ["tim at home", "t\u00adim at home"])
def test_the_last_space_ends_the_name(name: str) -> None:
    run = mechanism().start()
    assert run.first_challenge
    step = run.respond(f"{name} {DIGEST}".encode())
    assert isinstance(step, Digest)
    assert step.authcid == "tim at home"


@pytest.mark.parametrize(
    "response",
    [b"", b"tim", b"\xff " + DIGEST.encode(), b" " + DIGEST.encode(), b"tim 00"],
)
def test_what_is_no_name_and_digest_is_malformed(response: bytes) -> None:
    run = mechanism().start()
    assert run.first_challenge
    assert run.respond(response) is None


@pytest.mark.rfc("4422", "5")
def test_a_response_before_the_challenge_answers_nothing() -> None:
    assert mechanism().start().respond(f"tim {DIGEST}".encode()) is None


def test_a_digest_is_not_shown() -> None:
    assert DIGEST not in repr(Digest("tim", CHALLENGE, DIGEST))
