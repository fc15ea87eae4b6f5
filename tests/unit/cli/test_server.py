"""``submitctl reload`` and ``status``, and what all commands have in common."""

import json
import os
import subprocess
import sys

import pytest

from submitd.cli.main import main
from tests.support.operator import Operator, answering

STATUS = {
    "ok": True,
    "version": "0.1.0",
    "pid": 41,
    "uptime": 7,
    "ready": True,
    "workers": [
        {"name": "w1", "pid": 42, "ready": True, "draining": False},
        {"name": "w0", "pid": 40, "ready": True, "draining": True},
        {"name": "w2", "pid": 43, "ready": False, "draining": False},
    ],
    "listeners": [
        {"name": "submission", "address": "::", "port": 587, "tls": "starttls"}
    ],
}


def test_the_status_is_shown_for_people(operator: Operator) -> None:
    with answering(operator, STATUS) as heard:
        status, out, err = operator.run("status")

    assert heard == [{"do": "status"}]
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "submitd 0.1.0, process 41, up 7 s, ready",
        "  w1  process 42  ready",
        "  w0  process 40  draining",
        "  w2  process 43  starting",
        "  submission  :: port 587  tls starttls",
    ]


def test_the_status_is_an_object_for_programs(operator: Operator) -> None:
    with answering(operator, STATUS):
        status, out, _ = operator.run("status", "--json")

    assert status == 0
    assert json.loads(out) == {
        name: fact for name, fact in STATUS.items() if name != "ok"
    }


def test_a_server_that_cannot_tell_its_status_is_not_shown_as_running(
    operator: Operator,
) -> None:
    with answering(operator, {"ok": False, "problems": ["an internal error"]}):
        status, out, err = operator.run("status")

    assert (status, out) == (os.EX_UNAVAILABLE, "")
    assert err == "submitctl: an internal error\n"


def test_a_reload_is_asked_for(operator: Operator) -> None:
    with answering(operator, {"ok": True}) as heard:
        assert operator.run("reload") == (0, "", "")

    assert heard == [{"do": "reload"}]


def test_what_is_wrong_with_a_new_configuration_is_told(operator: Operator) -> None:
    with answering(operator, {"ok": False, "problems": ["a is wrong", "b is wrong"]}):
        status, _, err = operator.run("reload")

    assert status == os.EX_CONFIG
    assert err == "submitctl: a is wrong\nsubmitctl: b is wrong\n"


@pytest.mark.parametrize("command", ["reload", "status"])
def test_where_no_server_runs_it_is_said(operator: Operator, command: str) -> None:
    status, out, err = operator.run(command)

    assert (status, out) == (os.EX_UNAVAILABLE, "")
    assert err.startswith(f"submitctl: {operator.folder}/control.sock: No such file")
    assert err.endswith("Is submitd running?\n")


def test_every_command_has_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])

    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for command in ("check", "whoami", "queue", "reload", "status", "dkim"):
        assert f"\n    {command} " in shown


def test_a_reader_that_has_seen_enough_is_no_error(operator: Operator) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "submitd.cli.main", "check"],
        env={**os.environ, "SUBMITD_CONFIG": str(operator.file)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        said = running.stderr.read()
        running.wait(60)

    assert (running.returncode, said) == (0, b"")


def test_an_interrupt_ends_a_command_without_a_traceback(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("submitd.cli.check.check", interrupted)

    assert operator.run("check")[0] == 130
