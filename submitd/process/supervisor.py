"""The parent of all: binds, starts workers, restarts them, counts, reloads."""

import os
import secrets
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from submitd.config.errors import ConfigErrors
from submitd.config.reader import Source, read_config
from submitd.config.sections import Config
from submitd.control.socket import ControlSocket
from submitd.control.wire import Message
from submitd.observe.events import (
    BUG,
    LEASES_RELEASED,
    LISTENING,
    NURSERY_DIED,
    RELOAD_REFUSED,
    RELOADED,
    RESTART_NEEDED,
    STARTED,
    STOPPED,
    STOPPING,
    WORKER_DIED,
    WORKER_ENDED,
    WORKER_STARTED,
)
from submitd.observe.log import EventLog, LibraryObserver
from submitd.observe.metrics import Summed
from submitd.process.child import Child, Nursery
from submitd.process.counts import Counts
from submitd.process.crowds import ITS_PATIENCE, MAKE_ROOM, Crowds
from submitd.process.expiry import Expiry
from submitd.process.logins import SupervisedLogins
from submitd.process.logs import open_log
from submitd.process.material import load_material, tls_files_of
from submitd.process.order import Order, ensure_certificate
from submitd.process.pipe import NoAnswer
from submitd.process.pulse import Pulse
from submitd.process.secret import kept_secret
from submitd.process.sockets import Bound, CannotBind, Sockets
from submitd.process.systemd import ServiceManager
from submitd.process.tree import InProcess, WorkerTree
from submitd.spool.recovery import OpenSpool, open_spool
from submitd.spool.store import SpoolUnavailable, Standing
from submitd.web.site import make_site

if TYPE_CHECKING:
    from submitd.process.renewal import Renewal

_FIRST_DELAY: Final = 1.0
_LONGEST_DELAY: Final = 30.0
_STABLE: Final = 60.0
"""Seconds after which a worker's death is no longer one in a row."""

_START_TIME: Final = 60.0
"""Seconds that new workers have to become ready in a reload."""

_LAST_STEPS: Final = 30.0
"""Seconds that a stop may take beyond its grace: workers are killed, files closed."""

_GATHER_TIME: Final = 2.0
_STANDING_AGE: Final = 2.0
"""Seconds for which the queue's figures are not asked for again."""


