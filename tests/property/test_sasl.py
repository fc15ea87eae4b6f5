"""No response, and no token, raises anything."""

import base64
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from submitd.sasl.mechanism import (
    MECHANISMS,
    Certificate,
    Digest,
    KeysProof,
    KeysWanted,
    Password,
    Token,
)
from submitd.sasl.scram_keys import make_keys, read_keys
from tests.support.mechanisms import PENCIL, ScramClient, named

STEPS: Final = (bytes, Password, KeysWanted, KeysProof, Digest, Token, Certificate)
PIECES: Final = st.sampled_from(
    [
        *(b"n", b"y", b"p=tls-exporter", b",", b"a=", b"n=", b"r=", b"c=", b"p="),
        *(b"biws", b"AAAA", b"=2C", b"=3D", b"=", b"\0", b"\x01", b"auth=Bearer "),
        *(b"user=", b" ", b"0" * 32, "å\u00ad".encode(), b"\xff"),
    ]
)
RESPONSES: Final = st.one_of(
    st.binary(max_size=60), st.lists(PIECES, max_size=12).map(b"".join)
)


@given(st.sampled_from(MECHANISMS), st.lists(RESPONSES, min_size=1, max_size=3))
def test_any_responses_lead_to_a_step(name: str, responses: list[bytes]) -> None:
    run = named(name).start()
    assert isinstance(run.first_challenge, bytes)
    for response in responses:
        step = run.respond(response)
        assert step is None or isinstance(step, STEPS)
        if isinstance(step, KeysWanted):
            assert isinstance(run.take_keys(PENCIL), bytes)
        elif not isinstance(step, bytes):
            break


@given(
    st.text(st.characters(codec="ascii", categories=("L", "N", "P")), min_size=1),
    st.binary(min_size=1, max_size=40),
    st.integers(1, 20),
)
def test_whoever_has_the_password_proves_it(
    password: str, salt: bytes, rounds: int
) -> None:
    keys = make_keys(password, salt, rounds)
    run = named("SCRAM-SHA-256").start()
    client = ScramClient(password)
    run.respond(client.first())
    step = run.respond(client.final(run.take_keys(keys)))
    assert step == KeysProof("user", "", "")
    assert run.last_words(accepted=True) == client.signature


@given(st.binary(min_size=1, max_size=64), st.integers(1, 100))
def test_keys_come_back_from_both_their_forms(salt: bytes, rounds: int) -> None:
    keys = make_keys("x", salt, rounds)
    parts = (keys.salt, keys.stored_key, keys.server_key)
    first, stored, server = (base64.b64encode(one).decode() for one in parts)
    dovecot = f"{{SCRAM-SHA-256}}{rounds},{first},{stored},{server}"
    assert read_keys(dovecot) == keys
    assert read_keys(f"SCRAM-SHA-256${rounds}:{first}${stored}:{server}") == keys


@given(st.text(max_size=80))
def test_any_stored_text_has_keys_or_none(stored: str) -> None:
    assert read_keys(stored) is None or read_keys(stored.strip()) is not None
