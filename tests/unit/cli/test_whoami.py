"""``submitctl whoami``: the addresses, and who grants each."""

import json
import os

from submitd.auth.portal import Explanation
from submitd.auth.submitter import (
    Anything,
    Exactly,
    Permission,
    WholeDomain,
    WithSubaddresses,
)
from submitd.cli.whoami import as_lines, as_object
from submitd.mail.address import parse_mailbox
from tests.support.operator import Operator

ALICE = parse_mailbox("alice@example.org")
PRESS = parse_mailbox("press@example.org")
EXPLAINED = Explanation(
    "alice",
    "uid=alice,ou=people,dc=example",
    "accountStatus is inactive",
    (
        Permission(WithSubaddresses(ALICE), "own", "{login}@example.org"),
        Permission(Exactly(PRESS), "role", "cn=press,dc=example (mail)"),
        Permission(WholeDomain("lists.example.org"), "lists", "/etc/senders:4"),
        Permission(Anything(), "relay", "any = true"),
    ),
)


def test_each_address_stands_with_its_rule_and_source() -> None:
    assert list(as_lines(EXPLAINED)) == [
        "login      alice",
        "entry      uid=alice,ou=people,dc=example",
        "locked     accountStatus is inactive",
        "may use    alice@example.org (and alice+…)  [own] {login}@example.org",
        "may use    press@example.org  [role] cn=press,dc=example (mail)",
        "may use    @lists.example.org  [lists] /etc/senders:4",
        "may use    any address  [relay] any = true",
    ]


def test_who_may_use_nothing_is_told() -> None:
    assert list(as_lines(Explanation("eve", "", "", ()))) == [
        "login      eve",
        "entry      (the directory has none)",
        "locked     no",
        "may use    no address at all",
    ]


def test_programs_get_stable_names() -> None:
    shown = as_object(EXPLAINED)

    assert shown["lock"] == "accountStatus is inactive"
    assert [
        (one["address"], one["subaddresses"], one["rule"]) for one in shown["addresses"]
    ] == [
        ("alice@example.org", True, "own"),
        ("press@example.org", False, "role"),
        ("@lists.example.org", False, "lists"),
        ("*", False, "relay"),
    ]


def test_the_sources_are_asked_as_a_log_in_would_ask_them(operator: Operator) -> None:
    status, out, err = operator.start("whoami", "alice", "--json")

    assert (status, err) == (0, "")
    assert [
        (one["address"], one["source"]) for one in json.loads(out)["addresses"]
    ] == [
        ("alice@example.org", "{login}@example.org"),
        ("press@example.org", f"{operator.folder}/senders:1"),
        ("@lists.example.org", f"{operator.folder}/senders:1"),
    ]


def test_who_has_no_address_is_no_user_here(operator: Operator) -> None:
    text = operator.file.read_text()
    operator.file.write_text(
        text.replace('[senders.rule.own]\ntemplate = "{login}@example.org"\n', "")
    )

    status, out, _ = operator.start("whoami", "eve")

    assert status == os.EX_NOUSER
    assert "no address at all" in out


def test_a_source_that_cannot_tell_is_not_a_no(operator: Operator) -> None:
    (operator.folder / "senders").unlink()

    status, out, err = operator.start("whoami", "alice")

    assert (status, out) == (os.EX_TEMPFAIL, "")
    assert "submitctl: cannot tell: " in err
