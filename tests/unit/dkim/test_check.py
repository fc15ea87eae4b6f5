"""What is published for a key, held against the key."""

import base64

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from submitd.dkim.check import Finding, MalformedRecord, check_published, read_tags
from submitd.dkim.key import Algorithm, PrivateKey, record_value

RSA = PrivateKey.generate(Algorithm.RSA_SHA256)
ED25519 = PrivateKey.generate(Algorithm.ED25519_SHA256)
OTHER_RSA = PrivateKey.generate(Algorithm.RSA_SHA256)
OTHER_ED25519 = PrivateKey.generate(Algorithm.ED25519_SHA256)
RSA_RECORD = record_value(RSA).encode()
RSA_P = base64.b64encode(RSA.public_octets())
ED25519_RECORD = record_value(ED25519).encode()
EC_P = base64.b64encode(
    ec.generate_private_key(ec.SECP256R1())
    .public_key()
    .public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
)


@pytest.mark.rfc("6376", "3.6.1")
@pytest.mark.parametrize(
    ("key", "record"),
    [
        (RSA, RSA_RECORD),
        (ED25519, ED25519_RECORD),
        (RSA, RSA_RECORD + b";"),
        (RSA, RSA_RECORD + b" ; "),
        (RSA, b"p=" + RSA_P),  # v= and k= have defaults
        (RSA, b"k=rsa;p=" + RSA_P),
        (RSA, b"v = DKIM1 ;\tp = " + RSA_P[:70] + b" \r\n " + RSA_P[70:]),
        (RSA, RSA_RECORD + b"; s=*; t=s; h=sha1 : sha256"),
        (RSA, RSA_RECORD + b"; s=other:email; h=sha256; n=moved; x=unknown"),
        (RSA, RSA_RECORD + "; n=přestěhováno".encode() + b"\xff"),
    ],
)
def test_a_record_with_this_key_matches(key: PrivateKey, record: bytes) -> None:
    assert check_published(key, [record]) == (Finding.MATCHES,)


@pytest.mark.rfc("6376", "3.6.1")
def test_an_rsa_key_published_without_its_wrapping_is_the_same_key() -> None:
    """The text of the section and its examples name one form each."""
    public = serialization.load_der_public_key(RSA.public_octets())
    bare = public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.PKCS1
    )
    record = b"v=DKIM1; p=" + base64.b64encode(bare)
    assert check_published(RSA, [record]) == (Finding.MATCHES,)


@pytest.mark.rfc("6376", "3.6.1")
@pytest.mark.parametrize(
    ("key", "record", "findings"),
    [
        (RSA, record_value(OTHER_RSA).encode(), (Finding.DIFFERS,)),
        (ED25519, record_value(OTHER_ED25519).encode(), (Finding.DIFFERS,)),
        (RSA, ED25519_RECORD, (Finding.WRONG_TYPE,)),
        (ED25519, RSA_RECORD, (Finding.WRONG_TYPE,)),
        (ED25519, ED25519_RECORD.replace(b"k=ed25519; ", b""), (Finding.WRONG_TYPE,)),
        (RSA, b"v=DKIM1; k=rsa; p=", (Finding.REVOKED,)),
        (RSA, b"v=DKIM1; k=rsa; p= ;", (Finding.REVOKED,)),
        (RSA, RSA_RECORD + b"; s=other", (Finding.MATCHES, Finding.NOT_FOR_MAIL)),
        (RSA, RSA_RECORD + b"; h=sha1", (Finding.MATCHES, Finding.NOT_FOR_SHA256)),
        (RSA, RSA_RECORD + b"; t=s:y", (Finding.MATCHES, Finding.TESTING)),
        (
            RSA,
            record_value(OTHER_RSA).encode() + b"; h=sha1; s=tlsrpt; t=y",
            (
                Finding.DIFFERS,
                Finding.NOT_FOR_MAIL,
                Finding.NOT_FOR_SHA256,
                Finding.TESTING,
            ),
        ),
    ],
)
def test_a_record_is_told_by_what_is_wrong_with_it(
    key: PrivateKey, record: bytes, findings: tuple[Finding, ...]
) -> None:
    assert check_published(key, [record]) == findings


