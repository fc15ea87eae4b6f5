"""From a client's certificate to a login."""

import pytest

from submitd.auth.certificates import BadPattern, ByEmail, ByPrincipal, BySubject
from submitd.sasl.channel import CertificateNames


def names(subject: str = "CN=x", **more: tuple[str, ...]) -> CertificateNames:
    facts = {"emails": (), "upns": ()} | more
    return CertificateNames(subject, facts["emails"], facts["upns"], "00")


def test_alternative_names_are_tried_in_order_up_to_a_bound() -> None:
    shown = names(emails=("a@x.example", "b@x.example"), upns=("c@y.example",))
    assert ByEmail().logins(shown) == ("a@x.example", "b@x.example")
    assert ByPrincipal().logins(shown) == ("c@y.example",)
    many = names(emails=("a",) * 50, upns=("b",) * 50)
    assert len(ByEmail().logins(many)) == len(ByPrincipal().logins(many)) == 10


PATTERN = "CN={login},OU=people,O=Example"


@pytest.mark.rfc("4514", "3")
@pytest.mark.parametrize(
    ("pattern", "subject", "logins"),
    [
        (PATTERN, "CN=alice,OU=people,O=Example", ("alice",)),
        (PATTERN, "CN=alice,OU=People,O=EXAMPLE", ("alice",)),
        (PATTERN, "CN=a\\,OU\\=people\\,O\\=Example,OU=hosts,O=Example", ()),
        (PATTERN, "CN=alice,OU=hosts,O=Example", ()),
        (PATTERN, "CN=alice,O=Example", ()),
        (PATTERN, "OU=people,CN=alice,O=Example", ()),
        (PATTERN, "CN=alice,OU=people,O=Example,C=DE", ()),
        (PATTERN, "CN=alice+UID=bob,OU=people,O=Example", ()),
        (PATTERN, "not a name", ()),
        ("UID={login}+CN=x,O=E", "CN=x+UID=alice,O=E", ("alice",)),
        ("CN=mail-{login}.user,O=E", "CN=mail-alice.user,O=E", ("alice",)),
        ("CN=mail-{login}.user,O=E", "CN=mail-.user,O=E", ()),
        ("CN=mail-{login}.user,O=E", "CN=mail-alice,O=E", ()),
        ("CN=ab{login}ba,O=E", "CN=aba,O=E", ()),
        ("2.5.4.3={login}", "CN=alice", ("alice",)),
    ],
)
def test_a_subject_fits_its_pattern_as_a_whole(
    pattern: str, subject: str, logins: tuple[str, ...]
) -> None:
    assert BySubject(pattern).logins(names(subject)) == logins


@pytest.mark.parametrize(
    "pattern", ["", "CN=x", "{login}", "CN={login},O={login}", "CN={login}{login}"]
)
def test_a_pattern_has_one_place(pattern: str) -> None:
    with pytest.raises(BadPattern):
        BySubject(pattern)
