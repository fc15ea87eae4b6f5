"""The resolver and the search for exchangers, with unbound as name server."""

from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from random import Random
from typing import Final

import pytest
from attrs import frozen
from twisted.internet.defer import Deferred, gatherResults

from submitd.dns.answer import NameNotFound, ResolverUnavailable
from submitd.dns.exchangers import (
    NO_SUCH_DOMAIN,
    TAKES_NO_MAIL,
    Exchangers,
    Undeliverable,
    find_exchangers,
)
from submitd.dns.message import (
    AddressRecord,
    AliasRecord,
    CertificateRecord,
    ExchangerRecord,
    PointerRecord,
    RecordType,
    TextRecord,
)
from submitd.dns.resolver import CachingResolver, make_resolver
from tests.support.dns_peers import free_port, running_unbound, sign
from tests.support.in_reactor import in_reactor

pytestmark = [pytest.mark.integration, pytest.mark.peers("unbound")]

LONG_TEXT: Final = b"".join(b"%0255d" % i for i in range(12))
QUOTED_LONG_TEXT: Final = " ".join(f'"{i:0255d}"' for i in range(12))

ZONE: Final = f"""\
$TTL 300
@              SOA    ns admin 1 3600 600 86400 60
@              NS     ns
ns             A      127.0.0.1
@              MX     20 mx2
@              MX     10 MX1
mx1            A      192.0.2.1
mx1            AAAA   2001:db8::1
mx2            A      192.0.2.2
null           MX     0 .
text           TXT    "v=DKIM1; " "p=abc"
long           TXT    {QUOTED_LONG_TEXT}
alias          CNAME  alias2
alias2         CNAME  @
dangling       CNAME  nowhere
ring1          CNAME  ring2
ring2          CNAME  ring1
moved          DNAME  @
_25._tcp.mx1   TLSA   3 1 1 {"ab" * 32}
1              PTR    mx1
"""


@frozen
class Servers:
    """A validating resolver, and a port where nobody listens."""

    port: int
    dead_port: int


