"""The server's side of SCRAM-SHA-256, against the RFC's example and its own client."""

from typing import Final

import pytest

from submitd.sasl.channel import Channel
from submitd.sasl.mechanism import KeysProof, KeysWanted, Mechanism
from submitd.sasl.scram import Scram, ScramExchange
from submitd.sasl.scram_keys import make_keys
from tests.support.mechanisms import (
    CHANNEL,
    PENCIL,
    SERVER_NONCE,
    ScramClient,
    named,
)

EXPORTER: Final = b"the exporter's"


def exchange(name: str = "SCRAM-SHA-256") -> ScramExchange:
    started = named(name).start()
    assert isinstance(started, ScramExchange)
    return started


def proved(
    client: ScramClient, name: str = "SCRAM-SHA-256", nonce: str = ""
) -> tuple[object, ScramExchange]:
    run = exchange(name)
    wanted = run.respond(client.first())
    if not isinstance(wanted, KeysWanted):
        return wanted, run
    return run.respond(client.final(run.take_keys(PENCIL), nonce=nonce)), run


@pytest.mark.rfc("7677", "3")
def test_the_rfcs_example() -> None:
    mechanism: Mechanism = named("SCRAM-SHA-256")
    run = mechanism.start()

    assert run.respond(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO") == KeysWanted("user")
    assert run.take_keys(PENCIL) == (
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    )
    assert run.respond(
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    ) == KeysProof("user", "", "")
    assert run.last_words(accepted=True) == (
        b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    )
    assert run.last_words(accepted=False) is None


def test_a_wrong_password_is_no_proof() -> None:
    step, _ = proved(ScramClient("pen"))
    assert isinstance(step, KeysProof)
    assert "wrong password" in step.fault


@pytest.mark.rfc("5802", "5.1")
def test_a_proof_for_another_nonce_is_none() -> None:
    step, _ = proved(ScramClient("pencil"), nonce="old")
    assert isinstance(step, KeysProof)
    assert step.fault


def test_the_client_hears_a_proof_by_the_same_keys() -> None:
    client = ScramClient("pencil")
    _, run = proved(client)
    assert run.last_words(accepted=True) == client.signature


@pytest.mark.rfc("5802", "5.1")
@pytest.mark.parametrize(
    ("header", "authzid"),
    [("n,,", ""), ("n,a=boss,", "boss"), ("n,a=b=2Coss=3D,", "b,oss=")],
)
def test_an_authorization_identity_is_read_and_signed(
    header: str, authzid: str
) -> None:
    step, _ = proved(ScramClient("pencil", header=header))
    assert step == KeysProof("user", authzid, "")


@pytest.mark.rfc("5802", "5.1")
@pytest.mark.rfc("4013", "2")
def test_names_are_unescaped_and_prepared() -> None:
    run = exchange()
    assert run.respond("n,,n=u\u00adse=2Cr=3D\u2168,r=abc".encode()) == KeysWanted(
        "use,r=IX"
    )


def test_a_name_of_nothing_asks_for_no_keys() -> None:
    """It is refused as a wrong password is."""
    step = exchange().respond("n,,n=\u00ad,r=abc".encode())
    assert isinstance(step, KeysProof)
    assert step.fault


@pytest.mark.rfc("5802", "7")
@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"\xff",
        b"n,,",
        b"n,n=user,r=abc",
        b"n,,n=user",
        b"n,,r=abc,n=user",
        b"n,,n=user,r=",
        b"n,,n=user,r=a\xc3\xa5",
        b"n,,n=us=er,r=abc",
        b"n,,n=us=2er,r=abc",
        b"n,,n=user\x07,r=abc",
        b"n,,m=must,n=user,r=abc",
        b"n,a=,n=user,r=abc",
        b"n,a=b=oss,n=user,r=abc",
        b"n,a=\xc2\xad,n=user,r=abc",
        b"p,,n=user,r=abc",
        b"p=,,n=user,r=abc",
        b"q,,n=user,r=abc",
        b"n,,n=user,r=abc,nonsense",
    ],
)
def test_a_first_message_in_bad_form_is_malformed(first: bytes) -> None:
    assert exchange().respond(first) is None


