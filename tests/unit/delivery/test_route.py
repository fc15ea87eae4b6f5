"""Where mail goes, and where it must not."""

from ipaddress import ip_address, ip_network

import pytest

from submitd.delivery.hosts import AddressRules
from submitd.delivery.outcome import Delayed, Failed, Relayed, outcome_of
from submitd.delivery.route import Route, Routes, TlsPolicy
from submitd.mail.status import EnhancedCode
from submitd.smtp.client import NO_AUTH
from submitd.smtp.reply import Reply

ROUTES = Routes(
    {
        "exact.example": Route(key="exact", host="one"),
        ".example.net": Route(key="below", host="two"),
    },
    25,
    TlsPolicy.OPPORTUNISTIC,
)


@pytest.mark.parametrize(
    ("domain", "key"),
    [
        ("exact.example", "exact"),
        ("mail.example.net", "below"),
        ("a.b.example.net", "below"),
        ("example.net", "example.net"),
        ("other.example", "other.example"),
        ("[192.0.2.1]", "[192.0.2.1]"),
    ],
)
def test_the_most_exact_route_is_taken(domain: str, key: str) -> None:
    route = ROUTES.find(domain)
    assert route.key == key
    assert route.is_configured is (key != domain or domain == "exact.example")


def test_a_star_takes_everything_else() -> None:
    everything = Route(key="all", host="smart.example")
    routes = Routes({"*": everything}, 25, TlsPolicy.NONE)
    assert routes.find("example.org") is everything
    assert routes.find("[IPv6:2001:db8::1]") is everything


def test_tls_is_required_where_a_policy_says_so() -> None:
    required = {one for one in TlsPolicy if one.is_required}
    assert required == {TlsPolicy.ENCRYPT, TlsPolicy.VERIFY, TlsPolicy.IMPLICIT}


RULES = AddressRules(
    frozenset({("192.0.2.1", 25), ("0.0.0.0", 587), ("::", 587)}),
    (ip_network("127.0.0.0/30"),),
)


@pytest.mark.rfc("5321", "5.1")
@pytest.mark.parametrize(
    ("address", "port", "own"),
    [
        ("192.0.2.1", 25, True),
        ("192.0.2.1", 26, False),
        ("192.0.2.2", 25, False),
        ("127.0.0.1", 587, True),
        ("::1", 587, True),
        ("127.0.0.2", 587, False),
        ("127.0.0.1", 25, False),
        ("192.0.2.77", 587, False),
        ("2001:db8::77", 587, False),
    ],
)
def test_a_connection_to_ourselves_is_known_by_address_and_port(
    address: str,
    port: int,
    own: bool,
) -> None:
    """A wildcard listener does not make every loopback address ours."""
    assert RULES.is_own(ip_address(address), port) is own


@pytest.mark.parametrize(
    ("address", "configured", "objects"),
    [
        ("192.0.2.1", False, False),
        ("127.0.0.1", False, False),
        ("127.0.0.9", False, True),
        ("::1", False, True),
        ("::ffff:127.0.0.9", False, True),
        ("127.0.0.9", True, False),
        ("0.0.0.0", True, True),
        ("224.0.0.1", True, True),
        ("::", False, True),
    ],
)
def test_names_in_dns_do_not_lead_to_loopback(
    address: str,
    configured: bool,
    objects: bool,
) -> None:
    objection = RULES.objection(ip_address(address), configured=configured)
    assert bool(objection) is objects


@pytest.mark.rfc("5321", "4.2.1")
def test_replies_become_outcomes() -> None:
    host = "mx.example"
    assert outcome_of(Reply(250, None, "ok"), host) == Relayed(
        EnhancedCode(2, 0, 0), host, "250 ok", is_reply=True
    )
    assert outcome_of(Reply(550, EnhancedCode(5, 1, 1), "no"), host) == Failed(
        EnhancedCode(5, 1, 1), "550 5.1.1 no", host, is_reply=True
    )
    assert outcome_of(Reply(451, None, "later"), host) == Delayed(
        EnhancedCode(4, 0, 0), "451 later", host, is_reply=True
    )
    # What has no meaning there must not lose mail.
    assert outcome_of(Reply(354, None, "go on"), host) == Delayed(
        EnhancedCode(4, 5, 0), "354 go on", host, is_reply=True
    )
    # What we found wrong is not put into the host's mouth.
    assert not outcome_of(NO_AUTH, host).is_reply
