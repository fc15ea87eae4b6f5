"""Whoever was told that mail is held is told again each day, while it is."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from submitd.observe.events import REMINDER_FAILED, Events
from submitd.spool.store import Reminder, Report, SpoolUnavailable

_PERIOD: Final = 600.0
"""Seconds between looks. Each tells of a few logins: the others have their turn."""


class MakesReminders(Protocol):
    """`delivery.notices.HoldNotices`."""

    def remind(self, due: Reminder, now: datetime) -> tuple[Report, ...]: ...


class RemembersHeld(Protocol):
    """The `Spool`, as this needs it."""

    async def reminders(self, now: datetime) -> Sequence[Reminder]: ...

    async def remind(
        self, due: Reminder, reports: Sequence[Report], now: datetime
    ) -> None: ...


class HoldReminders(Service):
    """Looks for them. What it makes is sent like all that is due."""

    def __init__(
        self,
        clock: Any,  # noqa: ANN401 - IReactorTime
        spool: RemembersHeld,
        notices: MakesReminders,
        events: Events,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._spool = spool
        self._notices = notices
        self._events = events
        self._now = now
        self._looks = LoopingCall(lambda: Deferred.fromCoroutine(self.look()))
        self._looks.clock = clock

    def startService(self) -> None:
        super().startService()
        self._looks.start(_PERIOD)

    def stopService(self) -> None:
        super().stopService()
        if self._looks.running:
            self._looks.stop()

    async def look(self) -> None:
        """Now, and not when it is time to."""
        now = self._now()
        try:
            for due in await self._spool.reminders(now):
                if not self.running:
                    return  # the others have their turn after the next start
                await self._have_turn(due, now)
        except SpoolUnavailable as problem:
            # Nobody is forgotten: the next look finds them again. A spool that
            # closes because we all stop is no failure.
            if self.running:
                self._events.emit(REMINDER_FAILED, reason=str(problem))
        except Exception as fault:  # noqa: BLE001 - a LoopingCall would end by it
            self._events.failure(REMINDER_FAILED, fault, reason="a local fault")

    async def _have_turn(self, due: Reminder, now: datetime) -> None:
        made: tuple[Report, ...] = ()
        try:
            if due.held.messages:
                made = self._notices.remind(due, now)
        except Exception as fault:  # noqa: BLE001 - the others have their turn
            self._fail(due, fault)
        try:
            await self._spool.remind(due, made, now)
        except SpoolUnavailable:
            raise
        except Exception as fault:  # noqa: BLE001 - as above
            self._fail(due, fault)

    def _fail(self, due: Reminder, fault: Exception) -> None:
        reason = "a local fault"
        self._events.failure(REMINDER_FAILED, fault, login=due.login, reason=reason)
