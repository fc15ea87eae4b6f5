"""What holds for all tests: peers by name, an end to waiting, no skip in CI."""

import os
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final, cast

import greenlet
import pytest
import pytest_timeout
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from scripts.peers import read_peers

IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose peers are not here, by name."""
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root")
    known = read_peers()
    for marker in item.iter_markers("peers"):
        for name in marker.args:
            if known[name].path is None:
                pytest.skip(f"needs {name}, which is not installed")


@pytest.fixture(scope="session")
def peer() -> Callable[[str], Path]:
    """The file of a peer, by its name in scripts/peers.txt."""

    def path_of(name: str) -> Path:
        path = read_peers()[name].path
        if path is None:
            pytest.skip(f"needs {name}, which is not installed")
        return path

    return path_of


_PATIENCE: Final = pytest.StashKey[IDelayedCall]()
_GAVE_UP: Final = pytest.StashKey[bool]()
_STATUS: Final = pytest.StashKey[int]()


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(
    item: pytest.Item, settings: pytest_timeout.Settings
) -> Generator[None, object, object]:
    """End a test that waits in the reactor, too.

    pytest-timeout raises in whatever runs when the time is over. Where that is
    the reactor, it logs the exception and waits on, for ever.
    """
    from twisted.internet import reactor

    clock = cast("IReactorTime", reactor)
    test = greenlet.getcurrent()

    def give_up() -> None:
        item.config.stash[_GAVE_UP] = True
        test.throw(pytest.fail.Exception(f"waited {settings.timeout:g} s in vain"))

    # Before pytest-timeout's own alarm, which is for tests that block.
    item.stash[_PATIENCE] = clock.callLater(settings.timeout * 0.9, give_up)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> Generator[None, object, object]:
    patience = item.stash.get(_PATIENCE, None)
    if patience is not None and patience.active():
        patience.cancel()
    return (yield)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """What an abandoned test has left running must not keep the run from ending."""
    if config.stash.get(_GAVE_UP, False):
        sys.stdout.flush()
        os._exit(config.stash[_STATUS])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[
    None, pytest.TestReport, pytest.TestReport
]:
    """In CI a test that was skipped proves nothing, and that is a failure."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = _in_ci(report.longrepr)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[
    None, pytest.CollectReport, pytest.CollectReport
]:
    """The same for a whole module that asked to be skipped."""
    report = yield
    if IN_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = _in_ci(report.longrepr)
    return report


def _in_ci(skip: object) -> str:
    # pytest tells a skip as file, line and reason.
    reason = skip[2] if isinstance(skip, tuple) else skip
    return f"in CI nothing may be skipped; {reason}"
