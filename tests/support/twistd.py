"""``twistd submitd`` as an operator starts it: a process to be killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from submitd.control.socket import ControlUnavailable, request
from submitd.spool.sqlite import SqliteStore


class Twistd:
    """Starts, kills and asks one server. Everything blocks: use it in a thread."""

    def __init__(
        self,
        folder: Path,
        command: Callable[..., list[str]] = lambda *words: list(words),
    ) -> None:
        """``folder`` holds submitd.toml, with state and control.sock beside it.

        ``command`` makes of its words those that run it somewhere else.
        """
        self._folder = folder
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, environ: Mapping[str, str] | None = None) -> None:
        """Start it, and wait until it is ready. ``environ`` adds to our own."""
        with (self._folder / "twistd.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(
                    str(Path(sys.executable).with_name("twistd")),
                    "-n",
                    "--pidfile=",
                    "submitd",
                    "--config",
                    str(self._folder / "submitd.toml"),
                ),
                stdout=log,
                stderr=log,
                env=os.environ | dict(environ or {}),
            )
        deadline = time.monotonic() + 45
        while not self.status().get("ready"):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((self._folder / "twistd.log").read_text()[-3000:])
            time.sleep(0.05)  # noqa: TID251 - another process makes it ready

    def status(self) -> dict[str, Any]:
        """``submitctl status``; empty while nobody answers."""
        try:
            return request(self._folder / "control.sock", {"do": "status"}, 5)
        except ControlUnavailable:
            return {}

    def workers(self) -> list[int]:
        """Process ids of its workers."""
        return [
            int(one["pid"]) for one in self.status().get("workers", ()) if one["pid"]
        ]

    def kill_worker(self, number: int) -> int:
        """kill -9 one of them; gives its process id.

        Raises:
            AssertionError: for ten seconds there was none to kill.
        """
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if pids := self.workers():
                victim = pids[number % len(pids)]
                try:
                    os.kill(victim, signal.SIGKILL)
                except ProcessLookupError:
                    continue  # it died of the kill before
                return victim
            time.sleep(0.02)  # noqa: TID251 - another process starts them
        raise AssertionError("there is no worker to kill")

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The supervisor, which was started."""
        assert self._process is not None
        return self._process

    def kill(self) -> None:
        """kill -9 the supervisor."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """A graceful stop; gives the exit status."""
        self.process.terminate()
        return self.process.wait(40)

    def end(self) -> None:
        """End what a test has left running, if anything."""
        if self._process is None or self._process.poll() is not None:
            return
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self.kill()

    def queued(self) -> int:
        """``submitctl queue count``, also while it is dead."""
        store = SqliteStore(self._folder / "state")
        try:
            return store.standing().messages
        finally:
            store.close()
