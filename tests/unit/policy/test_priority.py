"""How urgent a submitter's mail may be."""

import pytest

from submitd.policy.priority import Priorities


@pytest.mark.rfc("6710", "4.1")
@pytest.mark.parametrize(
    ("login", "asked", "assigned"),
    [
        ("alarms", 9, 6),
        ("Alarms", 6, 6),
        ("alarms", -9, -9),
        ("alice", 6, 1),
        ("alice", 0, 0),
        ("newsletter", 0, 0),
        ("newsletter", 1, 0),
    ],
)
def test_only_who_is_authorised_has_a_higher_priority(
    login: str, asked: int, assigned: int
) -> None:
    priorities = Priorities(1, {"alarms": 6, "newsletter": 0})
    assert priorities.assigned(login, asked) == assigned
