"""How long the certificate is good for: a figure, and a word when it ends soon."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from prometheus_client.core import GaugeMetricFamily
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread

from submitd.observe.events import CERTIFICATE_ENDS, CERTIFICATE_REFUSED, Events
from submitd.tls.server import TlsFiles, UnusableCertificate

_PERIOD: Final = 3600.0
_SOON: Final = timedelta(days=14)
_SHARE: Final = 6
"""A certificate that lives for days only ends soon when so much of it is left."""

_NEXT_WORD: Final = 24 * 3600.0
"""Seconds between two words about the same certificate."""


class Expiry(Service):
    """Looks at the certificate each hour."""

    def __init__(
        self,
        clock: IReactorTime,
        events: Events,
        now: Callable[[], float] = time.time,
        in_thread: Callable[..., Deferred[Any]] = deferToThread,
    ) -> None:
        self._clock = clock
        self._events = events
        self._now = now
        self._in_thread = in_thread
        self._files: TlsFiles | None = None
        self._ends: float | None = None
        self._told_at = float("-inf")
        self._looks = LoopingCall(lambda: Deferred.fromCoroutine(self.look()))
        self._looks.clock = clock

    def use(self, files: TlsFiles | None) -> None:
        """Look at these from now on."""
        self._files = files
        self._told_at = float("-inf")
        if self._looks.running:
            self._looks.reset()
            Deferred.fromCoroutine(self.look())

    def startService(self) -> None:
        super().startService()
        self._looks.start(_PERIOD)

    def stopService(self) -> None:
        super().stopService()
        self._looks.stop()

    async def look(self) -> None:
        """Now, and not when it is time to."""
        files = self._files
        if files is None:
            self._ends = None
            return
        try:
            leaf = await self._in_thread(files.leaf)
        except UnusableCertificate as problem:
            self._events.emit(CERTIFICATE_REFUSED, problem=str(problem))
            return
        self._ends = leaf.not_valid_after_utc.timestamp()
        left = timedelta(seconds=self._ends - self._now())
        if left > _soon(leaf) or self._clock.seconds() - self._told_at < _NEXT_WORD:
            return
        self._told_at = self._clock.seconds()
        self._events.emit(
            CERTIFICATE_ENDS,
            file=str(files.certificate),
            ends=f"{datetime.fromtimestamp(self._ends, UTC):%Y-%m-%dT%H:%M:%SZ}",
            days_left=round(left / timedelta(days=1), 1),
        )

    def collect(self) -> list[GaugeMetricFamily]:
        """As prometheus_client's registries ask for it."""
        if self._ends is None:
            return []
        return [
            GaugeMetricFamily(
                "submitd_certificate_ends_timestamp_seconds",
                "When the certificate ends.",
                self._ends,
            )
        ]


def _soon(leaf: x509.Certificate) -> timedelta:
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    return min(_SOON, life / _SHARE)
