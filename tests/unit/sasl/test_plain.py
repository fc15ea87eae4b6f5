import pytest

from submitd.sasl.mechanism import Mechanism, Password
from submitd.sasl.plain import Plain


@pytest.mark.rfc("4616", "2")
@pytest.mark.parametrize(
    ("response", "claim"),
    [
        (b"\0alice\0secret", Password("alice", "", "secret")),
        (b"bob\0alice\0se cret", Password("alice", "bob", "se cret")),
        ("\0ålice\0pass🔑".encode(), Password("ålice", "", "pass🔑")),
        ("\0al\u00adice\0\u2168".encode(), Password("alice", "", "IX")),
    ],
)
def test_one_response_claims_a_name_and_a_password(
    response: bytes, claim: Password
) -> None:
    mechanism: Mechanism = Plain()

    assert mechanism.start().respond(response) == claim


@pytest.mark.rfc("4616", "2")
@pytest.mark.parametrize(
    "response",
    [b"", b"alice", b"alice\0secret", b"\0a\0b\0c", b"\0\xff\0secret", b"\x01\0a\0b"],
)
def test_what_is_not_three_parts_of_utf8_is_malformed(response: bytes) -> None:
    assert Plain().start().respond(response) is None


@pytest.mark.rfc("4616", "2")
@pytest.mark.parametrize(
    ("response", "claim"),
    [
        (b"\0\0secret", Password("", "", "secret")),
        (b"\0alice\0", Password("alice", "", "")),
        (b"\0alice\0\x07", Password("alice", "", "")),
        (b"\0al\x07ice\0secret", Password("", "", "secret")),
    ],
)
def test_what_is_empty_or_cannot_be_prepared_claims_nothing(
    response: bytes, claim: Password
) -> None:
    """So that it fails as a wrong password does, and not as a fault of form."""
    assert Plain().start().respond(response) == claim


def test_plain_asks_with_an_empty_challenge() -> None:
    assert Plain().start().first_challenge == b""


def test_a_claim_does_not_show_its_password() -> None:
    assert "secret" not in repr(Password("alice", "", "secret"))
