"""The processes of the demonstration: started, watched, stopped."""

import os
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from demo.settings import ROOT, Unusable

_START_TIME: Final = 30.0
_STOP_TIME: Final = 20.0
_MOST_SAID: Final = 1000
_LAST_WORDS: Final = 3
"""Lines of a log that are shown when its process has died."""


class Child:
    """One process, whose words go to a file."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        """Start it. Raises Unusable: it cannot be started."""
        self.name = name
        self._log = log
        try:
            with log.open("wb") as words:
                self.process: subprocess.Popen[bytes] = self._start(command, words)
        except OSError as problem:
            raise Unusable(f"{command[0]} cannot be started: {problem.strerror}") from (
                problem
            )

    def _start(
        self, command: Sequence[str], words: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        # util-linux has a way to let it end with us even if we are killed.
        if guard := shutil.which("setpriv"):
            command = (guard, "--pdeathsig", "TERM", "--", *command)
        return subprocess.Popen(  # noqa: S603 - commands of our own
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            # Ctrl-C is for us alone: children are stopped in order.
            process_group=0,
        )

    @property
    def has_ended(self) -> bool:
        """It runs no more."""
        return self.process.poll() is not None

    def obituary(self) -> str:
        """How it ended, with its last words."""
        status = self.process.wait()
        how = (
            f"was ended by {signal.Signals(-status).name}"
            if status < 0
            else f"ended with status {status}"
        )
        lines = self._log.read_text(errors="replace").strip().splitlines()
        last = [f"\n  {line}" for line in lines[-_LAST_WORDS:]]
        return f"{self.name} {how}; its last words, from {self._log}:{''.join(last)}"

    def stop(self) -> None:
        """Ask it to end, and insist after a while."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(_STOP_TIME)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class EmbeddedServer(Child):
    """A server of `demo.serving`: it says on which port it is ready."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
    ) -> None:
        """Start it. Raises Unusable: it cannot be started."""
        self._said: deque[str] = deque(maxlen=_MOST_SAID)
        self._is_ready = threading.Event()
        self.port: int | None = None
        super().__init__(name, command, log)
        self._reader = threading.Thread(target=self._read, name=name, daemon=True)
        self._reader.start()

    def _start(
        self, command: Sequence[str], words: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - commands of our own
            command,
            cwd=ROOT,
            # It ends when this is closed, also by our own end.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            process_group=0,
        )

    def _read(self) -> None:
        assert self.process.stdout is not None  # noqa: S101
        for line in self.process.stdout:
            text = line.decode(errors="replace").rstrip()
            if self._is_ready.is_set():
                self._said.append(text)
            elif text.startswith("ready "):
                self.port = int(text.removeprefix("ready "))
                self._is_ready.set()
        self._is_ready.set()

    def more(self) -> list[str]:
        """What it said since the last call."""
        return [self._said.popleft() for _ in range(len(self._said))]

    def wait_ready(self) -> int:
        """The port. Raises Unusable: it does not serve."""
        self._is_ready.wait(_START_TIME)
        if self.port is not None:
            return self.port
        if not self._is_ready.is_set():
            raise Unusable(f"{self.name} was not ready after {_START_TIME:.0f} s")
        raise Unusable(self.obituary())


def no_interruption() -> None:
    """From now on signals do not hinder: the end is under way."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def interruption() -> None:
    """Let each signal that ends programs raise KeyboardInterrupt.

    Also where a shell started us in the background, with SIGINT ignored.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


def twistd(python: str) -> Path:
    """The command beside this Python. Raises Unusable: it is missing."""
    path = Path(python).parent / "twistd"
    if not os.access(path, os.X_OK):
        raise Unusable(f"{path} is missing; `make clean run` installs it anew")
    return path