def test_unknown_extensions_are_passed_over_and_signed() -> None:
    run = exchange()
    client = ScramClient("pencil", nonce="abc,x=whatever")
    assert run.respond(client.first()) == KeysWanted("user")
    assert run.take_keys(PENCIL).startswith(f"r=abc{SERVER_NONCE},".encode())


@pytest.mark.rfc("5802", "7")
@pytest.mark.parametrize(
    "final",
    [
        b"",
        b"\xff",
        b"c=biws,r=abc",
        b"r=abc,c=biws,p=AAAA",
        b"c=biws,r=abc,p=AAA",
        b"c=b,r=abc,p=AAAA",
        b"c=biws,r=abc,p=AAAA,x=behind",
    ],
)
def test_a_final_message_in_bad_form_is_malformed(final: bytes) -> None:
    run = exchange()
    run.respond(b"n,,n=user,r=abc")
    run.take_keys(PENCIL)
    assert run.respond(final) is None


def test_a_proof_of_another_length_is_none() -> None:
    run = exchange()
    run.respond(b"n,,n=user,r=abc")
    run.take_keys(PENCIL)
    step = run.respond(f"c=biws,r=abc{SERVER_NONCE},p=AAAA".encode())
    assert isinstance(step, KeysProof)
    assert step.fault


# Channel bindings


@pytest.mark.rfc("5802", "6")
def test_plus_is_bound_to_its_channel() -> None:
    right = ScramClient("pencil", header="p=tls-exporter,,", bound=EXPORTER)
    assert proved(right, "SCRAM-SHA-256-PLUS")[0] == KeysProof("user", "", "")

    other = ScramClient("pencil", header="p=tls-exporter,,", bound=b"another's")
    step, _ = proved(other, "SCRAM-SHA-256-PLUS")
    assert isinstance(step, KeysProof)
    assert "another channel" in step.fault


@pytest.mark.rfc("5802", "6")
@pytest.mark.parametrize(
    ("plus", "plus_offered", "header", "is_asked"),
    [
        (False, False, "n,,", True),
        (False, False, "y,,", True),
        (False, False, "p=tls-exporter,,", False),
        (False, True, "n,,", True),
        (False, True, "y,,", False),
        (False, True, "p=tls-exporter,,", False),
        (True, True, "n,,", False),
        (True, True, "y,,", False),
        (True, True, "p=tls-exporter,,", True),
        (True, True, "p=tls-unique,,", False),
    ],
)
def test_what_a_client_says_of_bindings_must_fit_what_is_offered(
    plus: bool, plus_offered: bool, header: str, is_asked: bool
) -> None:
    """``y`` where PLUS is offered: somebody has taken it out of the list."""
    mechanism = Scram(
        lambda: SERVER_NONCE, CHANNEL, plus=plus, plus_offered=plus_offered
    )
    step = mechanism.start().respond(ScramClient("pencil", header=header).first())
    assert isinstance(step, KeysWanted) is is_asked
    if isinstance(step, KeysProof):
        assert "not the channel binding" in step.fault


@pytest.mark.parametrize("channel", [None, Channel(lambda _: None)])
def test_plus_without_a_channel_proves_nothing(channel: Channel | None) -> None:
    mechanism = Scram(lambda: SERVER_NONCE, channel, plus=True, plus_offered=True)
    client = ScramClient("pencil", header="p=tls-exporter,,")
    step = mechanism.start().respond(client.first())
    assert isinstance(step, KeysProof)
    assert step.fault


def test_keys_show_their_salt_alone() -> None:
    keys = make_keys("pencil", b"salt", 1)
    assert str(keys.stored_key) not in repr(keys)
    assert str(keys.server_key) not in repr(keys)
