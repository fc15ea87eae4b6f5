"""The examples that the standards print, with their keys, to the last octet.

RSA with PKCS#1 v1.5 and Ed25519 give one signature for one text, so what the
documents show is what our parts must give.
"""

import base64
import re
from typing import Final

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from submitd.dkim.canonical import BodyHasher, Canon, canonical_field
from submitd.dkim.key import PrivateKey, record_value

FROM: Final = b"From: Joe SixPack <joe@football.example.com>\r\n"
TO: Final = b"To: Suzie Q <suzie@shopping.example.net>\r\n"
SUBJECT: Final = b"Subject: Is dinner ready?\r\n"
DATE: Final = b"Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"
MESSAGE_ID: Final = b"Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n"
RECEIVED: Final = (
    b"Received: from client1.football.example.com  [192.0.2.1]\r\n"
    b"      by submitserver.example.com with SUBMISSION;\r\n"
    b"      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)\r\n"
)
RFC_6376_BODY: Final = (
    b"Hi.\r\n\r\nWe lost the game. Are you hungry yet?\r\n\r\nJoe.\r\n"
)
RFC_8463_BODY: Final = (
    b"Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"
)

RFC_6376_KEY: Final = b"""\
-----BEGIN RSA PRIVATE KEY-----
MIICXwIBAAKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFC
jxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gb
to/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB
AoGBALmn+XwWk7akvkUlqb+dOxyLB9i5VBVfje89Teolwc9YJT36BGN/l4e0l6QX
/1//6DWUTB3KI6wFcm7TWJcxbS0tcKZX7FsJvUz1SbQnkS54DJck1EZO/BLa5ckJ
gAYIaqlA9C0ZwM6i58lLlPadX/rtHb7pWzeNcZHjKrjM461ZAkEA+itss2nRlmyO
n1/5yDyCluST4dQfO8kAB3toSEVc7DeFeDhnC1mZdjASZNvdHS4gbLIA1hUGEF9m
3hKsGUMMPwJBAPW5v/U+AWTADFCS22t72NUurgzeAbzb1HWMqO4y4+9Hpjk5wvL/
eVYizyuce3/fGke7aRYw/ADKygMJdW8H/OcCQQDz5OQb4j2QDpPZc0Nc4QlbvMsj
7p7otWRO5xRa6SzXqqV3+F0VpqvDmshEBkoCydaYwc2o6WQ5EBmExeV8124XAkEA
qZzGsIxVP+sEVRWZmW6KNFSdVUpk3qzK0Tz/WjQMe5z0UunY9Ax9/4PVhp/j61bf
eAYXunajbBSOLlx4D+TunwJBANkPI5S9iylsbLs6NkaMHV6k5ioHBBmgCak95JGX
GMot/L2x0IYyMLAz6oLWh2hm7zwtb0CgOrPo1ke44hFYnfc=
-----END RSA PRIVATE KEY-----
"""
RFC_6376_SIGNATURE: Final = (
    b"DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;\r\n"
    b"      c=simple/simple; q=dns/txt; i=joe@football.example.com;\r\n"
    b"      h=Received : From : To : Subject : Date : Message-ID;\r\n"
    b"      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"
    b"      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB\r\n"
    b"        4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut\r\n"
    b"        KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV\r\n"
    b"        4bmp/YzhwvcubU4=;\r\n"
)

