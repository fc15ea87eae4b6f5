"""``submitctl quota show``: used and allowed."""

import json
import os
import sqlite3
import time

from submitd.mail.usage import Span
from submitd.spool.recovery import open_spool
from submitd.spool.sqlite import DATABASE
from tests.support.operator import Operator

QUOTA = """
[quota]
burst = 2
recipients_per_day = 50
on_excess = "hold"
[quota.rule.few]
logins = ["Robot"]
messages_per_hour = 5
later_messages = "off"
later_size = "off"
[quota.rule.free]
logins = ["satellite"]
later_messages = "off"
later_size = "off"
"""


def use(operator: Operator) -> float:
    """alice has sent two messages, and robot one. Gives the moment."""
    operator.add(QUOTA)
    state = operator.folder / "state"
    open_spool(state).close()
    now = time.time()
    with sqlite3.connect(state / DATABASE) as spool:
        for login, span, messages in (
            ("alice", Span.MINUTE, 2),
            ("alice", Span.DAY, 2),
            ("robot", Span.HOUR, 1),
        ):
            spool.execute(
                "INSERT INTO usage (login, span, until, messages, recipients) "
                "VALUES (?, ?, ?, ?, ?)",
                (login, span.value, now + 50, messages, 12),
            )
    return now


def test_each_limit_is_shown_with_what_is_used(operator: Operator) -> None:
    use(operator)
    status, out, _ = operator.run("quota", "show", "Alice")

    assert status == 0
    burst, recipients, *held = out.splitlines()
    assert burst.startswith("burst                   2 of 2 used, again in ")
    assert recipients == "recipients_per_day      12 of 50 used"
    assert held == [
        "held_messages           0 of 200 used",
        "held_size               0 kB of 500 MB used",
        "later_messages          0 of 200 used",
        "later_size              0 kB of 500 MB used",
    ]


def test_a_rule_stands_in_the_place_of_the_limits_of_all(operator: Operator) -> None:
    use(operator)

    assert operator.run("quota", "show", "robot") == (
        0,
        "messages_per_hour       1 of 5 used\n",
        "",
    )
    assert operator.run("quota", "show", "satellite")[1] == "satellite has no limit\n"
    assert operator.run("quota", "show", "satellite", "--json") == (0, "", "")


def test_a_login_may_look_like_an_option(operator: Operator) -> None:
    use(operator)
    status, out, _ = operator.run("quota", "show", "--", "-x")

    assert status == 0
    assert out.startswith("burst                   0 of 2 used")


def test_programs_get_an_object_a_limit(operator: Operator) -> None:
    now = use(operator)
    _, out, _ = operator.run("quota", "show", "alice", "--json")

    burst, recipients, *held = (json.loads(line) for line in out.splitlines())
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + 50))
    assert burst == {"limit": "burst", "allowed": 2, "used": 2, "again_at": stamp}
    assert recipients["again_at"] is None
    assert [one["limit"] for one in held] == [
        "held_messages",
        "held_size",
        "later_messages",
        "later_size",
    ]
    assert held[1] | {"limit": ""} == {
        "limit": "",
        "allowed": 500_000_000,
        "used": 0,
        "again_at": None,
    }


def test_where_there_is_no_spool_it_is_said(operator: Operator) -> None:
    status, _, err = operator.run("quota", "show", "alice")

    assert status == os.EX_UNAVAILABLE
    assert "there is no spool here" in err
