"""The brake on guessing, of the whole server: one place counts, all workers ask.

The supervisor holds `SupervisedLogins`; a worker's `SharedLogins` asks it through
the pipe. While the supervisor is silent the worker counts by itself, against its
share of the limits.
"""

import json
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from attrs import asdict, evolve
from prometheus_client.core import GaugeMetricFamily
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread

from submitd.auth.directory import stripped
from submitd.auth.failures import Failures, Key
from submitd.auth.known import KnownNetworks, Networks
from submitd.auth.throttle import Attempt, LocalLoginCounts, Outcome, Place
from submitd.config.sections import Config
from submitd.control.wire import Message, refusal
from submitd.observe.events import (
    BRAKE_BEGAN,
    BRAKE_LIFTED,
    KNOWN_NETWORKS_UNKEPT,
    SUPERVISOR_SILENT,
    Events,
)
from submitd.process.counts import login_limits
from submitd.process.pipe import NoAnswer, Pipe
from submitd.spool.files import replace_durably

KNOWN_NETWORKS: Final = "known-networks.json"
_PATIENCE: Final = 1.0
"""Seconds to wait for the supervisor: it only counts."""

_PERIOD: Final = 60.0
"""Seconds between two looks whether the file is to be written."""

_MOST_OCTETS: Final = 64 * 1024 * 1024
_MOST_SHOWN: Final = 1000
"""Of those who are braked; an answer fits into a line of the admin socket."""


class SharedLogins:
    """A worker's view of the supervisor's log-in failures (`LoginCounts`)."""

    def __init__(self, pipe: Pipe, local: LocalLoginCounts, events: Events) -> None:
        """``local``: what counts while the supervisor is silent."""
        self._pipe = pipe
        self._local = local
        self._events = events

    async def begin(self, attempt: Attempt) -> Place:
        """As `LoginCounts.begin`. A place that we gave has a number below 0."""

        def give_back(late: list[Any]) -> None:
            # Taken for us when we had long counted it ourselves.
            self._tell_ended(attempt, Place(*late), Outcome.CANNOT_TELL)

        try:
            given = await self._pipe.ask(
                "login-begin", _PATIENCE, give_back, **_facts(attempt)
            )
        except NoAnswer as problem:
            self._events.emit(SUPERVISOR_SILENT, reason=str(problem))
            place = self._local.begin(attempt)
            return evolve(place, ticket=-place.ticket)
        return Place(*given)

    def ended(self, attempt: Attempt, place: Place, outcome: Outcome) -> None:
        """As `LoginCounts.ended`: both count, whoever gave the place."""
        theirs, ours = max(place.ticket, 0), max(-place.ticket, 0)
        self._tell_ended(attempt, evolve(place, ticket=theirs), outcome)
        self._local.ended(attempt, evolve(place, ticket=ours), outcome)

    def _tell_ended(self, attempt: Attempt, place: Place, outcome: Outcome) -> None:
        self._pipe.tell(
            "login-ended",
            **_facts(attempt),
            ticket=place.ticket,
            outcome=outcome.value,
        )