class Supervisor(Service):
    """The service that ``twistd submitd`` runs."""

    name = "submitd"

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401 - several reactor interfaces at once
        file: Path,
        config: Config,
        source: Source,
        order: Order | None,
    ) -> None:
        """``config`` was read from ``file``; workers build theirs of ``source``.

        ``order``: for a certificate, where an authority issues it.
        """
        self._reactor = reactor
        self._file = file
        self._config = config
        self._source = source
        self._order = order
        self._sockets = Sockets()
        self._bound = Bound({}, ())
        self._children: dict[str, Child] = {}
        self._number = 0
        self._deaths = 0
        self._stopping = False
        self._reloading = False
        self._hung_up = False
        self._started_at = time.time()
        self._incarnation = secrets.token_hex(4)
        self._counts = Counts()
        self._crowds = Crowds(self._counts, self._ask_for_room)
        self._summed = Summed()
        self._registry = CollectorRegistry()
        self._died = Counter(
            "submitd_worker_deaths", "Workers that died.", registry=self._registry
        )
        self._renewal: Renewal | None = None
        self._standing: Standing | None = None
        self._standing_at = 0.0
        self._web: IListeningPort | None = None

    # Start

    def privilegedStartService(self) -> None:
        """Bind while we may: after this, twistd changes to its user."""
        try:
            self._bound = self._sockets.bind(self._config)
        except CannotBind as problem:
            _refuse_to_start(problem)

    def startService(self) -> None:
        """Open the spool, start the workers, then listen to the operator."""
        super().startService()
        self.privilegedStartService()  # where nobody has called it
        config = self._config
        self._nursery = Nursery(self._reactor, self._nursery_died)
        try:
            if config.server.workers != 0:
                # First of all: while there is neither a thread nor a lock.
                self._nursery.start()
            self._log = open_log(config.log, process="supervisor")
            self._events: EventLog = self._log.events
            self._spool: OpenSpool = open_spool(config.server.state_directory)
            if self._order is not None:
                ensure_certificate(self._order)
        except (OSError, SpoolUnavailable) as problem:
            _refuse_to_start(problem)
        self._library = LibraryObserver(self._events)
        globalLogPublisher.addObserver(self._library)
        self._secret = kept_secret(config.server.state_directory, self._events)
        self._logins = SupervisedLogins(self._reactor, config, self._events)
        self._logins.start()
        self._registry.register(self._logins)
        self._registry.register(self._summed)
        self._registry.register(_QueueFigures(lambda: self._standing))
        self._expiry = Expiry(self._reactor, self._events)
        self._expiry.use(tls_files_of(config))
        self._registry.register(self._expiry)
        for name, sockets in self._bound.listeners.items():
            for one in sockets:
                host, port, *_ = one.getsockname()
                self._events.emit(LISTENING, listener=name, address=host, port=port)
        signal.signal(signal.SIGHUP, self._on_hangup)
        # Twisted's own handler ends the process by the signal once more; an orderly
        # end has exit status 0.
        self._reactor.callWhenRunning(signal.signal, signal.SIGTERM, self._on_term)
        self._control = ControlSocket(
            self._reactor,
            config.server.control_socket,
            {
                "reload": self._reload_asked,
                "status": self._status_asked,
                "renew": self._renew_asked,
                "auth-list": self._logins.list_asked,
                "auth-unblock": self._logins.unblock_asked,
            },
            self._events,
        )
        try:
            self._control.startService()
            self._start_web()
        except Exception as problem:  # noqa: BLE001
            _refuse_to_start(problem)
        self._manager = ServiceManager(self._reactor, os.environ, self._events)
        self._pulse = Pulse(
            self._reactor,
            lambda: list(self._children.values()),
            self._summed.put,
            self._manager,
            self._events,
        )
        self._pulse.startService()
        self._expiry.startService()
        self._run(self._start_workers())
        self._use_order(self._order)

    def _start_web(self) -> None:
        where = self._config.metrics.listen
        if where is not None:
            host, port = where
            site = make_site(self._registry, self._gather, self._unready, self._events)
            self._web = self._reactor.listenTCP(port, site, interface=host)

    def _use_order(self, order: Order | None) -> None:
        if order is None and self._renewal is None:
            return
        if self._renewal is None:
            # Not at the top: twisted.web's files and all, for those who have it.
            from submitd.process.renewal import Renewal

            self._renewal = Renewal(self._reactor, self._events, self._is_issued)
            self._renewal.startService()
        self._renewal.use(order, self._bound.challenge)

    def _is_issued(self) -> None:
        for child in self._children.values():
            child.pipe.tell("certificate")
        self._run(self._expiry.look())

    async def _start_workers(self) -> None:
        fresh = self._spawn_all(self._config, self._source)
        ready = [await child.became_ready for child in fresh]
        if all(ready) and not self._stopping:
            self._events.emit(STARTED, workers=len(fresh), pid=os.getpid())
            self._tell_manager()

    def _tell_manager(self) -> None:
        if not self._unready():
            ready = sum(child.ready for child in self._children.values())
            self._manager.ready(f"workers that are ready: {ready}")

    def _spawn_all(self, config: Config, source: Source) -> list[Any]:
        if config.server.workers == 0:
            return [self._begin_in_process(config)]
        count = self._workers(config)
        return [self._spawn(source, count) for _ in range(count)]

    def _begin_in_process(self, config: Config) -> InProcess:
        self._number += 1
        name = f"worker-{self._number}"
        here = InProcess(
            self._reactor,
            name,
            WorkerTree(
                self._reactor,
                config,
                load_material(config, self._source),
                {
                    listener: [one.fileno() for one in sockets]
                    for listener, sockets in self._bound.listeners.items()
                },
                owner=self._owner(name),
                number=self._number,
                counts=_OwnCounts(self._counts, name),
                logins=self._logins.counts,
                own_addresses=self._sockets.own_addresses,
                events=self._events,
                secret=self._secret,
            ),
            self._summed,
            self._in_process_ended,
        )
        self._children[name] = here  # type: ignore[assignment]
        here.start()
        return here

    def _owner(self, name: str) -> str:
        return f"{self._incarnation}-{name}"

    def _spawn(self, source: Source, workers: int) -> Child:
        self._number += 1
        name = f"worker-{self._number}"
        child = Child(
            self._reactor,
            name,
            self._handlers(name),
            self._child_began,
            self._child_ended,
        )
        self._children[name] = child
        shared = [self._spool.lock_descriptor]
        listeners: dict[str, list[int]] = {}
        for listener, sockets in self._bound.listeners.items():
            for one in sockets:
                listeners.setdefault(listener, []).append(len(shared))
                shared.append(one.fileno())
        child.start(self._nursery, self._number, shared)
        child.pipe.tell(
            "start",
            name=name,
            owner=self._owner(name),
            number=self._number,
            workers=workers,
            file=str(source.file),
            tables=source.tables,
            origins=dict(source.origins),
            listeners=listeners,
            own_addresses=sorted(self._sockets.own_addresses),
            secret=self._secret.hex(),
        )
        return child

    def _handlers(self, name: str) -> dict[str, Callable[..., Any]]:
        return {
            "claim": lambda keys: self._counts.claim(
                name, [tuple(one) for one in keys]
            ),
            "give": lambda keys: self._counts.give(name, keys),
            "figures": lambda snapshot: self._summed.put(name, snapshot),
            **self._crowds.handlers(name),
            **self._logins.handlers(name),
        }

    async def _ask_for_room(self, name: str, on_late: Callable[[object], None]) -> Any:  # noqa: ANN401
        return await self._children[name].pipe.ask(MAKE_ROOM, ITS_PATIENCE, on_late)

    # A worker's beginning and end

    def _child_began(self, child: Child) -> None:
        self._events.emit(WORKER_STARTED, worker=child.name, pid=child.pid)

    def _nursery_died(self, pid: int) -> None:
        self._events.emit(NURSERY_DIED, pid=pid)

    def _child_ended(self, child: Child, how: str) -> None:
        self._children.pop(child.name, None)
        self._counts.forget(child.name)
        self._crowds.forget(child.name)
        self._logins.counts.forget(child.name)
        self._summed.end(child.name)
        expected = child.draining or self._stopping
        self._events.emit(
            WORKER_ENDED if expected else WORKER_DIED,
            worker=child.name,
            pid=child.pid,
            how=how,
        )
        self._run(self._take_back(child.name))
        if not expected:
            self._died.inc()
            lived = self._reactor.seconds() - child.started_at
            self._deaths = 1 if lived > _STABLE else self._deaths + 1
            delay = min(_FIRST_DELAY * 2 ** (self._deaths - 1), _LONGEST_DELAY)
            self._reactor.callLater(delay, self._replace)

    def _in_process_ended(self, here: InProcess) -> None:
        self._children.pop(here.name, None)
        self._counts.forget(here.name)
        self._run(self._take_back(here.name))

    def _replace(self) -> None:
        """Start one worker, where there is one too few.

        During a reload it is open with which configuration; its end sees to it.
        """
        missing = self._missing()
        if missing > 0 and not self._reloading:
            self._spawn(self._source, self._workers(self._config))

    def _missing(self) -> int:
        if self._stopping or self._config.server.workers == 0:
            return 0
        living = sum(not child.draining for child in self._children.values())
        return self._workers(self._config) - living

    @staticmethod
    def _workers(config: Config) -> int:
        return config.server.workers or len(os.sched_getaffinity(0))

    async def _take_back(self, name: str) -> None:
        """What a dead worker had claimed is due again at once."""
        owner = self._owner(name)
        while True:
            try:
                freed = await deferToThread(self._spool.release_owner, owner)
            except SpoolUnavailable as problem:
                self._events.emit(BUG, worker=name, reason=str(problem))
                await _pause(self._reactor, 1.0)
                continue
            if freed:
                self._events.emit(LEASES_RELEASED, worker=name, recipients=freed)
            return

    # Stop

    def stopService(self) -> Deferred[None]:
        """Drain all workers; fire when the last one is gone."""
        super().stopService()
        self._stopping = True
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._events.emit(STOPPING)
        self._pulse.stopService()
        self._expiry.stopService()
        if self._renewal is not None:
            self._renewal.stopService()
        grace = self._config.server.shutdown_grace.total_seconds()
        self._manager.stopping(grace + _LAST_STEPS)
        children = list(self._children.values())
        for child in children:
            child.drain(grace)
        self._sockets.close()
        await DeferredList([child.ended for child in children])
        self._nursery.stop()
        stopped = self._control.stopService()
        if stopped is not None:
            await stopped
        if self._web is not None:
            await maybeDeferred(self._web.stopListening)
        await self._logins.stop()
        await deferToThread(self._spool.close)
        self._events.emit(STOPPED)
        globalLogPublisher.removeObserver(self._library)
        self._log.close()

    def _on_term(self, *_: object) -> None:
        self._reactor.callFromThread(self._reactor.stop)

    # Reload

    def _on_hangup(self, *_: object) -> None:
        self._reactor.callFromThread(self._hangup)

    def _hangup(self) -> None:
        if self._reloading:
            # What was changed since that one read the files must not be lost.
            self._hung_up = True
        else:
            self._run(self.reload())

    async def reload(self) -> list[str]:
        """Take up the files as they are now; gives what is wrong with them.

        New workers start with the new configuration and the old ones finish
        what they have begun: no connection is lost.
        """
        self._log.writer.reopen()
        for child in self._children.values():
            # Also where the reload is refused, and they go on.
            child.pipe.tell("log-moved")
        if self._reloading or self._stopping:
            return ["a reload or a stop is under way"]
        self._reloading = True
        self._manager.reloading()
        try:
            problems = await self._reload()
        finally:
            self._reloading = False
            self._tell_manager()
            for _ in range(self._missing()):
                self._replace()
            if self._hung_up:
                self._hung_up = False
                self._hangup()
        if problems:
            self._events.emit(RELOAD_REFUSED, problems="; ".join(problems))
        return problems

    async def _reload(self) -> list[str]:
        try:
            config, source = await deferToThread(read_config, self._file)
            material = await deferToThread(load_material, config, source)
            if material.order is not None:
                await deferToThread(ensure_certificate, material.order)
            bound = self._sockets.bind(config)
        except ConfigErrors as wrong:
            return [str(problem) for problem in wrong.problems]
        except (CannotBind, OSError) as problem:
            return [str(problem)]
        self._tell_what_stays(config)
        before, self._bound = self._bound, bound
        fresh = self._spawn_all(config, source)
        alarm = self._reactor.callLater(
            _START_TIME, lambda: [child.drain(0) for child in fresh]
        )
        ready = [await child.became_ready for child in fresh]
        if alarm.active():
            alarm.cancel()
        if not all(ready):
            for child in fresh:
                child.drain(0)
            self._bound = before
            self._sockets.close_unused(self._config)
            return ["a worker did not start with the new configuration; see the log"]
        self._config, self._source = config, source
        self._use_order(material.order)
        self._expiry.use(material.tls_files)
        self._sockets.close_unused(config)
        self._logins.use(config)
        grace = config.server.shutdown_grace.total_seconds()
        for child in list(self._children.values()):
            if child not in fresh:
                child.drain(grace)
        self._events.emit(RELOADED)
        return []

    def _tell_what_stays(self, config: Config) -> None:
        old = self._config
        for setting, stays in (
            (
                "[server] state_directory",
                config.server.state_directory != old.server.state_directory,
            ),
            (
                "[server] control_socket",
                config.server.control_socket != old.server.control_socket,
            ),
            ("[metrics] listen", config.metrics != old.metrics),
            ("[log] of the supervisor", config.log != old.log),
        ):
            if stays:
                self._events.emit(RESTART_NEEDED, setting=setting)

    # What an operator asks

    async def _reload_asked(self, _: Message) -> Message:
        problems = await self.reload()
        return {"ok": not problems, "problems": problems}

    async def _renew_asked(self, asked: Message) -> Message:
        if self._renewal is None:
            problem = "the running configuration has no [tls] acme = true"
        else:
            problem = await self._renewal.renew(force=asked.get("force") is True)
        return {"ok": not problem, "problems": [problem] if problem else []}

    async def _status_asked(self, _: Message) -> Message:
        return {"ok": True, **self.status()}

    def status(self) -> dict[str, object]:
        """Process ids, versions, listeners: what ``submitctl status`` shows."""
        from importlib.metadata import version

        return {
            "version": version("submitd"),
            "twisted": version("twisted"),
            "pid": os.getpid(),
            "pids": [
                pid
                for pid in (
                    os.getpid(),
                    self._nursery.pid,
                    *(child.pid for child in self._children.values()),
                )
                if pid
            ],
            "uptime": round(time.time() - self._started_at),
            "ready": not self._unready(),
            "config": str(self._file),
            "spool": str(self._config.server.state_directory),
            "workers": [
                {
                    "name": child.name,
                    "pid": child.pid,
                    "ready": child.ready,
                    "draining": child.draining,
                }
                for child in self._children.values()
            ],
            "listeners": [
                {
                    "name": name,
                    "address": one.getsockname()[0],
                    "port": one.getsockname()[1],
                    "tls": self._config.listener[name].tls,
                }
                for name, sockets in self._bound.listeners.items()
                for one in sockets
            ],
        }

    def _unready(self) -> str:
        if self._stopping:
            return "stopping"
        if not any(child.ready for child in self._children.values()):
            return "no worker is ready"
        return ""

    async def _gather(self) -> None:
        """Bring the figures of all workers, and the queue's, up to date."""
        for child in list(self._children.values()):
            try:
                snapshot = await child.pipe.ask("figures", _GATHER_TIME)
            except NoAnswer:
                continue  # its last figures stay in the sum
            self._summed.put(child.name, snapshot)
        now = self._reactor.seconds()
        if now - self._standing_at > _STANDING_AGE:
            self._standing_at = now
            self._standing = await deferToThread(self._spool.standing)

    def _run(self, work: Any) -> None:  # noqa: ANN401
        Deferred.fromCoroutine(work).addErrback(self._broke)

    def _broke(self, failure: Failure) -> None:
        self._events.failure(BUG, failure.value)


