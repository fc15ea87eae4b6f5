from submitd.sasl.login import Login
from submitd.sasl.mechanism import Mechanism, Password


def test_the_name_comes_first_and_then_the_password() -> None:
    mechanism: Mechanism = Login()
    exchange = mechanism.start()

    assert exchange.first_challenge == b"Username:"
    assert exchange.respond("ålice".encode()) == b"Password:"
    assert exchange.respond(b"secret") == Password("ålice", "", "secret")


def test_what_is_no_utf8_is_malformed() -> None:
    exchange = Login().start()

    assert exchange.respond(b"\xff") is None
    assert exchange.respond(b"alice") == b"Password:"
    assert exchange.respond(b"\xff") is None


def test_an_empty_name_and_one_that_cannot_be_prepared_claim_nothing() -> None:
    """The password is asked for all the same: a guesser learns nothing."""
    for name in (b"", b"\x07"):
        exchange = Login().start()
        assert exchange.respond(name) == b"Password:"
        assert exchange.respond(b"") == Password("", "", "")