class SupervisedLogins:
    """The counts, the known networks and their file, and what an operator asks."""

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401
        config: Config,
        events: Events,
        now: Callable[[], float] = time.time,
    ) -> None:
        """The file is in ``state_directory``, which is there."""
        self._reactor = reactor
        self._file = config.server.state_directory / KNOWN_NETWORKS
        self._events = events
        self._now = now
        self._known = KnownNetworks(config.log_in.known_networks, now)
        self.counts = LocalLoginCounts(
            reactor, login_limits(config), self._known, self._brake_began
        )
        self._kept = 0
        self._looks = LoopingCall(lambda: Deferred.fromCoroutine(self._keep()))
        self._looks.clock = reactor
        self.use(config)

    def use(self, config: Config) -> None:
        """The limits of a new configuration; what was counted stays."""
        self.counts.limits = login_limits(config)
        self._known.kept = config.log_in.known_networks
        self._known.changes += 1  # what is to be kept may be less now
        self._domains = frozenset(config.ldap.login_domains)

    def start(self) -> None:
        """Read the file. Blocks: a start has no event loop yet."""
        try:
            self._known.take(_read(self._file))
        except FileNotFoundError:
            pass  # the first start
        except (OSError, ValueError) as problem:
            # All are strangers again; that must not keep anybody from mail.
            self._unkept(problem)
        self._looks.start(_PERIOD, now=False)

    async def stop(self) -> None:
        """Write it for the last time."""
        if self._looks.running:
            self._looks.stop()
            await self._keep()

    def handlers(self, worker: str) -> dict[str, Callable[..., Any]]:
        """What a worker asks and tells."""

        def begin(**facts: Any) -> list[Any]:  # noqa: ANN401
            place = self.counts.begin(Attempt(**facts), worker)
            return [place.ticket, place.delay, place.is_braked, place.is_busy]

        def ended(ticket: int, outcome: str, **facts: Any) -> None:  # noqa: ANN401
            self.counts.ended(Attempt(**facts), Place(ticket), Outcome(outcome))

        return {"login-begin": begin, "login-ended": ended}

    async def list_asked(self, _: Message) -> Message:
        """``submitctl auth list``."""
        now = datetime.fromtimestamp(self._now(), UTC)
        shown = []
        for one in self.counts.braked()[:_MOST_SHOWN]:
            facts = asdict(one)
            since, left = facts.pop("since"), facts.pop("left")
            facts["since"] = _stamp(now - timedelta(seconds=since))
            facts["until"] = _stamp(now + timedelta(seconds=left))
            shown.append(facts)
        return {"ok": True, "braked": shown}

    async def unblock_asked(self, asked: Message) -> Message:
        """``submitctl auth unblock``: a ``name``, or ``all``."""
        name = asked.get("name")
        if asked.get("all") is True:
            names = self.counts.unblock(None)
        elif isinstance(name, str) and name:
            names = self.counts.unblock(stripped(name, self._domains))
        else:
            return refusal("say whom: an account, a network, or all")
        for one in names:
            self._events.emit(BRAKE_LIFTED, whom=one)
        return {"ok": True, "count": len(names), "unblocked": names[:_MOST_SHOWN]}

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """As prometheus_client's registries ask for it."""
        family = GaugeMetricFamily(
            "submitd_logins_braked",
            "Accounts and networks that are put off.",
            labels=["kind"],
        )
        kinds = [one.kind for one in self.counts.braked()]
        for kind in ("account", "address", "network", "way", "proof"):
            family.add_metric([kind], kinds.count(kind))
        return [family]

    def _brake_began(self, key: Key, failures: Failures) -> None:
        assert failures.until is not None  # noqa: S101
        self._events.emit(
            BRAKE_BEGAN,
            kind=key.kind,
            whom=key.name,
            failures=len(failures.marks),
            seconds=round(failures.until - failures.since),
            client=failures.client,
        )

    async def _keep(self) -> None:
        changes = self._known.changes
        if changes == self._kept:
            return
        networks = self._known.snapshot()
        try:
            await deferToThread(_write, self._file, networks)
        except OSError as problem:
            self._unkept(problem)
            return
        self._kept = changes

    def _unkept(self, problem: Exception) -> None:
        self._events.emit(
            KNOWN_NETWORKS_UNKEPT, file=str(self._file), reason=str(problem)
        )


def _facts(attempt: Attempt) -> dict[str, Any]:
    return asdict(attempt)


def _stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _read(file: Path) -> Networks:
    """Raises OSError, or ValueError: it is not what `_write` writes."""
    with file.open("rb") as opened:
        octets = opened.read(_MOST_OCTETS + 1)
    if len(octets) > _MOST_OCTETS:
        raise ValueError("it is too large")
    kept = json.loads(octets)
    try:
        return {
            str(account): {str(network): float(at) for network, at in seen.items()}
            for account, seen in kept.items()
        }
    except (AttributeError, TypeError) as problem:
        raise ValueError("it is not accounts with their networks") from problem


def _write(file: Path, networks: Networks) -> None:
    replace_durably(file, json.dumps(networks).encode())
