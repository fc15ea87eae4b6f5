"""``twistd submitd`` with a configuration, and what its operator sees of it."""

import json
import ssl
import subprocess
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from attrs import define, field
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.support.certificates import make_certificate
from tests.support.hosts import until
from tests.support.in_reactor import in_reactor
from tests.support.one_process import in_thread
from tests.support.receiver import Receiver
from tests.support.twistd import Twistd

PASSWORDS: Final = {"alice": "wonderland", "bob": "buildings"}
"""Whom the file ``passwords`` knows."""


@define
class Server:
    """One in a folder of its own. Everything blocks.

    A test module has a class below this one, with a configuration and ports.
    """

    folder: Path
    twistd: Twistd = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.twistd = Twistd(self.folder)
        self.certify()
        lines = (f"{one}:{{PLAIN}}{word}\n" for one, word in PASSWORDS.items())
        (self.folder / "passwords").write_text("".join(lines))

    def certify(self) -> None:
        """Give it another certificate, in ``cert.pem`` and ``key.pem``."""
        make_certificate(self.folder, "cert.pem", "key.pem", ["localhost"])

    def configure(self, text: str) -> None:
        """Write its configuration."""
        (self.folder / "submitd.toml").write_text(text)

    @property
    def trust(self) -> ssl.SSLContext:
        """For a client that is to believe its certificate."""
        return ssl.create_default_context(cafile=str(self.folder / "cert.pem"))

    def workers(self) -> set[int]:
        """Pids of those that are ready and are to stay."""
        found = self.twistd.status().get("workers", [])
        return {one["pid"] for one in found if one["ready"] and not one["draining"]}

    def settle(self, workers: int = 2) -> set[int]:
        """Wait until so many workers are ready, and no others; their pids."""

        def settled() -> bool:
            all_ = self.twistd.status().get("workers", [])
            return len(all_) == workers and all(one["ready"] for one in all_)

        until(settled, f"{workers} workers", 20)
        return set(self.twistd.workers())

    def logged(self, event: str) -> list[dict[str, Any]]:
        """What was logged of this kind so far, where the log is in JSON."""
        log = self.folder / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [one for one in map(_parsed, lines) if one.get("event") == event]

    def logs(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until it was logged so often."""
        until(lambda: len(self.logged(event)) >= count, f"{count} {event}", 40)
        return self.logged(event)

    def submitctl(self, *words: str) -> str:
        """What it writes.

        Raises:
            AssertionError: its exit status was not 0.
        """
        done = self.try_submitctl(*words)
        assert done.returncode == 0, done
        return done.stdout

    def try_submitctl(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run it, whatever comes of it."""
        return subprocess.run(
            [
                *(sys.executable, "-m", "submitd.cli.main"),
                *("--config", str(self.folder / "submitd.toml")),
                *words,
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def _parsed(line: str) -> dict[str, Any]:
    # The last line may be half written.
    with suppress(ValueError):
        parsed = json.loads(line)
        if isinstance(parsed, dict):
            return parsed
    return {}


S = TypeVar("S", bound=Server)
R = TypeVar("R", bound=Receiver)


def serving(
    receive: Callable[[], R], serve: Callable[[Path, R, int], S]
) -> Callable[
    [Callable[[S], None]], Callable[[Path], Coroutine[Deferred[Any], Any, None]]
]:
    """A decorator: the test blocks, in a thread; its receiver lives in the reactor.

    ``serve`` makes a server of a folder, the receiver, and the port of that.
    """

    def served(
        test: Callable[[S], None],
    ) -> Callable[[Path], Coroutine[Deferred[Any], Any, None]]:
        async def run(tmp_path: Path) -> None:
            receiver = receive()
            try:
                server = serve(tmp_path, receiver, receiver.listen(reactor))
                try:
                    await in_thread(lambda: test(server))
                finally:
                    await in_thread(server.twistd.end)
            finally:
                await receiver.close()

        run.__name__ = run.__qualname__ = test.__name__
        run.__doc__ = test.__doc__
        run.__module__ = test.__module__
        return in_reactor(run)

    return served