@pytest.mark.rfc("6376", "3.6.1")
@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"v=spf1 -all",
        b"nonsense",
        b"v=DKIM1; k=rsa",
        b"v=dkim1; p=" + RSA_P,
        b"v=DKIM2; p=" + RSA_P,
        b"p=" + RSA_P + b"; v=DKIM1",
        b"v=DKIM1; p=" + RSA_P + b"; p=" + RSA_P,
        b"v=DKIM1;; p=" + RSA_P,
        b"v=DKIM1; p=!!",
        b"v=DKIM1; p=AAAA",
        b"v=DKIM1; p=" + RSA_P[:-3],
        b"v=DKIM1; p=" + EC_P,
        "v=DKIM1; p=ÄÄ".encode(),
    ],
)
def test_a_record_that_verifiers_cannot_use_is_malformed(record: bytes) -> None:
    assert check_published(RSA, [record]) == (Finding.MALFORMED,)


def test_a_record_that_is_not_there_is_missing() -> None:
    assert check_published(RSA, []) == (Finding.MISSING,)


@pytest.mark.rfc("6376", "3.6.2.2")
def test_several_records_are_a_fault_even_where_one_of_them_matches() -> None:
    """What verifiers do then is undefined."""
    assert check_published(RSA, [b"v=DKIM1; p=", RSA_RECORD, RSA_RECORD]) == (
        Finding.SEVERAL,
        Finding.REVOKED,
        Finding.MATCHES,
    )


@pytest.mark.rfc("8301", "3.2")
def test_a_key_of_a_size_that_is_not_safe_is_named() -> None:
    short = PrivateKey.generate(Algorithm.RSA_SHA256, bits=1024)
    record = record_value(short).encode()
    assert check_published(short, [record]) == (Finding.MATCHES, Finding.SHORT_KEY)


@pytest.mark.rfc("8301", "3.2")
def test_a_key_longer_than_verifiers_must_take_is_named() -> None:
    # Mersenne primes, because to find others of this size takes seconds.
    p, q, e = 2**2281 - 1, 2**2203 - 1, 65537
    d = pow(e, -1, (p - 1) * (q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=rsa.rsa_crt_dmp1(d, p),
        dmq1=rsa.rsa_crt_dmq1(d, q),
        iqmp=rsa.rsa_crt_iqmp(p, q),
        public_numbers=rsa.RSAPublicNumbers(e, p * q),
    )
    long = PrivateKey(numbers.private_key(unsafe_skip_rsa_key_validation=True))
    assert check_published(long, []) == (Finding.MISSING, Finding.LONG_KEY)


def test_findings_say_whether_signatures_suffer() -> None:
    harmless = {one for one in Finding if not one.breaks_signatures}
    assert harmless == {
        Finding.MATCHES,
        Finding.TESTING,
        Finding.SHORT_KEY,
        Finding.LONG_KEY,
    }


@pytest.mark.rfc("6376", "3.2")
def test_tags_are_read_in_their_order_and_without_white_space() -> None:
    tags = read_tags(b" v=DKIM1 ;\tk = rsa; n=; p=AA\r\n BB ;")
    assert list(tags.items()) == [
        ("v", "DKIM1"),
        ("k", "rsa"),
        ("n", ""),
        ("p", "AABB"),
    ]


@pytest.mark.rfc("6376", "3.2")
@pytest.mark.parametrize("record", [b"", b";", b"v", b"=a", b"1=a", b"a=b; a=c"])
def test_what_is_no_list_of_tags_is_refused(record: bytes) -> None:
    with pytest.raises(MalformedRecord):
        read_tags(record)
