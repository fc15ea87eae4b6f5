"""Where mail for a domain goes."""

from collections.abc import Callable
from ipaddress import ip_address
from random import Random

import pytest

from submitd.dns.answer import ResolverUnavailable
from submitd.dns.exchangers import (
    IPV4_FIRST,
    IPV6_FIRST,
    LOOP,
    NO_ROUTE,
    NO_SUCH_DOMAIN,
    TAKES_NO_MAIL,
    Exchangers,
    Host,
    Undeliverable,
    find_exchangers,
    find_host,
    literal_exchangers,
    parse_literal,
)
from submitd.dns.message import AddressRecord, IPAddress, RecordType
from submitd.mail.status import EnhancedCode
from tests.support.awaited import awaited
from tests.support.dns_answers import StagedResolver

OURS = frozenset({(ip_address("192.0.2.99"), 25), (ip_address("2001:db8::99"), 25)})


def is_own(address: IPAddress, port: int) -> bool:
    return (address, port) in OURS


def find(
    resolver: StagedResolver,
    domain: str = "example.org",
    *,
    port: int = 25,
    own_names: frozenset[str] = frozenset({"submit.example"}),
    families: tuple[RecordType, ...] = IPV6_FIRST,
    seed: int = 1,
) -> Exchangers | Undeliverable:
    return awaited(
        find_exchangers(
            resolver,
            domain,
            random=Random(seed),
            port=port,
            own_names=own_names,
            is_own=is_own,
            families=families,
        )
    )


def all_groups(found: Exchangers | Undeliverable) -> list[list[str]]:
    """The names of the hosts, group by group, as a courier would try them."""
    assert isinstance(found, Exchangers)
    groups: list[list[str]] = []
    group: Exchangers | None = found
    while group is not None:
        groups.append([host.name for host in group.hosts])
        group = awaited(group.next_best())
    return groups


def refused(found: Exchangers | Undeliverable) -> tuple[EnhancedCode, str]:
    assert isinstance(found, Undeliverable)
    return found.status, found.diagnostic


@pytest.mark.rfc("5321", "5.1")
def test_hosts_come_by_preference_and_are_looked_up_when_needed() -> None:
    resolver = StagedResolver()
    resolver.mx("example.org", (20, "b.example"), (10, "a.example"), (30, "c.example"))
    for name, address in (("a", "192.0.2.1"), ("b", "192.0.2.2"), ("c", "192.0.2.3")):
        resolver.host(f"{name}.example", address)

    found = find(resolver)

    assert isinstance(found, Exchangers)
    assert found.domain == "example.org"
    assert found.hosts == (
        Host(name="a.example", addresses=(ip_address("192.0.2.1"),), preference=10),
    )
    assert {name for name, _ in resolver.asked} == {"example.org", "a.example"}
    assert all_groups(found) == [["a.example"], ["b.example"], ["c.example"]]


@pytest.mark.rfc("5321", "5.1")
def test_among_equals_chance_decides() -> None:
    """To spread the load across the hosts of a domain."""
    resolver = StagedResolver()
    names = [f"mx{i}.example" for i in range(3)]
    resolver.mx("example.org", *((10, name) for name in names))
    for name in names:
        resolver.host(name, "192.0.2.1")

    orders = {tuple(all_groups(find(resolver, seed=seed))[0]) for seed in range(60)}

    assert len(orders) == 6


@pytest.mark.rfc("5321", "5.1")
def test_without_mx_records_the_domain_is_the_host() -> None:
    resolver = StagedResolver()
    resolver.host("example.org", "192.0.2.1", "2001:db8::1")

    assert all_groups(find(resolver)) == [["example.org"]]


@pytest.mark.rfc("5321", "5.1")
def test_with_mx_records_the_domain_itself_is_no_host() -> None:
    """Even when none of the hosts can be used."""
    resolver = StagedResolver()
    resolver.mx("example.org", (10, "gone.example"))
    resolver.host("example.org", "192.0.2.1")

    assert refused(find(resolver)) == (NO_ROUTE, "gone.example does not exist")


