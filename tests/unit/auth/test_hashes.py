"""Stored passwords: what other programs made, what would cost too much."""

import time
from typing import Final

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred

from submitd.auth.errors import DirectoryUnavailable
from submitd.auth.hashes import (
    HashThreads,
    UnknownScheme,
    clear_text,
    is_locked,
    verify,
)
from tests.support.in_reactor import in_reactor

PASSWORD: Final = "pässword"

MADE_BY_OPENSSL: Final = [
    "$1$Zk1yBSQL$yGgWvN5ZXqiv9bHwp9rK9.",
    "$5$Zk1yBSQL$cPJcYa17Qv/diiPkxMohu04YOD25d9ztRHn.W/cuzT7",
    (
        "$6$Zk1yBSQL$8dDTi/FaqU/f7.iX2kF3Wq3TdvIe8VkQJVsRYsw43mfaK.M0JNPtSrKd2oqPpmi.x2uAmY"
        "z9sbpcqk4M29FgQ."
    ),
]
MADE_BY_CRYPT: Final = [
    "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$uDe9DzkRaoLcpK3XsX1COmq9ojeDZPPU7hopiHbrFR8",
    "$gy$j9T$F5Jx5fExrKuPp53xLKQ..1$Sw1G2iShtA8O4l2j7TrxftwtcNb2LbyJ944GqZnYy55",
    "$7$CU..../....Zk1yBSQLabc$eH2GAV/iHMT/GsWHoP4veF4YtfZlxDodgkhHfSk4gGC",
    "$2b$06$abcdefghijklmnopqrstuucAvzVZyxm.jXt0xAt3LTP7vrnE0I5rG",
]
MADE_BY_OPENLDAP: Final = [
    "{SSHA}cr4v2r2y4vd24KX/KxeIEc6moLNEFcl5",
    "{SMD5}NXq8uScEXqivU5msSyeTz54ulNw=",
    "{MD5}jhhDAzoPbuUuL2GKqOu+9A==",
    "{SHA}I7dElEdfX4dJgLdnbVEeI9iG2mQ=",
    "{SSHA256}pPVs1x1Yt93hPH1lFrXvAg4k7iXOE+9UGQdkphkKtaDfwiI5nD7G8w==",
    (
        "{SSHA512}IvKSGwnBxKRQcyPbVjCrrNkapOmTti7W8tMwxTAmK3ZQf9O9yejZbqdNVxtwASdDdTgH+p85dt"
        "yZAMCMJ/1jERfxMDXrxo21"
    ),
    (
        "{ARGON2}$argon2i$v=19$m=4096,t=3,p=1$ASP7q6N7ZDokZhTbCmKskw$4FJmRAr/vEbd1fcKYFLvi8q"
        "maIPyVC3IWfRIOX7skus"
    ),
]
MADE_BY_DOVECOT: Final = [
    "{CRYPT}$2y$05$EUSQYU3CbxIB2Ri9CC4zN.sgqotOwDLBZUXSNNEb8lMzbIbgHbdhq",
    "{MD5-CRYPT}$1$AWmrX4BE$qA/bKt3iQ3VGhj.moiouL0",
    "{SHA256-CRYPT}$5$aB/Uk189WcGVVjs7$X7itFs9gykxWYWy.peB4EIypiliHHLOjjhejj8K0t58",
    (
        "{SHA512-CRYPT}$6$75iqvOetKMvwJOV9$wQX3joluMPWX.8K3I3LE1Jrz9xrUc6GUdavR4UFLL8HLX5e6N"
        "LEWAw5UDOp9bMSqXi3iXRbxTZ.mofkKwjeHo0"
    ),
    "{BLF-CRYPT}$2y$05$59ol7tBbsgTwZC8qGrlK6uECqF/ECUrY.kChA8eNrdOMH62GtH20y",
    (
        "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$V2arzVNuRiCNC56D6+KtFw$mdedUcPkxAaso/Mg5Q/"
        "zFqIlTk5C95v8XTImZv1YzuU"
    ),
    (
        "{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$HiZclHUdNd6luPi4iraD9g$hhFUcTHOWockp6CFC3C92"
        "PQsIvvSSVPE+2Hf+J6wUI4"
    ),
    "{PBKDF2}$1$JNXMNnaccVtaZyEY$5000$34ec91e2bf6f5b689f2490180aa3791023f52017",
    (
        "{SCRAM-SHA-1}4096,SATFsp6rXk/N3J1I/dH8+g==,2vINDgVoGq5+XPBF4dWH2M6lkN8=,ZIumoBNf5Rc"
        "jE+m8JmkxAWGhlYc="
    ),
    (
        "{SCRAM-SHA-256}4096,DGBrG/bz0usW+pKWvTt5sg==,Uh77cAyS+qnPIvWg4Cyf+MjVNW7qtu6o0GQAGt"
        "8S6PI=,HKR1SSI55lJLbHzxIXpG6LFJ0N4wr9x+olxxv4D2OiA="
    ),
    "{SSHA}V5fNRu22qSJMR9PxO654GNQ9I1Ph6nJq",
    "{SSHA256}rzVTcA2iC70/o4fs2ycqxU/Wy/v2ZXIAE9Uc99N/jstfpnZX",
    "{SMD5}DllyslDWobAfq2TjYJ43M7Fwfwk=",
    "{LDAP-MD5}jhhDAzoPbuUuL2GKqOu+9A==",
    "{PLAIN-MD5}8e1843033a0f6ee52e2f618aa8ebbef4",
    "{MD5}$1$kl1oyJXT$0RWH.WsHwH6OBO5YNOn/8/",
    "{SHA256}NHgme1YSeRtAmIkGs6eJfrarUB4EuV7TL5nQr99mnZw=",
    "{SHA256.HEX}3478267b5612791b40988906b3a7897eb6ab501e04b95ed32f99d0afdf669d9c",
    "{SHA256.hex}3478267B5612791B40988906B3A7897EB6AB501E04B95ED32F99D0AFDF669D9C",
    "{SSHA.HEX}9707ad059b20255351825f5c7e61eded448fad4af508c46c",
    (
        "{SSHA512.B64}ovLUfnk56WhKKkFP4EmHzQ+1TDQG9qbcV56y3Fj+NnGv3LDdv2jrBRQ2JVbw1esJN6H9i/"
        "fYrP0I7nV6W78CZL9ZCQU="
    ),
    "{PLAIN}pässword",
    "{CLEARTEXT}pässword",
    "{PLAIN.B64}cMOkc3N3b3Jk",
]
MADE_BY_PASSLIB: Final = [
    "{PBKDF2}1000$WmsxeUJTUUxhYmM$ajwjDc7xS3op5moVsUy9VYWzD5U",
    "{PBKDF2-SHA1}1000$WmsxeUJTUUxhYmM$ajwjDc7xS3op5moVsUy9VYWzD5U",
    "{PBKDF2-SHA256}1000$WmsxeUJTUUxhYmM$WCLsAyIUvlEU/253aKe9qeYq5F1N2BCZqvuMeFE77lM",
    (
        "{PBKDF2-SHA512}1000$WmsxeUJTUUxhYmM$o3Z5RO6uLL693Um1Tl4Ho3JkXGPubdiC.OJlr4bUKWzO1rd"
        "5Hz8unW/CYofW1spP2ghCna.73GtlxwS5CYwPgg"
    ),
]
# RFC 7677 section 3, whose password is "pencil"
SALT: Final = "W22ZaJ0SNY7soEsUEjb6gQ=="
STORED: Final = "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
SERVER: Final = "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

