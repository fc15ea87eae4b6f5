"""A worker process: a fork of the nursery, made when the supervisor says so.

When its supervisor is gone its pipe ends, and so does it.
"""

import gc
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.stdio import StandardIO
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from submitd.auth.known import KnownNetworks
from submitd.auth.throttle import LocalLoginCounts
from submitd.config.reader import Source, build_config
from submitd.observe.events import BUG
from submitd.observe.log import LibraryObserver
from submitd.process.counts import SharedCounts, login_limits
from submitd.process.crowds import MAKE_ROOM, OtherWorkers
from submitd.process.logins import SharedLogins
from submitd.process.logs import OpenLog, open_log
from submitd.process.material import load_material
from submitd.process.pipe import Pipe
from submitd.process.tree import WorkerTree

_ORPHANED: Final = 5.0
"""Seconds to finish when the supervisor is gone: the next one waits for us."""


class Worker:
    """One worker's life: start, work, drain, end."""

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401
        pipe: int,
        shared: Sequence[int],
    ) -> None:
        """``pipe`` to the supervisor; ``shared``: the spool's lock, listeners."""
        self._reactor = reactor
        self._shared = shared
        self._tree: WorkerTree | None = None
        self._log: OpenLog | None = None
        self._ending = False
        self.failed = False
        self._pipe = Pipe(
            reactor,
            {
                "start": self._start_or_fail,
                "drain": self._drain,
                "figures": self._figures,
                "certificate": self._look_at_certificate,
                "log-moved": self._reopen_log,
                MAKE_ROOM: self._make_room,
            },
            lambda: self._drain(_ORPHANED),
        )
        signal.signal(
            signal.SIGTERM,
            lambda *_: reactor.callFromThread(self._drain, _ORPHANED),
        )
        StandardIO(  # type: ignore[call-arg]  # mypy sees Windows' form
            self._pipe, stdin=pipe, stdout=os.dup(pipe), reactor=reactor
        )

    def _start_or_fail(self, **facts: Any) -> None:  # noqa: ANN401
        try:
            self._start(**facts)
        except Exception:  # noqa: BLE001
            # The supervisor is to see a failure, and the log its reason.
            self._fail(Failure())

    def _start(
        self,
        *,
        name: str,
        owner: str,
        number: int,
        workers: int,
        file: str,
        tables: dict[str, Any],
        origins: dict[str, str],
        listeners: dict[str, list[int]],
        own_addresses: list[tuple[str, int]],
        secret: str,
    ) -> None:
        source = Source(Path(file), tables, origins)
        config = build_config(source)
        self._log = log = open_log(config.log, worker=name)
        globalLogPublisher.addObserver(LibraryObserver(log.events))
        self._tree = WorkerTree(
            self._reactor,
            config,
            load_material(config, source),
            {
                listener: [self._shared[place] for place in places]
                for listener, places in listeners.items()
            },
            owner=owner,
            number=number,
            counts=SharedCounts(self._pipe, workers, log.events),
            logins=SharedLogins(
                self._pipe,
                LocalLoginCounts(
                    self._reactor,
                    login_limits(config).share(max(1, workers)),
                    KnownNetworks(config.log_in.known_networks, time.time),
                ),
                log.events,
            ),
            own_addresses=frozenset((host, port) for host, port in own_addresses),
            events=log.events,
            secret=bytes.fromhex(secret),
            elsewhere=OtherWorkers(self._pipe, max(1, workers), log.events),
        )
        Deferred.fromCoroutine(self._begin()).addErrback(self._fail)

    async def _begin(self) -> None:
        assert self._tree is not None  # noqa: S101
        await self._tree.start()
        # What is here now stays to the end: to look it through again and again
        # for garbage stops everything for 40 ms each time.
        gc.collect()
        gc.freeze()
        # The tree has duplicates, which it closes when it stops accepting: who
        # comes then is to be refused, and not to wait for nobody.
        for descriptor in self._shared[1:]:
            os.close(descriptor)
        self._pipe.tell("ready")

    def _figures(self) -> object:
        return self._tree.metrics.snapshot() if self._tree is not None else []

    def _make_room(self) -> bool:
        return self._tree is not None and self._tree.make_room()

    def _look_at_certificate(self) -> None:
        if self._tree is not None:
            self._tree.look_at_certificate()

    def _reopen_log(self) -> None:
        if self._log is not None:
            self._log.writer.reopen()

    def _drain(self, grace: float) -> None:
        if not self._ending:
            self._ending = True
            Deferred.fromCoroutine(self._end(grace)).addErrback(self._fail)

    async def _end(self, grace: float) -> None:
        if self._tree is not None:
            await self._tree.stop(grace)
            self._pipe.tell("figures", snapshot=self._tree.metrics.snapshot())
        if self._log is not None:
            self._log.close()
        self._stop()

    def _fail(self, failure: Failure) -> None:
        fault = failure.value
        self.failed = True
        self._ending = True
        if self._log is not None:
            self._log.events.failure(BUG, fault)
            self._log.close()
        else:
            print(f"submitd worker: {fault}", file=sys.stderr)
        self._stop()

    def _stop(self) -> None:
        self._reactor.callWhenRunning(self._reactor.stop)


def run_worker(pipe: int, shared: Sequence[int]) -> int:
    """Run until drained, with descriptors as `Worker`.

    Gives the exit status: 0, or 70 after a failure.
    """
    from twisted.internet import reactor

    worker = Worker(reactor, pipe, shared)
    reactor.run(installSignalHandlers=False)  # type: ignore[call-arg]
    return os.EX_SOFTWARE if worker.failed else os.EX_OK