@pytest.mark.rfc("7505", "3")
def test_a_null_mx_says_that_the_domain_takes_no_mail() -> None:
    resolver = StagedResolver()
    resolver.mx("example.org", (0, "."))
    resolver.host("example.org", "192.0.2.1")

    status, diagnostic = refused(find(resolver))

    assert status == TAKES_NO_MAIL == EnhancedCode(5, 1, 10)
    assert diagnostic == "example.org takes no mail (null MX)"


@pytest.mark.rfc("7505", "3")
def test_a_null_mx_among_others_is_passed_over() -> None:
    resolver = StagedResolver()
    resolver.mx("example.org", (0, "."), (10, "a.example"))
    resolver.host("a.example", "192.0.2.1")

    found = find(resolver)

    assert all_groups(found) == [["a.example"]]
    assert isinstance(found, Exchangers)
    assert found.skipped == ("example.org has a null MX among others",)


def test_a_domain_that_does_not_exist_fails_for_good() -> None:
    status, diagnostic = refused(find(StagedResolver()))

    assert status == NO_SUCH_DOMAIN == EnhancedCode(5, 1, 2)
    assert diagnostic == "there is no example.org in the DNS"


def test_what_is_no_domain_fails_for_good() -> None:
    assert refused(find(StagedResolver(), "a..example"))[0] == NO_SUCH_DOMAIN


@pytest.mark.rfc("5321", "5.1")
def test_when_nobody_can_tell_of_mx_records_the_mail_waits() -> None:
    """The domain's own address would be another host than the one it named."""
    resolver = StagedResolver()
    resolver.host("example.org", "192.0.2.1")
    resolver.fail("example.org", RecordType.MX)

    with pytest.raises(ResolverUnavailable):
        find(resolver)


def test_a_domain_without_mx_and_address_fails_for_good() -> None:
    resolver = StagedResolver()
    resolver.host("example.org")

    assert refused(find(resolver)) == (
        NO_ROUTE,
        "example.org has no address that this server can use",
    )


def test_hosts_that_cannot_be_used_are_passed_over_with_their_reasons() -> None:
    resolver = StagedResolver()
    resolver.mx(
        "example.org",
        (1, "192.0.2.7"),
        (2, "2001:db8::7"),
        (3, "gone.example"),
        (4, "bare.example"),
        (5, "mx\\046evil.example"),
        (6, "failing.example"),
        (7, "a.example"),
    )
    resolver.host("bare.example")
    resolver.host("a.example", "192.0.2.1")
    resolver.fail("failing.example")

    found = find(resolver)

    assert isinstance(found, Exchangers)
    assert [host.name for host in found.hosts] == ["a.example"]
    assert found.skipped == (
        "192.0.2.7 is an address, no host",
        "2001:db8::7 is an address, no host",
        "gone.example does not exist",
        "bare.example has no address that this server can use",
        (
            "mx\\046evil.example is no host name: "
            "the name has characters that cannot be looked up"
        ),
        "AAAA failing.example: the name server failed: SERVFAIL",
    )


def test_one_host_of_which_nobody_can_tell_keeps_the_mail() -> None:
    """It may be there tomorrow: a passing fault returns no mail."""
    resolver = StagedResolver()
    resolver.mx("example.org", (10, "gone.example"), (20, "failing.example"))
    resolver.fail("failing.example")

    with pytest.raises(ResolverUnavailable, match="failing"):
        find(resolver)


def test_a_long_list_of_reasons_is_cut() -> None:
    resolver = StagedResolver()
    resolver.mx("example.org", *((i, f"gone{i}.example") for i in range(9)))

    assert refused(find(resolver))[1] == (
        "gone0.example does not exist; gone1.example does not exist; "
        "gone2.example does not exist"
    )