ALL: Final = [
    *MADE_BY_OPENSSL,
    *MADE_BY_CRYPT,
    *MADE_BY_OPENLDAP,
    *MADE_BY_DOVECOT,
    *MADE_BY_PASSLIB,
]


@pytest.mark.parametrize("stored", ALL)
def test_what_others_made_is_checked(stored: str) -> None:
    assert verify(stored, PASSWORD)
    for wrong in ("passwort", PASSWORD + " ", PASSWORD.upper(), "", "\0" + PASSWORD):
        assert not verify(stored, wrong)


@pytest.mark.parametrize("stored", MADE_BY_OPENSSL + MADE_BY_CRYPT)
def test_crypt_has_one_meaning_with_and_without_a_prefix(stored: str) -> None:
    assert verify("{crypt}" + stored, PASSWORD)
    assert not verify("{CRYPT}" + stored, "other")


def test_traditional_crypt_looks_at_eight_octets() -> None:
    assert verify("ab2.2jMMMly6k", "passw")
    assert verify("{DES-CRYPT}ab2.2jMMMly6k", "passw")
    assert not verify("ab2.2jMMMly6k", "passx")


@pytest.mark.parametrize(
    "bomb",
    [
        "$6$rounds=999999999$salt$" + "a" * 86,
        "$5$rounds=2000001$salt$" + "a" * 43,
        "$2b$31$" + "a" * 53,
        "$2y$16$" + "a" * 53,
        "$y$jzzz$F5Jx5fExrKuPp53xLKQ..1$" + "a" * 43,
        "$gy$jzT$F5Jx5fExrKuPp53xLKQ..1$" + "a" * 43,
        "$7$zzzz./....Zk1yBSQLabc$" + "a" * 43,
        "$sha1$4000000000$Zk1yBSQL$4P1xnLa3YXqV3mJc.soS52mTobA0",
        "$md5,rounds=4000000000$Zk1yBSQL$$Lu1U2468JfcqeB5ftAqhz/",
        "_zzzzrasm3Era0lzguf2",
        "{ARGON2ID}$argon2id$v=19$m=4194304,t=3,p=1$V2arzVNuRiCNC56D6+KtFw$mdedUcPkxAasoM",
        "{ARGON2ID}$argon2id$v=19$m=65536,t=4294967295,p=1$V2arzVNuRiCNC56D6+KtFw$mdedUcPk",
        "{ARGON2ID}$argon2id$v=19$m=65536,t=1,p=65536$V2arzVNuRiCNC56D6+KtFw$mdedUcPkxA",
        "{PBKDF2}$1$salt$1000000000$34ec91e2bf6f5b689f2490180aa3791023f52017",
        "{PBKDF2-SHA512}999999999$WmsxeUJTUUxhYmM$o3Z5RO6uLL693Um1Tl4Ho3JkXGPubdiC.OJlr4b",
        (
            "{SCRAM-SHA-256}2147483647,DGBrG/bz0usW+pKWvTt5sg==,"
            "Uh77cAyS+qnPIvWg4Cyf+MjVNW7qtu6o0GQAGt8S6PI=,HKR1SSI55lJLbHzxIXpG6LFJ0N4wr9x="
        ),
    ],
)
def test_a_hash_that_would_keep_us_busy_is_not_begun(bomb: str) -> None:
    started = time.monotonic()
    with pytest.raises(UnknownScheme):
        verify(bomb, PASSWORD)
    assert time.monotonic() - started < 0.5


