import pytest

from submitd.sasl.external import External
from submitd.sasl.mechanism import Certificate, Mechanism
from tests.support.mechanisms import PENCIL


@pytest.mark.rfc("4422", "A")
@pytest.mark.parametrize(
    ("response", "claim"),
    [
        (b"", Certificate("")),
        (b"alice", Certificate("alice")),
        (b"al\xc2\xadice", Certificate("alice")),
        (b"\0", None),
        (b"\xff", None),
    ],
)
def test_the_response_is_as_whom_to_act(
    response: bytes, claim: Certificate | None
) -> None:
    mechanism: Mechanism = External()
    run = mechanism.start()
    assert run.first_challenge == b""
    assert run.respond(response) == claim
    assert run.last_words(accepted=True) is None


def test_who_asks_no_question_takes_no_answer() -> None:
    with pytest.raises(TypeError):
        External().start().take_keys(PENCIL)