RFC_8463_ED25519: Final = b"nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
RFC_8463_ED25519_SIGNATURE: Final = (
    b"DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n"
    b" d=football.example.com; i=@football.example.com;\r\n"
    b" q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n"
    b" subject : date : message-id : from : subject : date;\r\n"
    b" bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"
    b" b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\r\n"
    b" Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==\r\n"
)
RFC_8463_RSA: Final = b"""\
-----BEGIN RSA PRIVATE KEY-----
MIICXQIBAAKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQi
Y/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqM
KrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB
AoGAH0cxOhFZDgzXWhDhnAJDw5s4roOXN4OhjiXa8W7Y3rhX3FJqmJSPuC8N9vQm
6SVbaLAE4SG5mLMueHlh4KXffEpuLEiNp9Ss3O4YfLiQpbRqE7Tm5SxKjvvQoZZe
zHorimOaChRL2it47iuWxzxSiRMv4c+j70GiWdxXnxe4UoECQQDzJB/0U58W7RZy
6enGVj2kWF732CoWFZWzi1FicudrBFoy63QwcowpoCazKtvZGMNlPWnC7x/6o8Gc
uSe0ga2xAkEA8C7PipPm1/1fTRQvj1o/dDmZp243044ZNyxjg+/OPN0oWCbXIGxy
WvmZbXriOWoSALJTjExEgraHEgnXssuk7QJBALl5ICsYMu6hMxO73gnfNayNgPxd
WFV6Z7ULnKyV7HSVYF0hgYOHjeYe9gaMtiJYoo0zGN+L3AAtNP9huqkWlzECQE1a
licIeVlo1e+qJ6Mgqr0Q7Aa7falZ448ccbSFYEPD6oFxiOl9Y9se9iYHZKKfIcst
o7DUw1/hz2Ck4N5JrgUCQQCyKveNvjzkkd8HjYs0SwM0fPjK16//5qDZ2UiDGnOe
uEzxBDAr518Z8VFbR41in3W4Y3yCDgQlLlcETrS+zYcL
-----END RSA PRIVATE KEY-----
"""
RFC_8463_RSA_SIGNATURE: Final = (
    b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n"
    b" d=football.example.com; i=@football.example.com;\r\n"
    b" q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r\n"
    b" date : message-id : from : subject : date;\r\n"
    b" bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"
    b" b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3\r\n"
    b" DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz\r\n"
    b" dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=\r\n"
)
RFC_8463_FIELDS: Final = (FROM, TO, SUBJECT, DATE, MESSAGE_ID)


def ed25519_key() -> PrivateKey:
    """The document prints the bare key, not a file."""
    key = ed25519.Ed25519PrivateKey.from_private_bytes(
        base64.b64decode(RFC_8463_ED25519)
    )
    return PrivateKey.load(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def resigned(
    key: PrivateKey, canon: Canon, fields: tuple[bytes, ...], printed: bytes
) -> bytes:
    """``b=`` as our parts give it, for a field of somebody else's making."""
    unsigned = re.sub(rb"(\sb=)[^;]*", rb"\1", printed.removesuffix(b"\r\n"))
    hashed = b"".join(canonical_field(raw, canon) for raw in fields)
    own = canonical_field(unsigned + b"\r\n", canon).removesuffix(b"\r\n")
    return base64.b64encode(key.sign(hashed + own))


def printed_signature(printed: bytes) -> bytes:
    found = re.search(rb"\sb=([^;]*)", printed)
    assert found is not None
    return re.sub(rb"\s", b"", found[1])


@pytest.mark.rfc("6376", "A.2")
@pytest.mark.rfc("8463", "A.3")
@pytest.mark.parametrize(
    ("canon", "body"), [(Canon.SIMPLE, RFC_6376_BODY), (Canon.RELAXED, RFC_8463_BODY)]
)
def test_the_bodies_of_the_examples_have_the_printed_hash(
    canon: Canon, body: bytes
) -> None:
    """They differ in one space, which the relaxed form takes away."""
    hasher = BodyHasher(canon)
    hasher.update(body)
    printed = b"2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="
    assert base64.b64encode(hasher.digest()) == printed


@pytest.mark.rfc("6376", "A.2")
def test_the_example_of_rfc_6376_gets_the_printed_signature() -> None:
    fields = (RECEIVED, FROM, TO, SUBJECT, DATE, MESSAGE_ID)
    signature = resigned(
        PrivateKey.load(RFC_6376_KEY), Canon.SIMPLE, fields, RFC_6376_SIGNATURE
    )
    assert signature == printed_signature(RFC_6376_SIGNATURE)


@pytest.mark.rfc("6376", "A.3")
def test_the_record_of_rfc_6376_holds_the_printed_key() -> None:
    assert record_value(PrivateKey.load(RFC_6376_KEY)) == (
        "v=DKIM1; k=rsa; p="
        "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1"
        "fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR"
        "+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB"
    )


@pytest.mark.rfc("8463", "A.3")
def test_the_example_of_rfc_8463_gets_both_printed_signatures() -> None:
    ed25519_signature = resigned(
        ed25519_key(), Canon.RELAXED, RFC_8463_FIELDS, RFC_8463_ED25519_SIGNATURE
    )
    rsa_signature = resigned(
        PrivateKey.load(RFC_8463_RSA),
        Canon.RELAXED,
        RFC_8463_FIELDS,
        RFC_8463_RSA_SIGNATURE,
    )
    assert ed25519_signature == printed_signature(RFC_8463_ED25519_SIGNATURE)
    assert rsa_signature == printed_signature(RFC_8463_RSA_SIGNATURE)


@pytest.mark.rfc("8463", "A.2")
def test_the_record_of_rfc_8463_holds_the_printed_key() -> None:
    assert record_value(ed25519_key()) == (
        "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    )