@pytest.mark.parametrize(
    "malformed",
    [
        "",
        "x",
        "password",
        "{NOSUCH}abc",
        "{SSHA}",
        "{SSHA}!!!!",
        "{SSHA}cr4v2r2y",
        "{MD5.HEX}zz",
        "{PLAIN.B64}%%%",
        "{PLAIN.B64}/w==",
        "{CRYPT}",
        "$6$",
        "$1$ü$yGgWvN5ZXqiv9bHwp9rK9.",
        "{ARGON2ID}",
        "{ARGON2ID}$argon2id$v=19$m=x,t=1,p=1$a$b",
        "{ARGON2ID}$argon2id$v=19$m=99999999999999999999,t=1,p=1$V2arzVNuRiCN$mded",
        "{PBKDF2}$1$salt$5000",
        "{PBKDF2}$1$salt$x$34ec",
        "{PBKDF2}$2$salt$5000$34ec91e2bf6f5b689f2490180aa3791023f52017",
        "{PBKDF2}$1$salt$5000$34",
        "{PBKDF2-SHA256}1000",
        "{PBKDF2-SHA256}0$WmsxeUJTUUxhYmM$WCLsAyIUvlEU",
        "{SCRAM-SHA-256}4096,salt",
        "{SCRAM-SHA-256}0,DGBrG/bz0usW+pKWvTt5sg==,Uh77,HKR1",
        "{SCRAM-SHA-256}4096,DGBrG/bz0usW+pKWvTt5sg==,Uh77,HKR1",
    ],
)
def test_what_cannot_be_checked_is_no_wrong_password(malformed: str) -> None:
    """Nor are the stored value's own octets in the reason: it may be a password."""
    with pytest.raises(UnknownScheme) as told:
        verify(malformed, PASSWORD)
    value = malformed.partition("}")[2]
    assert len(value) < 3 or value not in str(told.value)