@pytest.mark.parametrize(
    "name_ourselves",
    [
        lambda resolver: resolver.host("ours.example", "192.0.2.99"),
        lambda resolver: resolver.host("ours.example", "192.0.2.50", "2001:db8::99"),
        lambda resolver: resolver.tell(
            "ours.example",
            RecordType.A,
            AddressRecord(ip_address("192.0.2.50")),
            real_name="submit.example",
        ),
    ],
    ids=["address", "one of many addresses", "alias of our name"],
)
@pytest.mark.rfc("5321", "5.1")
def test_what_is_no_better_than_ourselves_gets_no_mail(
    name_ourselves: Callable[[StagedResolver], None],
) -> None:
    """Or mail would go round between us and a host that sends it to us."""
    resolver = StagedResolver()
    resolver.mx(
        "example.org",
        (10, "better.example"),
        (20, "ours.example"),
        (20, "equal.example"),
        (30, "worse.example"),
    )
    for name in ("better", "equal", "worse"):
        resolver.host(f"{name}.example", "192.0.2.1")
    name_ourselves(resolver)

    assert all_groups(find(resolver)) == [["better.example"]]


@pytest.mark.rfc("5321", "5.1")
def test_our_own_name_is_ourselves_without_a_look() -> None:
    resolver = StagedResolver()
    resolver.mx(
        "example.org", (10, "a.example"), (20, "submit.example"), (30, "b.example")
    )
    resolver.host("a.example", "192.0.2.1")
    resolver.host("b.example", "192.0.2.2")

    assert all_groups(find(resolver)) == [["a.example"]]
    assert "submit.example" not in {name for name, _ in resolver.asked}


@pytest.mark.parametrize("ours", ["submit.example", "ours.example"])
def test_mail_that_would_come_back_to_us_fails_for_good(ours: str) -> None:
    resolver = StagedResolver()
    resolver.mx("example.org", (10, ours), (20, "b.example"))
    resolver.host("ours.example", "192.0.2.99")
    resolver.host("b.example", "192.0.2.2")

    status, diagnostic = refused(find(resolver))

    assert status == LOOP == EnhancedCode(5, 4, 6)
    assert diagnostic == (
        "mail for example.org comes back to this server, which does not keep it"
    )


def test_a_better_host_of_which_nobody_can_tell_is_waited_for() -> None:
    """We are its second: the mail is meant to wait here until it is back."""
    resolver = StagedResolver()
    resolver.mx("example.org", (10, "failing.example"), (20, "submit.example"))
    resolver.fail("failing.example")

    with pytest.raises(ResolverUnavailable):
        find(resolver)


def test_our_address_with_another_port_is_another_server() -> None:
    """A mail server on the same machine that takes mail on port 25."""
    resolver = StagedResolver()
    resolver.mx("example.org", (10, "ours.example"))
    resolver.host("ours.example", "192.0.2.99")

    assert all_groups(find(resolver, port=2525)) == [["ours.example"]]


def test_a_domain_that_is_ourselves_by_its_address_comes_back() -> None:
    resolver = StagedResolver()
    resolver.host("example.org", "192.0.2.99")

    assert refused(find(resolver))[0] == LOOP


@pytest.mark.rfc("5321", "5.2")
@pytest.mark.parametrize(
    ("families", "versions"),
    [
        (IPV6_FIRST, [6, 4, 6, 4, 4]),
        (IPV4_FIRST, [4, 6, 4, 6, 4]),
        ((RecordType.A,), [4, 4, 4]),
        ((RecordType.AAAA,), [6, 6]),
    ],
)
def test_the_families_take_turns(
    families: tuple[RecordType, ...], versions: list[int]
) -> None:
    """One that is broken here costs one attempt, not one for each address."""
    resolver = StagedResolver()
    resolver.host(
        "example.org",
        *(f"192.0.2.{i}" for i in range(3)),
        *(f"2001:db8::{i}" for i in range(2)),
    )

    found = find(resolver, families=families)

    assert isinstance(found, Exchangers)
    assert [address.version for address in found.hosts[0].addresses] == versions


