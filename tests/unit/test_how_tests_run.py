"""What tests/conftest.py promises of every test."""

import socket
from pathlib import Path
from typing import Final

import pytest

from tests.support.dns_peers import free_port

pytest_plugins = ["pytester"]

CONFTEST: Final = Path(__file__).resolve().parents[1] / "conftest.py"
CHECKOUT: Final = CONFTEST.parents[1]

SKIPPED: Final = """
import pytest

@pytest.mark.skip(reason="not today")
def test_by_mark(): pass

def test_by_hand():
    pytest.skip("nor tomorrow")

@pytest.mark.peers("nobody-has-it")
def test_by_peer(): pass

@pytest.mark.xfail(strict=True, reason="known")
def test_known(): assert False
"""
WAITING: Final = """
import threading
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

@pytest.mark.timeout(2)
@pytest_twisted.ensureDeferred
async def test_that_waits_for_ever():
    # What a server of its own would leave behind: it would hold the exit.
    threading.Thread(target=threading.Event().wait).start()
    await Deferred()

@pytest.mark.timeout(2)
def test_that_never_gives_way():
    while True:
        pass

@pytest_twisted.ensureDeferred
async def test_after_these():
    await deferLater(reactor, 0, lambda: None)
"""
MODULE: Final = "import pytest\npytest.importorskip('nobody_has_it')\n"


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with our conftest and a peer that nobody has."""
    pytester.makeconftest(
        CONFTEST.read_text(encoding="utf-8").replace(
            "from scripts.peers import read_peers",
            "class Absent:\n    path = None\n"
            "def read_peers(): return {'nobody-has-it': Absent}\n",
        )
    )
    return pytester


def outcomes(project: pytest.Pytester) -> dict[str, int]:
    quiet = ("--continue-on-collection-errors", "-W", "ignore")
    found = project.runpytest_subprocess(*quiet, timeout=60).parseoutcomes()
    return {name: number for name, number in found.items() if "warning" not in name}


def test_at_a_desk_a_skip_is_a_skip(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    project.makepyfile(test_skipped=SKIPPED, test_module=MODULE)

    assert outcomes(project) == {"skipped": 4, "xfailed": 1}


def test_in_ci_a_skip_is_a_failure(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a test, and of a whole module; what is known to fail stays that."""
    monkeypatch.setenv("CI", "true")
    project.makepyfile(test_skipped=SKIPPED, test_module=MODULE)

    assert outcomes(project) == {"failed": 1, "errors": 3, "xfailed": 1}


def test_a_test_that_hangs_ends_alone(project: pytest.Pytester) -> None:
    """Be it in the reactor or not; the next one finds the reactor in order."""
    project.makepyfile(test_waiting=WAITING)

    assert outcomes(project) == {"failed": 2, "passed": 1}


def test_no_port_is_given_twice_nor_where_another_family_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The system may well name the same one again, and knows of one family."""
    given = free_port()
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        named = iter([given, taken.getsockname()[1]])
        bind = socket.socket.bind

        def bound(self: socket.socket, address: tuple[str, int]) -> None:
            bind(self, (address[0], address[1] or next(named, 0)))

        monkeypatch.setattr(
            socket, "socket", type("S", (socket.socket,), {"bind": bound})
        )
        found = free_port()
        assert found not in (given, taken.getsockname()[1])
        assert next(named, None) is None
