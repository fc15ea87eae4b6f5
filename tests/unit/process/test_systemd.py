"""What the service manager hears."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from submitd.process.systemd import ServiceManager
from tests.support.recorded_events import RecordedEvents


class Manager:
    """The end of the socket that systemd listens on."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(5)

    def hears(self) -> list[str]:
        return self.socket.recv(4096).decode().split("\n")


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify"))
    yield made
    made.socket.close()


def test_it_hears_of_start_reload_and_stop(manager: Manager, tmp_path: Path) -> None:
    events = RecordedEvents()
    ours = ServiceManager(Clock(), {"NOTIFY_SOCKET": str(tmp_path / "notify")}, events)
    ours.ready("all is well")
    assert manager.hears() == ["READY=1", "STATUS=all is well"]
    ours.reloading()
    state, moment, _ = manager.hears()
    assert state == "RELOADING=1"
    assert int(moment.removeprefix("MONOTONIC_USEC=")) > 0
    ours.stopping(2.5)
    assert manager.hears()[:2] == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=2500000"]
    ours.alive()
    assert manager.hears() == ["WATCHDOG=1"]
    assert not events.names


def test_a_busy_manager_misses_nothing(manager: Manager, tmp_path: Path) -> None:
    clock = Clock()
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    ours = ServiceManager(clock, environ, RecordedEvents())
    for _ in range(100):
        ours.alive()
    ours.ready("all is well")
    beats = 0
    while (said := manager.hears()) == ["WATCHDOG=1"]:
        beats += 1
        clock.advance(1)
    assert said[0] == "READY=1"
    assert beats < 100


def test_an_abstract_address_is_reached() -> None:
    name = f"submitd-test-{os.getpid()}"
    manager = Manager(f"\0{name}")
    ServiceManager(Clock(), {"NOTIFY_SOCKET": f"@{name}"}, RecordedEvents()).alive()
    assert manager.hears() == ["WATCHDOG=1"]
    manager.socket.close()


def test_without_a_manager_nothing_is_said() -> None:
    ours = ServiceManager(Clock(), {"WATCHDOG_USEC": "1000000"}, RecordedEvents())
    ours.ready("all is well")
    assert ours.watchdog is None


def test_a_manager_that_is_gone_stops_nobody(tmp_path: Path) -> None:
    events = RecordedEvents()
    ServiceManager(Clock(), {"NOTIFY_SOCKET": str(tmp_path / "gone")}, events).stopping(
        1
    )
    assert events.names == ["manager-unreached"]


@pytest.mark.parametrize(
    ("more", "period"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "often"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_meant_for_this_process_alone(
    more: dict[str, str], period: float | None
) -> None:
    ours = ServiceManager(Clock(), {"NOTIFY_SOCKET": "@x"} | more, RecordedEvents())
    assert ours.watchdog == period
