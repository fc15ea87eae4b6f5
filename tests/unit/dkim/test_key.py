"""Keys and their records."""

from datetime import date

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from submitd.dkim.key import (
    Algorithm,
    BadSelector,
    PrivateKey,
    UnusableKey,
    expand_selector,
    is_testing,
    record_value,
    zone_lines,
)

PKCS8 = serialization.PrivateFormat.PKCS8
PEM = serialization.Encoding.PEM
OPEN = serialization.NoEncryption()


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_key_survives_its_file(algorithm: Algorithm) -> None:
    key = PrivateKey.generate(algorithm)
    again = PrivateKey.load(key.pem())
    assert again.algorithm is algorithm
    assert again.public_octets() == key.public_octets()
    assert not again.is_short


def test_a_key_of_1024_bits_works_but_is_called_short() -> None:
    assert PrivateKey.generate(Algorithm.RSA_SHA256, bits=1024).is_short


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ec.generate_private_key(ec.SECP256R1()).private_bytes(PEM, PKCS8, OPEN),
        rsa.generate_private_key(65537, 2048).private_bytes(
            PEM, PKCS8, serialization.BestAvailableEncryption(b"secret")
        ),
    ],
)
def test_what_cannot_sign_is_refused_without_quoting_it(pem: bytes) -> None:
    with pytest.raises(UnusableKey) as refused:
        PrivateKey.load(pem)
    assert "AAAA" not in str(refused.value)


def test_a_zone_file_holds_strings_of_at_most_255_octets() -> None:
    key = PrivateKey.generate(Algorithm.RSA_SHA256, bits=4096)
    lines = zone_lines("2026-mail", "example.org", key).splitlines()
    assert lines[0] == "2026-mail._domainkey.example.org. IN TXT ("
    strings = [line.strip(' )"') for line in lines[1:]]
    assert max(map(len, strings)) <= 255
    assert "".join(strings).replace(" ", "") == record_value(key).replace(" ", "")


def test_a_selector_template_is_filled_in() -> None:
    filled = expand_selector("<year>-<host>", date(2026, 5, 1), "Mail.example.org")
    assert filled == "2026-mail"


@pytest.mark.parametrize("template", ["", "a..b", "-a", "a_b", "x" * 64, "a b"])
def test_what_is_no_selector_is_refused(template: str) -> None:
    with pytest.raises(BadSelector):
        expand_selector(template, date(2026, 5, 1), "mail.example.org")


def test_a_testing_record_is_noticed() -> None:
    assert is_testing("v=DKIM1; t=y:s; p=AAAA")
    assert not is_testing("v=DKIM1; t=s; p=AAAA")
    assert not is_testing("nonsense")
