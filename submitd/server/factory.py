"""One listener: what its connections share, who gets a place, and how all end."""

import secrets
from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory
from twisted.internet.protocol import Protocol as Connection

from submitd.observe.events import Events
from submitd.observe.metrics import Metrics
from submitd.server.limits import ConnectionCounts, Room, Strangers, settled
from submitd.server.proxied import ProxiedConnection
from submitd.server.submission import AnswersEvents, SubmissionProtocol, TimeLimits
from submitd.smtp.server import ServerSession
from submitd.tls.server import ServerTls

_MOST_WAITING: Final = 200
"""A proxy sends its header at once, so few wait; each is a socket beyond the limit."""


class SubmissionFactory(Factory):
    """Connections of one listener."""

    noisy = False

    def __init__(
        self,
        *,
        name: str,
        clock: IReactorTime,
        make: Callable[[str, str], tuple[ServerSession, AnswersEvents]],
        counts: ConnectionCounts,
        strangers: Strangers,
        tls: ServerTls | None,
        implicit_tls: bool,
        trusted: Callable[[str], bool],
        time_limits: TimeLimits,
        events: Events,
        metrics: Metrics,
        proxies: Callable[[str], bool] | None = None,
    ) -> None:
        """``make`` gives the session and desk for (session id, client address).

        ``strangers`` are those of all listeners that ``counts`` counts for.

        ``proxies``: whose PROXY headers are believed; nobody else may connect. None:
        clients connect by themselves.
        """
        self.name = name
        self.clock = clock
        self.make = make
        self.counts = counts
        self.strangers = strangers
        self.proxies = proxies
        self.trusted = trusted
        self.tls = tls
        self.implicit_tls = implicit_tls
        self.time_limits = time_limits
        self.events = events
        self.metrics = metrics
        self.stopping = False
        self.turning_away = 0
        """Connections that hear that they are not wanted."""

        self.waiting = 0
        """Connections of proxies that have no place yet; their header is to come."""

        self.look_again = 5.0
        self._open: set[SubmissionProtocol] = set()
        self._unnamed: set[ProxiedConnection] = set()
        self._all_closed: Deferred[None] | None = None

    def buildProtocol(self, addr: IAddress | None) -> Connection:
        client = str(getattr(addr, "host", "unknown")).removeprefix("::ffff:")
        session_id = secrets.token_hex(6)
        if self.proxies is not None and self.proxies(client):
            return ProxiedConnection(self, session_id, client)
        return SubmissionProtocol(self, session_id, client)

    async def find_room(self, address: str, is_gone: Callable[[], bool]) -> bool:
        """Count one more; a stranger gives way where no place is left for anybody.

        False: there is no room. Nobody gives way to who is one too many from
        ``address``, nor to who does not wait for it any more (``is_gone``).
        """
        counts = self.counts
        room = await settled(counts.opened(address))
        if room is not Room.FULL or not self.strangers.may_make_room:
            return room is Room.FOUND
        if not await settled(counts.named(address)):
            # Others from there have come at the same moment.
            return False
        if not is_gone() and await self.strangers.make_room_elsewhere():
            return True
        gone = None if is_gone() else self.strangers.make_room()
        counts.unnamed(address if gone is None else gone)
        return gone is not None

    def may_wait(self) -> bool:
        """Whether a proxy's connection may wait, uncounted, for its header.

        Where no stranger could give way to it that is no use.
        """
        return self.strangers.may_make_room and self.waiting < _MOST_WAITING

    def expect(self, connection: ProxiedConnection) -> None:
        """A proxy has come, and will say for whom."""
        self._unnamed.add(connection)

    def expect_no_more(self, connection: ProxiedConnection) -> None:
        """It has said so, or is gone."""
        self._unnamed.discard(connection)

    def add(self, connection: SubmissionProtocol) -> None:
        """A connection has come."""
        self._open.add(connection)
        self.metrics.sessions_open.inc()

    def remove(self, connection: SubmissionProtocol) -> None:
        """A connection is gone."""
        self._open.discard(connection)
        self.metrics.sessions_open.dec()
        if self._all_closed is not None and not self._open:
            self._all_closed.callback(None)
            self._all_closed = None

    def shut_down(self, grace: float) -> Deferred[None]:
        """End every session: open transactions have ``grace`` seconds to finish."""
        self.stopping = True
        for unnamed in tuple(self._unnamed):
            unnamed.abort()
        for connection in tuple(self._open):
            connection.shut_down()
        if not self._open:
            return Deferred.fromCoroutine(_nothing())
        ended: Deferred[None] = Deferred()
        self._all_closed = ended
        last_call = self.clock.callLater(grace, self._end_all)

        def settle(_: None) -> None:
            if last_call.active():
                last_call.cancel()

        return ended.addCallback(settle)

    def _end_all(self) -> None:
        for connection in tuple(self._open):
            connection.end_now()


async def _nothing() -> None:
    return None
