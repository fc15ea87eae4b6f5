"""``submitctl auth``: what it asks the server, and what it prints."""

import json
import os

import pytest

from tests.support.operator import Operator, answering

BRAKED = {
    "kind": "account",
    "name": "alice\x1b[2J",
    "since": "2026-01-31T12:00:00Z",
    "until": "2026-01-31T12:10:00Z",
    "failures": 20,
    "refusals": 2,
    "client": "192.0.2.1",
}


def test_who_is_put_off_is_listed(operator: Operator) -> None:
    """What a guesser typed does not drive the terminal."""
    with answering(operator, {"ok": True, "braked": [BRAKED]}) as heard:
        status, out, _ = operator.run("auth", "list")

    assert heard == [{"do": "auth-list"}]
    assert status == 0
    assert out == (
        "account  alice?[2J  since 2026-01-31T12:00:00Z until 2026-01-31T12:10:00Z  "
        "20 failures  refusal 2  last from 192.0.2.1\n"
    )


def test_programs_get_an_object_a_line(operator: Operator) -> None:
    with answering(operator, {"ok": True, "braked": [BRAKED, BRAKED]}):
        _, out, _ = operator.run("auth", "list", "--json")

    assert [json.loads(line) for line in out.splitlines()] == [BRAKED, BRAKED]


def test_one_name_is_unblocked(operator: Operator) -> None:
    done = {"ok": True, "count": 1, "unblocked": ["alice"]}
    with answering(operator, done) as heard:
        assert operator.run("auth", "unblock", "alice") == (0, "unblocked: alice\n", "")

    assert heard == [{"do": "auth-unblock", "name": "alice", "all": False}]


def test_all_are_unblocked(operator: Operator) -> None:
    with answering(operator, {"ok": True, "count": 3, "unblocked": ["a"]}) as heard:
        status, out, _ = operator.run("auth", "unblock", "--all")

    assert (status, out) == (0, "unblocked: a\nunblocked: 2 more\n")
    assert heard == [{"do": "auth-unblock", "name": None, "all": True}]
    with answering(operator, {"ok": True, "count": 0, "unblocked": []}):
        assert operator.run("auth", "unblock", "--all") == (0, "", "")


def test_who_was_not_put_off_is_said(operator: Operator) -> None:
    with answering(operator, {"ok": True, "count": 0, "unblocked": []}):
        status, _, err = operator.run("auth", "unblock", "bob")

    assert (status, err) == (os.EX_NOINPUT, "submitctl: bob was not put off\n")


@pytest.mark.parametrize("words", [[], ["alice", "--all"]])
def test_it_must_be_said_whom(operator: Operator, words: list[str]) -> None:
    status, _, err = operator.run("auth", "unblock", *words)

    assert status == os.EX_USAGE
    assert "an account, a network, or --all" in err


@pytest.mark.parametrize("words", [["list"], ["unblock", "alice"]])
def test_what_the_server_says_against_it_is_told(
    operator: Operator, words: list[str]
) -> None:
    with answering(operator, {"ok": False, "problems": ["an internal error"]}):
        assert operator.run("auth", *words) == (
            os.EX_UNAVAILABLE,
            "",
            "submitctl: an internal error\n",
        )
    status, _, err = operator.run("auth", *words)
    assert status == os.EX_UNAVAILABLE
    assert err.endswith("Is submitd running?\n")
