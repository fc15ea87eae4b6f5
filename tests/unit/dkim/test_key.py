"""Keys, selectors, and records in zone-file form."""

import re
from datetime import date

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from submitd.dkim.key import (
    Algorithm,
    BadSelector,
    KeyEncrypted,
    KeyTooShort,
    PrivateKey,
    UnusableKey,
    check_selector,
    expand_selector,
    record_name,
    record_value,
    zone_lines,
)

PEM = serialization.Encoding.PEM
PKCS8 = serialization.PrivateFormat.PKCS8
PKCS1 = serialization.PrivateFormat.TraditionalOpenSSL
OPEN = serialization.NoEncryption()
LOCKED = serialization.BestAvailableEncryption(b"secret")

RSA = rsa.generate_private_key(65537, 2048)

RSA_OF_768_BITS = b"""\
-----BEGIN RSA PRIVATE KEY-----
MIIBywIBAAJhANIdFvsyeFnZGdYmz8JzWHiIHdYZUSA8NBkuzDV9y+KCdjdN7GSs
+1q02o3l5U4bx19cAnZZgzZ8lwVVmveJ0rDXvRgLMPyApjDPztvokJ8gqnEHyoeU
i50Ie6B3eiASMwIDAQABAmA0KlK9VP96VyNJ/uLQBTEu46R8tlZk6W2J3wuGMFBB
UWCmRGtvZ18UWxhz6GLw7IY01KJJWbcfjKGuXplLcsPyaAN3wD7hixnZAsikVPuB
AmMFmdwfd/uGAvaYwQBNM+ECMQD50SOyUDUQoWls3QNKIT3a2IeiP/HyfMWnIlUU
SimH2nzom1fEZLCjYLinJxZUZxECMQDXUGMJpDG6ntIa7c/8pDyVfXjlzimpHNsT
lnKCUYwMj7M4g9UnmLgoNAAmdbV3DQMCMQDDuB+gZwh8BAnFuY4HOO3uFDCHZFPZ
J/nujI5dfBD3l6y+zF3BxyVAitmAU7ZB4BECMFbr299ziqPVI+q9IJ7USqTqz1iu
fsEHpiVlMfsMIqabiHWDOxTOIWIRhBICqOxTswIxAJmm7q7VMDrezPXhNIpNf5R0
YVcv1V0Js6DigDeucOaKEJ/TSgPbKkThiszEmgbplg==
-----END RSA PRIVATE KEY-----
"""
"""The library makes none that is so short; it was made with `openssl genrsa 768`."""


@pytest.mark.rfc("8463", "3")
@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_key_survives_its_file(algorithm: Algorithm) -> None:
    key = PrivateKey.generate(algorithm)
    pem = key.pem()
    again = PrivateKey.load(pem)
    assert pem.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert again.algorithm is algorithm
    assert again.public_octets() == key.public_octets()
    assert again.sign(b"text") == key.sign(b"text")


def test_a_key_in_the_older_form_of_openssl_is_read() -> None:
    key = PrivateKey.load(RSA.private_bytes(PEM, PKCS1, OPEN))
    assert key.algorithm is Algorithm.RSA_SHA256
    assert key.bits == 2048


@pytest.mark.rfc("8301", "3.2")
@pytest.mark.parametrize(("bits", "is_short"), [(1024, True), (2048, False)])
def test_a_key_of_less_than_2048_bits_works_but_is_called_short(
    bits: int, is_short: bool
) -> None:
    key = PrivateKey.generate(Algorithm.RSA_SHA256, bits=bits)
    assert key.bits == bits
    assert key.is_short is is_short


def test_an_ed25519_key_is_not_short_although_it_has_256_bits() -> None:
    key = PrivateKey.generate(Algorithm.ED25519_SHA256)
    assert key.bits == 256
    assert not key.is_short


@pytest.mark.rfc("8301", "3.2")
def test_a_key_of_less_than_1024_bits_is_refused() -> None:
    """Every verifier would refuse its signatures."""
    with pytest.raises(KeyTooShort) as refused:
        PrivateKey.load(RSA_OF_768_BITS)
    assert str(refused.value) == (
        "an RSA key of 768 bits is too short: verifiers refuse what it signs;"
        " 2048 are good"
    )


@pytest.mark.rfc("8301", "3.2")
def test_no_key_is_made_that_verifiers_may_refuse() -> None:
    with pytest.raises(KeyTooShort, match="of 512 bits"):
        PrivateKey.generate(Algorithm.RSA_SHA256, bits=512)
    with pytest.raises(UnusableKey, match="of 8192 bits is more than"):
        PrivateKey.generate(Algorithm.RSA_SHA256, bits=8192)


