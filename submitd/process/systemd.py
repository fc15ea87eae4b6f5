"""The service manager above us: what it is told, and how often."""

import os
import socket
import time
from collections import deque
from collections.abc import Mapping
from typing import Final

from twisted.internet.interfaces import IReactorTime

from submitd.observe.events import MANAGER_UNREACHED, Events

_MICROSECONDS: Final = 1_000_000
_AGAIN: Final = 0.1


class ServiceManager:
    """Hears how the service stands (sd_notify(3)); where there is none, nobody does."""

    def __init__(
        self, clock: IReactorTime, environ: Mapping[str, str], events: Events
    ) -> None:
        """``environ``: of this process, as the manager made it."""
        self._clock = clock
        self._events = events
        self._unsent: deque[str] = deque()
        address = environ.get("NOTIFY_SOCKET", "")
        # "@" stands for the octet that begins an abstract address.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog: float | None = None
        """Seconds within which it wants to hear `alive`; None: it does not care."""

        period = environ.get("WATCHDOG_USEC", "")
        meant = environ.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        if period.isdecimal() and int(period) and meant and self._address:
            self.watchdog = int(period) / _MICROSECONDS

    def ready(self, status: str) -> None:
        """The service is up, or up again after `reloading`."""
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """A reload has begun; `ready` ends it, whatever it came to."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell("RELOADING=1", f"MONOTONIC_USEC={now}", "STATUS=reloading")

    def stopping(self, longest: float) -> None:
        """A stop has begun; it takes ``longest`` seconds at most."""
        self._tell(
            "STOPPING=1",
            f"EXTEND_TIMEOUT_USEC={round(longest * _MICROSECONDS)}",
            "STATUS=finishing what is under way",
        )

    def alive(self) -> None:
        """The event loop turns."""
        if not self._unsent:
            self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        self._unsent.append("\n".join(lines))
        if len(self._unsent) == 1:
            self._send()

    def _send(self) -> None:
        while self._unsent:
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
                    manager.setblocking(False)
                    manager.sendto(self._unsent[0].encode(), self._address)
            except BlockingIOError:
                # A busy manager has ten letters waiting: this one is not lost.
                self._clock.callLater(_AGAIN, self._send)
                return
            except OSError as problem:
                # Neither a start nor a stop may fail of it. It restarts us where
                # it does not hear from us, and then the log says why.
                self._events.emit(MANAGER_UNREACHED, reason=problem.strerror)
            self._unsent.popleft()