@pytest.mark.rfc("5321", "5.1")
def test_the_addresses_of_a_host_come_in_random_order() -> None:
    resolver = StagedResolver()
    resolver.host("example.org", *(f"192.0.2.{i}" for i in range(3)))

    orders = set()
    for seed in range(60):
        found = find(resolver, seed=seed)
        assert isinstance(found, Exchangers)
        orders.add(found.hosts[0].addresses)

    assert len(orders) == 6


@pytest.mark.parametrize("missing", [RecordType.A, RecordType.AAAA])
def test_one_family_is_enough_whatever_became_of_the_other(missing: RecordType) -> None:
    """Name servers that fail at AAAA are common."""
    resolver = StagedResolver()
    resolver.host("example.org", "192.0.2.1", "2001:db8::1")
    resolver.fail("example.org", missing)

    found = find(resolver)

    assert isinstance(found, Exchangers)
    assert len(found.hosts[0].addresses) == 1


@pytest.mark.parametrize("failing", [RecordType.A, RecordType.AAAA])
def test_a_family_of_which_nobody_can_tell_leaves_it_open(failing: RecordType) -> None:
    resolver = StagedResolver()
    resolver.host("example.org")
    resolver.fail("example.org", failing)

    with pytest.raises(ResolverUnavailable):
        find(resolver)