@pytest.mark.parametrize(
    ("stored", "locked"),
    [
        ("!", True),
        ("*", True),
        ("*LK*", True),
        ("!$6$salt$abc", True),
        ("{CRYPT}!$6$salt$abc", True),
        ("{crypt}*LK*", True),
        ("{CRYPT}x", False),
        ("{PLAIN}!secret", False),
        ("{SSHA}!", False),
        ("$6$salt$abc", False),
    ],
)
def test_a_lock_is_told_from_a_hash(stored: str, locked: bool) -> None:
    """shadow(5): what begins with "!" or "*" is nobody's hash."""
    assert is_locked(stored) is locked


@in_reactor
async def test_threads_check_and_say_what_they_found() -> None:
    threads = HashThreads(reactor, 2)  # type: ignore[arg-type]
    threads.start()
    try:
        assert await threads.verify(MADE_BY_OPENSSL[0], PASSWORD)
        assert not await threads.verify(MADE_BY_OPENSSL[0], "other")
        with pytest.raises(UnknownScheme):
            await threads.verify("{NOSUCH}", PASSWORD)
    finally:
        threads.stop()


@in_reactor
async def test_more_than_so_many_do_not_wait() -> None:
    """And who gave up waiting counts until its turn has come and gone."""
    threads = HashThreads(reactor, 1, most_waiting=2)  # type: ignore[arg-type]
    threads.start()
    slow = "$6$rounds=200000$Zk1yBSQL$" + "a" * 86
    try:
        first, second = (
            Deferred.fromCoroutine(threads.verify(slow, PASSWORD)) for _ in range(2)
        )
        second.cancel()
        with pytest.raises(CancelledError):
            await second
        with pytest.raises(DirectoryUnavailable, match="too many"):
            await threads.verify(slow, PASSWORD)
        assert not await first
        assert await threads.verify(MADE_BY_OPENSSL[0], PASSWORD)
    finally:
        threads.stop()


@pytest.mark.rfc("5803", "2")
@pytest.mark.parametrize(
    "stored",
    [
        f"SCRAM-SHA-256$4096:{SALT}${STORED}:{SERVER}",
        f" scram-sha-256 $ 4096:{SALT} $ {STORED}:{SERVER} ",
    ],
)
def test_a_password_is_checked_against_an_authpassword_value(stored: str) -> None:
    assert verify(stored, "pencil")
    assert not verify(stored, "pen")


def test_an_authpassword_value_that_is_cut_is_no_no() -> None:
    with pytest.raises(UnknownScheme):
        verify("SCRAM-SHA-256$many:!$x:y", "pencil")


@pytest.mark.parametrize(
    ("stored", "password"),
    [
        ("{PLAIN}pencil", "pencil"),
        ("{cleartext}a:b", "a:b"),
        ("{PLAIN.B64}cGVuY2ls", "pencil"),
        ("{CLEAR.HEX}70656e", "pen"),
        ("{PLAIN.B64}!", None),
        ("{SSHA}cGVuY2ls", None),
        ("{CRYPT}x", None),
        ("pencil", None),
        ("!{PLAIN}pencil", None),
    ],
)
def test_a_password_in_the_clear_is_seen(stored: str, password: str | None) -> None:
    assert clear_text(stored) == password
