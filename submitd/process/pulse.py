"""Signs of life: workers are asked for them, the service manager is given them."""

from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from submitd.observe.events import WORKER_SILENT, Events
from submitd.process.pipe import NoAnswer
from submitd.process.systemd import ServiceManager

_PERIOD: Final = 15.0
"""Seconds between two questions, and for which an answer is waited for."""

_MOST_UNANSWERED: Final = 4
"""Questions in a row: a machine that was asleep for a while is not to blame."""


class Asked(Protocol):
    """A worker process, as far as this part of the supervisor cares."""

    name: str
    pid: int | None
    unanswered: int
    pipe: Any

    def kill(self) -> None:
        """End it at once; it is replaced then."""


class Pulse(Service):
    """Ends workers whose event loop turns no more, and says that our own does."""

    def __init__(
        self,
        clock: Any,  # noqa: ANN401 - IReactorTime
        workers: Callable[[], Iterable[Asked]],
        figures: Callable[[str, Any], object],
        manager: ServiceManager,
        events: Events,
    ) -> None:
        """``figures`` gets what each worker answers: its name and its counters."""
        self._workers = workers
        self._figures = figures
        self._events = events
        self._rounds = [(LoopingCall(self._ask_all), _PERIOD)]
        if manager.watchdog is not None:
            self._rounds.append((LoopingCall(manager.alive), manager.watchdog / 3))
        for call, _ in self._rounds:
            call.clock = clock

    def startService(self) -> None:
        super().startService()
        for call, period in self._rounds:
            call.start(period)

    def stopService(self) -> None:
        """Ask no more. The manager is still told: a stop may take its time."""
        super().stopService()
        self._rounds[0][0].stop()

    def _ask_all(self) -> None:
        for worker in self._workers():
            Deferred.fromCoroutine(self._ask(worker))

    async def _ask(self, worker: Asked) -> None:
        try:
            snapshot = await worker.pipe.ask("figures", _PERIOD)
        except NoAnswer:
            worker.unanswered += 1
            if worker.unanswered == _MOST_UNANSWERED:
                self._events.emit(
                    WORKER_SILENT,
                    worker=worker.name,
                    pid=worker.pid,
                    seconds=round(_MOST_UNANSWERED * _PERIOD),
                )
                worker.kill()
        else:
            worker.unanswered = 0
            self._figures(worker.name, snapshot)