@pytest.mark.parametrize("form", [PKCS1, PKCS8])
def test_an_encrypted_key_is_refused_as_such(
    form: serialization.PrivateFormat,
) -> None:
    """A server that starts by itself has nobody to ask for a passphrase."""
    with pytest.raises(KeyEncrypted, match="the private key is encrypted"):
        PrivateKey.load(RSA.private_bytes(PEM, form, LOCKED))


def test_a_key_for_another_algorithm_is_refused() -> None:
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(PEM, PKCS8, OPEN)
    with pytest.raises(UnusableKey, match="neither an RSA nor an Ed25519 key"):
        PrivateKey.load(pem)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"-----BEGIN PRIVATE KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n",
        RSA.public_key().public_bytes(
            PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
    ],
)
def test_what_holds_no_private_key_is_refused_without_quoting_it(
    content: bytes,
) -> None:
    with pytest.raises(UnusableKey) as refused:
        PrivateKey.load(content)
    assert str(refused.value) == "there is no private key in PEM form in it"
    assert refused.value.__cause__ is None


def test_a_key_does_not_show_itself() -> None:
    """Or it stands in the first traceback that quotes a signer."""
    secret = ed25519.Ed25519PrivateKey.generate()
    key = PrivateKey.load(secret.private_bytes(PEM, PKCS8, OPEN))
    assert repr(secret.private_bytes_raw())[2:-1] not in repr(key)
    assert re.fullmatch(r"PrivateKey\(_key=<[\w.]+ object at 0x[0-9a-f]+>\)", repr(key))


@pytest.mark.rfc("6376", "3.6.1")
def test_a_record_names_version_type_and_key() -> None:
    key = PrivateKey.generate(Algorithm.RSA_SHA256)
    assert re.fullmatch(
        r"v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A[A-Za-z0-9+/]+={0,2}",
        record_value(key),
    )


@pytest.mark.rfc("8463", "4.2")
def test_the_record_of_an_ed25519_key_holds_its_32_octets_bare() -> None:
    key = PrivateKey.generate(Algorithm.ED25519_SHA256)
    assert re.fullmatch(r"v=DKIM1; k=ed25519; p=[A-Za-z0-9+/]{43}=", record_value(key))


@pytest.mark.rfc("6376", "3.6.2.1")
def test_a_record_stands_below_domainkey() -> None:
    assert record_name("2026-mail", "example.org") == (
        "2026-mail._domainkey.example.org"
    )


@pytest.mark.rfc("6376", "3.6.2.2")
@pytest.mark.parametrize("bits", [1024, 2048, 3072])
def test_a_zone_file_holds_strings_of_at_most_255_octets(bits: int) -> None:
    """RFC 1035 section 3.3: one length octet a string."""
    key = PrivateKey.generate(Algorithm.RSA_SHA256, bits=bits)
    zone = zone_lines("2026-mail", "example.org", key)
    first, *lines = zone.splitlines()
    assert first == "2026-mail._domainkey.example.org. IN TXT ("
    assert lines[-1].endswith('" )')
    strings = [re.fullmatch(r'    "([^"\\]*)"(?: \))?', line) for line in lines]
    pieces = [found[1] for found in strings if found]
    assert len(pieces) == len(lines)
    assert max(map(len, pieces)) <= 255
    assert "".join(pieces) == record_value(key)


@pytest.mark.rfc("6376", "3.1")
@pytest.mark.parametrize(
    ("template", "hostname", "selector"),
    [
        ("<year>-<host>", "mail.example.org", "2026-mail"),
        ("<year>-<host>", "Mail.Example.ORG", "2026-mail"),
        ("<host>", "mail", "mail"),
        ("<year>", "mail.example.org", "2026"),
        ("brisbane", "mail.example.org", "brisbane"),
        ("march.2005.reykjavik", "mail.example.org", "march.2005.reykjavik"),
    ],
)
def test_a_selector_template_is_filled_in(
    template: str, hostname: str, selector: str
) -> None:
    assert expand_selector(template, date(2026, 5, 1), hostname) == selector


@pytest.mark.rfc("6376", "3.1")
@pytest.mark.parametrize(
    "text",
    ["", ".", "a.", ".a", "a..b", "-a", "a-", "a_b", "a b", "ä", "x" * 64, "a\n"],
)
def test_what_is_no_selector_is_refused(text: str) -> None:
    with pytest.raises(BadSelector, match="is no selector"):
        check_selector(text)


@pytest.mark.parametrize("template", ["<month>-<host>", "<year>_<host>", "<year>-"])
def test_a_template_that_gives_no_selector_is_refused(template: str) -> None:
    """A misspelt placeholder must not become a name that nobody published."""
    with pytest.raises(BadSelector, match="is no selector"):
        expand_selector(template, date(2026, 5, 1), "mail.example.org")


def test_a_host_name_too_long_for_a_label_with_its_year_is_refused() -> None:
    with pytest.raises(BadSelector):
        expand_selector("<year>-<host>", date(2026, 5, 1), "m" * 60 + ".example.org")
