"""Whose addresses are whose, and why."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from submitd.auth.addresses import (
    AddressFile,
    AddressRules,
    AnyAddress,
    Attributes,
    Domains,
    Grants,
    RoleSearch,
    Rule,
    Template,
)
from submitd.auth.files import TableFile, parse_senders
from submitd.auth.ldap import Filter
from submitd.auth.submitter import Submitter
from submitd.mail.address import parse_mailbox
from tests.support.awaited import awaited
from tests.support.in_reactor import in_reactor
from tests.support.known_entries import KnownEntries, entry
from tests.support.recorded_events import RecordedEvents

ALICE = entry(
    "alice", mail=("Alice@Example.org", "a.b@example.net"), other="x@y.example"
)


def rules(*kinds: Grants, subaddresses: bool = False) -> AddressRules:
    return AddressRules(
        [Rule(name=f"r{number}", kind=kind) for number, kind in enumerate(kinds)],
        subaddresses=subaddresses,
        events=RecordedEvents(),
    )


def may(who: Submitter, *addresses: str) -> list[bool]:
    return [
        who.permission_for(parse_mailbox(address)) is not None for address in addresses
    ]


def submitter(*kinds: Grants, subaddresses: bool = False) -> Submitter:
    known = rules(*kinds, subaddresses=subaddresses)
    return Submitter("alice", awaited(known.permissions("alice", ALICE)))


def test_attributes_of_the_entry_are_hers() -> None:
    who = submitter(Attributes(("mail",)))
    assert may(who, "alice@example.org", "ALICE@EXAMPLE.ORG", "a.b@example.net") == (
        [True] * 3
    )
    assert may(who, "x@y.example", "alice@example.net", "alice+x@example.org") == (
        [False] * 3
    )
    assert who.permissions[0].source == "uid=alice,ou=users,dc=example,dc=org (mail)"


@pytest.mark.rfc("5233", "4")
def test_subaddresses_are_hers_where_configured() -> None:
    who = submitter(Attributes(("mail",)), subaddresses=True)
    assert may(who, "alice+lists@example.org", "alice@example.org") == [True, True]
    assert may(who, "alicex+a@example.org", "+alice@example.org") == [False, False]


def test_a_template_is_filled_with_the_login() -> None:
    kind = Template("{login}@example.org")
    assert awaited(kind.grants("alice", None)) == [
        ("alice@example.org", "{login}@example.org")
    ]
    assert awaited(kind.grants("alice@EXAMPLE.org", None)) == [
        ("alice@example.org", "{login}@example.org")
    ]
    ours = Template("{login}@example.org", frozenset({"example.net"}))
    assert awaited(ours.grants("alice@example.net", None)) == [
        ("alice@example.org", "{login}@example.org")
    ]


@pytest.mark.parametrize("login", ["ceo@customer.net", "ceo@sub.example.org", "ceo@"])
def test_somebody_of_another_domain_is_not_the_person_of_that_name(login: str) -> None:
    assert awaited(Template("{login}@example.org").grants(login, None)) == []


def test_a_login_that_makes_no_address_is_granted_none() -> None:
    events = RecordedEvents()
    known = AddressRules(
        [Rule(name="own", kind=Template("{login}@example.org"))],
        subaddresses=False,
        events=events,
    )
    assert awaited(known.permissions("a b <c", None)) == ()
    assert events.names == ["directory-odd"]


def test_roles_are_searched_with_login_and_dn() -> None:
    press = entry("press", owner=ALICE.dn, mail="press@example.org")
    known = KnownEntries([ALICE, press])
    kind = RoleSearch(
        known,  # type: ignore[arg-type]
        "ou=roles",
        Filter("(owner={dn})", ["dn", "login"]),
        ("mail",),
    )
    assert may(submitter(kind), "press@example.org", "alice@example.org") == [
        True,
        False,
    ]
    assert awaited(kind.grants("alice", None)) == []
    known.asked.clear()
    awaited(kind.grants("nobody", entry("nobody")))
    assert known.asked == ["filter"]


@in_reactor
async def test_a_file_grants_addresses_and_domains(tmp_path: Path) -> None:
    path = tmp_path / "senders"
    path.write_text("# x\nalice: info@example.org @shop.example\n")
    kind = AddressFile(path, TableFile(Clock(), path, parse_senders, RecordedEvents()))
    granted = await rules(kind).permissions("Alice", None)
    who = Submitter("Alice", granted)
    assert may(who, "info@example.org", "any@shop.example") == [True, True]
    assert may(who, "any@example.org", "any@sub.shop.example") == [False, False]
    assert granted[0].source == f"{path}:2"


def test_whole_domains_and_any_address() -> None:
    who = submitter(Domains(("example.net",)))
    assert may(who, "x@example.net", "x@example.org") == [True, False]
    assert may(submitter(AnyAddress()), "x@example.com") == [True]


@pytest.mark.parametrize(("login", "rights"), [("Alice", 1), ("alice", 1), ("bob", 0)])
def test_a_rule_may_hold_for_some_logins_only(login: str, rights: int) -> None:
    known = AddressRules(
        [Rule(name="any", kind=AnyAddress(), logins=frozenset({"alice"}))],
        subaddresses=False,
        events=RecordedEvents(),
    )
    assert len(awaited(known.permissions(login, None))) == rights


@pytest.mark.parametrize(
    "value", ["", "alice", "@", "a@b@c", "<a@example.org>", "a\r@b"]
)
def test_a_value_that_is_no_address_grants_nothing_and_is_told(value: str) -> None:
    events = RecordedEvents()

    class One:
        async def grants(self, login: str, entry: object) -> Sequence[tuple[str, str]]:  # noqa: ARG002
            return [(value, "somewhere"), ("alice@example.org", "somewhere")]

    known = AddressRules(
        [Rule(name="odd", kind=One())], subaddresses=False, events=events
    )
    (granted,) = awaited(known.permissions("alice", None))
    assert granted.grant.covers(parse_mailbox("alice@example.org"))
    assert [facts["value"] for _, facts in events.emitted] == [value]