def test_a_domain_with_very_many_hosts_keeps_nobody_busy() -> None:
    resolver = StagedResolver()
    names = [f"mx{i}.example" for i in range(30)]
    resolver.mx("example.org", *((i // 4, name) for i, name in enumerate(names)))
    for name in names:
        resolver.host(name, "192.0.2.1")

    groups = all_groups(find(resolver))

    assert [len(group) for group in groups] == [4, 4, 2]


def test_hosts_with_very_many_addresses_are_tried_at_twenty_only() -> None:
    resolver = StagedResolver()
    resolver.mx("example.org", *((i // 2, f"mx{i}.example") for i in range(6)))
    for i in range(6):
        resolver.host(f"mx{i}.example", *(f"192.0.{i}.{j}" for j in range(7)))

    sizes: list[list[int]] = []
    group: Exchangers | Undeliverable | None = find(resolver)
    while group is not None:
        assert isinstance(group, Exchangers)
        sizes.append([len(host.addresses) for host in group.hosts])
        group = awaited(group.next_best())

    assert sizes == [[7, 7], [6]]


def test_one_host_with_very_many_addresses_leaves_room_for_the_next() -> None:
    resolver = StagedResolver()
    resolver.mx("example.org", (1, "a.example"), (2, "b.example"))
    resolver.host("a.example", *(f"192.0.2.{i}" for i in range(90)))
    resolver.host("b.example", *(f"192.0.3.{i}" for i in range(90)))

    found = find(resolver)

    assert isinstance(found, Exchangers)
    assert len(found.hosts[0].addresses) == 10
    assert all_groups(found) == [["a.example"], ["b.example"]]


def test_a_host_named_twice_is_tried_once_at_its_better_preference() -> None:
    resolver = StagedResolver()
    resolver.mx("example.org", (20, "a.example"), (10, "a.example"), (15, "b.example"))
    resolver.host("a.example", "192.0.2.1")
    resolver.host("b.example", "192.0.2.2")

    assert all_groups(find(resolver)) == [["a.example"], ["b.example"]]


def test_what_comes_after_the_first_hosts_may_be_nothing() -> None:
    """Those that were tried decide what becomes of the mail."""
    for spoil in (
        lambda resolver: resolver.host("b.example"),
        lambda resolver: resolver.host("b.example", "192.0.2.99"),
    ):
        resolver = StagedResolver()
        resolver.mx("example.org", (10, "a.example"), (20, "b.example"))
        resolver.host("a.example", "192.0.2.1")
        spoil(resolver)

        assert all_groups(find(resolver)) == [["a.example"]]


@pytest.mark.rfc("5321", "5.1")
def test_a_host_of_which_nobody_can_tell_is_not_left_out_in_silence() -> None:
    """It may take what the others refuse."""
    resolver = StagedResolver()
    resolver.mx("example.org", (10, "a.example"), (10, "b.example"), (20, "c.example"))
    resolver.host("a.example", "192.0.2.1")
    resolver.fail("b.example")
    resolver.fail("c.example")

    found = find(resolver)

    assert isinstance(found, Exchangers)
    assert [host.name for host in found.hosts] == ["a.example"]
    assert "b.example" in found.unresolved
    with pytest.raises(ResolverUnavailable, match=r"c\.example"):
        awaited(found.next_best())


@pytest.mark.rfc("7672", "2.2.1")
@pytest.mark.parametrize("of_list", [True, False])
@pytest.mark.parametrize("of_host", [True, False])
def test_who_vouches_is_said_of_the_list_and_of_each_host(
    *, of_list: bool, of_host: bool
) -> None:
    resolver = StagedResolver()
    resolver.mx("example.org", (10, "a.example"), authenticated=of_list)
    resolver.host("a.example", "192.0.2.1", authenticated=of_host)

    found = find(resolver)

    assert isinstance(found, Exchangers)
    assert found.authenticated is of_list
    assert found.hosts[0].authenticated is of_host


def test_a_host_that_the_operator_named_is_looked_up_without_mx() -> None:
    resolver = StagedResolver()
    resolver.mx("relay.example", (10, "other.example"))
    resolver.host("relay.example", "192.0.2.1")

    found = awaited(
        find_host(
            resolver,
            "relay.example",
            random=Random(1),
            port=587,
            own_names=frozenset(),
            is_own=is_own,
        )
    )

    assert all_groups(found) == [["relay.example"]]
    assert RecordType.MX not in {kind for _, kind in resolver.asked}


@pytest.mark.rfc("5321", "4.1.3")
@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("[192.0.2.1]", "192.0.2.1"),
        ("[IPv6:2001:db8::1]", "2001:db8::1"),
        ("[ipv6:::1]", "::1"),
    ],
)
def test_an_address_literal_is_its_own_host(text: str, address: str) -> None:
    found = literal_exchangers(text, port=25, is_own=is_own)

    assert found == Exchangers(
        domain=text,
        hosts=(Host(name=text, addresses=(ip_address(address),)),),
        authenticated=False,
    )
    assert all_groups(found) == [[text]]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[",
        "192.0.2.1",
        "[192.0.2.1",
        "[192.0.2.256]",
        "[192.0.02.1]",
        "[2001:db8::1]",
        "[IPv6:192.0.2.1]",
        "[IPv6:fe80::1%eth0]",
        "[x:y]",
    ],
)
def test_what_is_no_address_literal_is_no_host(text: str) -> None:
    assert parse_literal(text) is None
    assert refused(literal_exchangers(text, port=25, is_own=is_own))[0] == (
        NO_SUCH_DOMAIN
    )


def test_an_address_literal_of_ours_comes_back() -> None:
    for text in ("[192.0.2.99]", "[IPv6:2001:db8::99]"):
        assert refused(literal_exchangers(text, port=25, is_own=is_own))[0] == LOOP
        found = literal_exchangers(text, port=2525, is_own=is_own)
        assert isinstance(found, Exchangers)


@pytest.mark.parametrize(
    ("text", "family"),
    [("[192.0.2.1]", RecordType.AAAA), ("[IPv6:2001:db8::1]", RecordType.A)],
)
def test_an_address_literal_of_a_family_that_is_off_cannot_be_reached(
    text: str, family: RecordType
) -> None:
    found = literal_exchangers(text, port=25, is_own=is_own, families=(family,))

    assert refused(found)[0] == NO_ROUTE


@pytest.mark.rfc("6761", "6.3")
def test_localhost_is_loopback_without_a_question() -> None:
    """For a route that an operator configured; from MX it is refused later on."""
    resolver = StagedResolver()
    found = awaited(
        find_host(
            resolver,
            "localhost",
            random=Random(1),
            port=25,
            own_names=frozenset(),
            is_own=is_own,
        )
    )
    assert isinstance(found, Exchangers)
    assert sorted(str(address) for _, address in found.in_order()) == [
        "127.0.0.1",
        "::1",
    ]
    assert resolver.asked == []