class _OwnCounts:
    """The supervisor's counts, for the worker that lives in its process."""

    def __init__(self, counts: Counts, owner: str) -> None:
        self._counts = counts
        self._owner = owner

    async def take(self, keys: list[tuple[str, int | None]]) -> bool:
        return self._counts.take(self._owner, keys)

    async def claim(self, keys: list[tuple[str, int | None]]) -> str | None:
        return self._counts.claim(self._owner, keys)

    def give(self, keys: list[str]) -> None:
        self._counts.give(self._owner, keys)


class _QueueFigures:
    """The queue's size and age, as they were when last asked for."""

    def __init__(self, standing: Callable[[], Standing | None]) -> None:
        self._standing = standing

    def collect(self) -> list[GaugeMetricFamily]:
        """As prometheus_client's registries ask for it."""
        if (now := self._standing()) is None:
            return []
        oldest = now.oldest_accepted_at
        age = time.time() - oldest.timestamp() if oldest else 0.0
        return [
            GaugeMetricFamily("submitd_queue_messages", "Messages.", now.messages),
            GaugeMetricFamily("submitd_queue_recipients", "Waiting.", now.recipients),
            GaugeMetricFamily("submitd_queue_held", "Held messages.", now.held),
            GaugeMetricFamily("submitd_queue_octets", "Octets.", now.octets),
            GaugeMetricFamily("submitd_queue_oldest_seconds", "Oldest.", max(0.0, age)),
        ]


def _refuse_to_start(problem: Exception) -> NoReturn:
    """End, and say why to whoever has started us.

    That is twistd in the foreground, whose log has taken ``sys.stderr``, and goes
    who knows where; or a parent that waits while twistd becomes a daemon, and
    that is told by twistd.
    """
    words = f"submitd: {problem}"
    if os.path.samestat(os.fstat(2), Path(os.devnull).stat()):
        raise SystemExit(words) from problem
    print(words, file=sys.__stderr__)
    raise SystemExit(os.EX_UNAVAILABLE) from problem


async def _pause(reactor: Any, seconds: float) -> None:  # noqa: ANN401
    waiting: Deferred[None] = Deferred()
    reactor.callLater(seconds, waiting.callback, None)
    await waiting