@pytest.fixture(scope="module")
def servers(
    peer: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    """One unbound serves the zones, another validates what that one says."""
    folder = tmp_path_factory.mktemp("dns")
    signed, forged = sign("signed.example", ZONE), sign("bogus.example", ZONE)
    (folder / "signed.zone").write_text(signed.text)
    (folder / "unsigned.zone").write_text(f"$ORIGIN unsigned.example.\n{ZONE}")
    # Signed, and changed afterwards.
    (folder / "bogus.zone").write_text(forged.text.replace("192.0.2.1", "192.0.2.66"))
    zones, port, dead_port = free_port(), free_port(), free_port()
    names = ("signed", "unsigned", "bogus")
    authority = "".join(
        f"auth-zone:\n  name: {name}.example\n  zonefile: {folder}/{name}.zone\n"
        "  for-downstream: yes\n  for-upstream: no\n  fallback-enabled: no\n"
        for name in names
    )
    resolver = (
        '  local-zone: "example." static\n'
        + "".join(
            f'  local-zone: "{n}.example." transparent\n' for n in (*names, "dead")
        )
        + "".join(
            f'  local-data: "many.example. 300 MX {i} host{i}.many.example."\n'
            for i in range(60)
        )
        + f'  trust-anchor: "{signed.trust_anchor}"\n'
        f'  trust-anchor: "{forged.trust_anchor}"\n'
        + "".join(
            f"stub-zone:\n  name: {name}.example\n  stub-addr: 127.0.0.1@{zones}\n"
            for name in names
        )
        + "forward-zone:\n  name: dead.example\n"
        f"  forward-addr: 127.0.0.1@{dead_port}\n"
    )
    program = peer("unbound")
    with (
        running_unbound(program, folder / "zones", zones, authority),
        running_unbound(program, folder / "resolver", port, resolver),
    ):
        yield Servers(port, dead_port)


@pytest.fixture(params=["127.0.0.1", "::1"])
def resolver(
    servers: Servers, request: pytest.FixtureRequest
) -> Iterator[CachingResolver]:
    from twisted.internet import reactor

    resolver = make_resolver(reactor, [(request.param, servers.port)], 10.0)
    yield resolver
    resolver.close()


@in_reactor
async def test_mx_records_of_a_signed_domain_are_authenticated(
    resolver: CachingResolver,
) -> None:
    answer = await resolver.query("Signed.Example", RecordType.MX)

    assert set(answer.records) == {
        ExchangerRecord(20, "mx2.signed.example"),
        ExchangerRecord(10, "mx1.signed.example"),
    }
    assert answer.authenticated
    assert 0 < answer.ttl <= 300


@in_reactor
async def test_an_unsigned_domain_has_the_same_records_without_a_voucher(
    resolver: CachingResolver,
) -> None:
    answer = await resolver.query("unsigned.example", RecordType.MX)

    assert len(answer.records) == 2
    assert not answer.authenticated


@pytest.mark.parametrize(
    ("name", "kind", "record"),
    [
        ("mx1", RecordType.A, AddressRecord(ip_address("192.0.2.1"))),
        ("mx1", RecordType.AAAA, AddressRecord(ip_address("2001:db8::1"))),
        ("text", RecordType.TXT, TextRecord(b"v=DKIM1; p=abc")),
        ("alias", RecordType.CNAME, AliasRecord("alias2.signed.example")),
        ("1", RecordType.PTR, PointerRecord("mx1.signed.example")),
        (
            "_25._tcp.mx1",
            RecordType.TLSA,
            CertificateRecord(3, 1, 1, b"\xab" * 32),
        ),
    ],
)
@in_reactor
async def test_each_kind_of_record_is_read(
    resolver: CachingResolver, name: str, kind: RecordType, record: object
) -> None:
    answer = await resolver.query(f"{name}.signed.example", kind)

    assert answer.records == (record,)
    assert answer.authenticated


@in_reactor
async def test_an_answer_too_long_for_a_datagram_comes_over_tcp(
    resolver: CachingResolver,
) -> None:
    answer = await resolver.query("long.signed.example", RecordType.TXT)

    assert answer.records == (TextRecord(LONG_TEXT),)


@in_reactor
async def test_many_records_come_over_tcp(resolver: CachingResolver) -> None:
    answer = await resolver.query("many.example", RecordType.MX)

    assert len(answer.records) == 60


@pytest.mark.parametrize("alias", ["alias.signed.example", "alias.unsigned.example"])
@in_reactor
async def test_aliases_are_followed(resolver: CachingResolver, alias: str) -> None:
    answer = await resolver.query(alias, RecordType.MX)

    domain = alias.removeprefix("alias.")
    assert answer.name == domain
    assert len(answer.records) == 2
    assert answer.authenticated is domain.startswith("signed")


@pytest.mark.rfc("6672", "3.1")
@in_reactor
async def test_a_tree_that_moved_is_followed(resolver: CachingResolver) -> None:
    answer = await resolver.query("mx1.moved.signed.example", RecordType.A)

    assert answer.name == "mx1.signed.example"
    assert answer.records == (AddressRecord(ip_address("192.0.2.1")),)


@in_reactor
async def test_a_missing_name_is_vouched_for_too(resolver: CachingResolver) -> None:
    with pytest.raises(NameNotFound) as signed:
        await resolver.query("nowhere.signed.example", RecordType.MX)
    with pytest.raises(NameNotFound) as unsigned:
        await resolver.query("dangling.unsigned.example", RecordType.MX)

    assert signed.value.authenticated
    assert unsigned.value.name == "nowhere.unsigned.example"
    assert not unsigned.value.authenticated


@in_reactor
async def test_no_records_of_a_kind_are_an_empty_answer(
    resolver: CachingResolver,
) -> None:
    answer = await resolver.query("mx2.signed.example", RecordType.AAAA)

    assert answer.records == ()
    assert answer.authenticated
    assert 0 < answer.ttl <= 60


@pytest.mark.parametrize("name", ["mx1.bogus.example", "ring1.signed.example"])
@in_reactor
async def test_what_cannot_be_told_is_not_told(
    resolver: CachingResolver, name: str
) -> None:
    """A forged signature and a ring of aliases: no answer, and no "none"."""
    with pytest.raises(ResolverUnavailable) as unavailable:
        await resolver.query(name, RecordType.A)

    assert unavailable.value.reason == "the name server failed: SERVFAIL"


@in_reactor
async def test_a_name_server_that_is_not_there_is_passed_over(
    servers: Servers,
) -> None:
    from twisted.internet import reactor

    resolver = make_resolver(
        reactor, [("127.0.0.1", servers.dead_port), ("127.0.0.1", servers.port)], 10.0
    )

    answer = await resolver.query("signed.example", RecordType.MX)

    assert len(answer.records) == 2
    resolver.close()


@in_reactor
async def test_without_any_name_server_nobody_can_tell(servers: Servers) -> None:
    from twisted.internet import reactor

    resolver = make_resolver(reactor, [("127.0.0.1", servers.dead_port)], 10.0)

    with pytest.raises(ResolverUnavailable, match="Connection refused"):
        await resolver.query("signed.example", RecordType.MX)
    resolver.close()


@in_reactor
async def test_many_questions_at_once_are_all_answered(
    resolver: CachingResolver,
) -> None:
    async def is_missing(name: str) -> bool:
        try:
            await resolver.query(name, RecordType.A)
        except NameNotFound as missing:
            return missing.name == name
        return False

    outcomes = await gatherResults(
        [
            Deferred.fromCoroutine(is_missing(f"host{i}.unsigned.example"))
            for i in range(500)
        ]
    )

    assert outcomes == [True] * 500


async def find(resolver: CachingResolver, domain: str) -> Exchangers | Undeliverable:
    return await find_exchangers(
        resolver,
        domain,
        random=Random(1),
        port=25,
        own_names=frozenset(),
        is_own=lambda _address, _port: False,
    )


@in_reactor
async def test_exchangers_come_in_order_with_both_families(
    resolver: CachingResolver,
) -> None:
    found = await find(resolver, "alias.signed.example")

    assert isinstance(found, Exchangers)
    assert [host.name for host in found.hosts] == ["mx1.signed.example"]
    assert found.hosts[0].addresses == (
        ip_address("2001:db8::1"),
        ip_address("192.0.2.1"),
    )
    assert found.authenticated
    assert found.hosts[0].authenticated
    second = await found.next_best()
    assert second is not None
    assert [host.name for host in second.hosts] == ["mx2.signed.example"]
    assert await second.next_best() is None


@in_reactor
async def test_a_domain_without_mx_records_takes_mail_itself(
    resolver: CachingResolver,
) -> None:
    found = await find(resolver, "mx2.signed.example")

    assert isinstance(found, Exchangers)
    assert [host.name for host in found.hosts] == ["mx2.signed.example"]


@in_reactor
async def test_a_null_mx_and_a_missing_domain_fail_for_good(
    resolver: CachingResolver,
) -> None:
    null = await find(resolver, "null.signed.example")
    missing = await find(resolver, "nowhere.signed.example")

    assert isinstance(null, Undeliverable)
    assert null.status == TAKES_NO_MAIL
    assert isinstance(missing, Undeliverable)
    assert missing.status == NO_SUCH_DOMAIN


@in_reactor
async def test_a_domain_whose_name_server_is_dead_is_waited_for(
    servers: Servers,
) -> None:
    from twisted.internet import reactor

    resolver = make_resolver(reactor, [("127.0.0.1", servers.port)], 0.5)

    with pytest.raises(ResolverUnavailable, match="no answer in time"):
        await find(resolver, "dead.example")
    resolver.close()
