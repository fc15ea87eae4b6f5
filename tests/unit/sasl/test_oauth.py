import json

import pytest

from submitd.sasl.mechanism import Mechanism, Token
from submitd.sasl.oauth import OAuthBearer, XOAuth2


def bearer() -> Mechanism:
    return OAuthBearer("mail.send", "")


def xoauth2() -> Mechanism:
    return XOAuth2("mail.send")


@pytest.mark.rfc("7628", "3.1")
@pytest.mark.parametrize(
    ("response", "claim"),
    [
        (
            (
                b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01"
                b"auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"
            ),
            Token("user@example.com", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="),
        ),
        (b"n,,\x01auth=Bearer x\x01\x01", Token("", "x")),
        (b"y,,\x01auth=bearer  x\x01\x01", Token("", "x")),
        (b"n,a=a=2Cb,\x01auth=Bearer x\x01\x01", Token("a,b", "x")),
        (b"n,,\x01auth=\x01\x01", Token("", "")),
        (b"n,,\x01auth=Bearer x\x01qs=a=b\x01\x01", Token("", "x")),
    ],
)
def test_a_bearer_token_stands_behind_a_header(response: bytes, claim: Token) -> None:
    assert bearer().start().respond(response) == claim


@pytest.mark.rfc("7628", "3.1")
@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"\xff",
        b"n,,",
        b"n,,\x01",
        b"n,,\x01\x01",
        b"auth=Bearer x\x01\x01",
        b"p=tls-exporter,,\x01auth=Bearer x\x01\x01",
        b"n,,auth=Bearer x\x01\x01",
        b"n,,\x01auth=Bearer x\x01",
        b"n,,\x01auth=Bearer x\x01\x01\x01",
        b"n,,\x01auth=Bearer x\x01auth=Bearer x\x01\x01",
        b"n,,\x01AUTH=Bearer x\x01auth=Bearer x\x01\x01",
        b"n,,\x01auth=Basic x\x01\x01",
        b"n,,\x01auth=Bearer\x01\x01",
        b"n,,\x01auth=Bearer x y\x01\x01",
        b"n,,\x01auth=Bearer x\0\x01\x01",
        b"n,,\x01a1=x\x01\x01",
    ],
)
def test_what_is_no_bearer_token_in_that_form_is_malformed(response: bytes) -> None:
    assert bearer().start().respond(response) is None


@pytest.mark.parametrize(
    ("response", "claim"),
    [
        (b"user=alice\x01auth=Bearer a.b.c\x01\x01", Token("alice", "a.b.c")),
        (b"user=\xc2\xadalice\x01auth=Bearer x\x01\x01", Token("alice", "x")),
        (b"user=\x01auth=Bearer x\x01\x01", None),
        (b"User=alice\x01auth=Bearer x\x01\x01", None),
        (b"user=alice", None),
        (b"user=alice\x01", None),
        (b"user=alice\x01auth=Bearer x\x01", None),
        (b"\xff", None),
    ],
)
def test_xoauth2_has_a_name_and_a_token(response: bytes, claim: Token | None) -> None:
    assert xoauth2().start().respond(response) == claim


@pytest.mark.rfc("7628", "3.2.2")
def test_who_is_refused_hears_why_in_json() -> None:
    described = OAuthBearer("a b", "https://id.example.org/configuration").start()
    assert json.loads(described.last_words(accepted=False) or b"") == {
        "status": "invalid_token",
        "scope": "a b",
        "openid-configuration": "https://id.example.org/configuration",
    }
    bare = OAuthBearer("", "").start().last_words(accepted=False)
    assert json.loads(bare or b"") == {"status": "invalid_token"}
    assert json.loads(xoauth2().start().last_words(accepted=False) or b"") == {
        "status": "401",
        "schemes": "bearer",
        "scope": "mail.send",
    }
    for mechanism in (bearer(), xoauth2()):
        assert mechanism.start().last_words(accepted=True) is None
        assert mechanism.start().first_challenge == b""


def test_a_token_is_not_shown() -> None:
    assert "secret" not in repr(Token("alice", "secret"))
