"""Hosts of a test's own: network namespaces on one bridge, with real ports."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from attrs import define, field

NETWORK: Final = "10.53.0"
NETWORK_IPV6: Final = "fd53::"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, timeout=20)


@define
class Host:
    """A host with one address of each family and processes of its own."""

    namespace: str
    number: int
    folder: Path
    """What belongs to it; also holds its resolv.conf."""

    _processes: "list[subprocess.Popen[bytes]]" = field(factory=list, init=False)

    @property
    def address(self) -> str:
        """Its IPv4 address."""
        return f"{NETWORK}.{self.number}"

    @property
    def address_ipv6(self) -> str:
        """Its IPv6 address."""
        return f"{NETWORK_IPV6}{self.number}"

    def command(
        self, *words: object, binds: Sequence[tuple[Path, str]] = ()
    ) -> list[str]:
        """The command to run ``words`` on this host.

        ``binds``: files and folders put in the place of the machine's own, for
        programs whose paths are compiled in; seen by this command alone.
        """
        mounts = [(self.folder / "resolv.conf", "/etc/resolv.conf"), *binds]
        script = "".join(f"mount --bind '{one}' '{place}' && " for one, place in mounts)
        return [
            *("ip", "netns", "exec", self.namespace),
            *("sh", "-c", script + 'exec "$@"', "sh"),
            *(str(word) for word in words),
        ]

    def run(
        self,
        *words: object,
        text: str | None = None,
        binds: Sequence[tuple[Path, str]] = (),
    ) -> str:
        """Run to the end; gives what it wrote.

        Raises:
            AssertionError: it failed.
        """
        done = subprocess.run(
            self.command(*words, binds=binds),
            input=text,
            text=True,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def start(
        self, *words: object, binds: Sequence[tuple[Path, str]] = ()
    ) -> "subprocess.Popen[bytes]":
        """Start a daemon in the foreground; it ends with the host."""
        with (self.folder / "output").open("ab") as output:
            process = subprocess.Popen(
                self.command(*words, binds=binds),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def stop(self) -> None:
        """End what was started, and what that left behind."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(15)
        # Daemons that left their session; all in the namespace are the test's.
        left = subprocess.run(
            ["ip", "netns", "pids", self.namespace],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        ).stdout.split()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(int(pid), 9)


class Hosts:
    """``with Hosts(folder) as hosts: hosts.add("mx", 2)``. Needs root."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._prefix = f"submitd-{os.getpid()}"
        self._hub = f"{self._prefix}-hub"
        self._hosts: list[Host] = []

    def __enter__(self) -> Self:
        _ip("netns", "add", self._hub)
        _ip("-n", self._hub, "link", "add", "bridge", "type", "bridge")
        _ip("-n", self._hub, "link", "set", "bridge", "up")
        return self

    def add(self, name: str, number: int, resolver: str) -> Host:
        """A host; ``resolver`` is the address of its name server."""
        folder = self._folder / name
        folder.mkdir()
        folder.chmod(0o755)
        (folder / "resolv.conf").write_text(f"nameserver {resolver}\n")
        host = Host(f"{self._prefix}-{name}", number, folder)
        inside = ("-n", host.namespace)
        _ip("netns", "add", host.namespace)
        self._hosts.append(host)
        _ip(
            *("-n", self._hub, "link", "add", f"port{number}", "type", "veth"),
            *("peer", "name", "eth0", "netns", host.namespace),
        )
        _ip("-n", self._hub, "link", "set", f"port{number}", "master", "bridge", "up")
        _ip(*inside, "link", "set", "lo", "up")
        _ip(*inside, "address", "add", f"{host.address}/24", "dev", "eth0")
        # No wait for somebody else who has it.
        _ip(
            *(*inside, "address", "add", f"{host.address_ipv6}/64", "dev", "eth0"),
            "nodad",
        )
        _ip(*inside, "link", "set", "eth0", "up")
        return host

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for host in self._hosts:
            host.stop()
            _ip("netns", "delete", host.namespace)
        _ip("netns", "delete", self._hub)


def until(holds: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Wait for other processes. Blocks.

    Raises:
        AssertionError: it did not hold in time; tells ``what``.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.05)  # noqa: TID251 - other processes are at work


def listens(host: Host, port: int) -> bool:
    """Whether somebody listens on that port of the host."""
    probe = f"import socket; socket.create_connection(('{host.address}', {port}), 2)"
    done = subprocess.run(
        host.command(sys.executable, "-c", probe),
        stderr=subprocess.DEVNULL,
        timeout=20,
        check=False,
    )
    return done.returncode == 0
