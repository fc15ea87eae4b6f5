"""How fast a destination takes mail, and when it will have a place for more."""

from typing import Final

from twisted.internet.interfaces import IReactorTime

_UNKNOWN: Final = 5.0
"""Seconds until who found no place comes again, while nobody knows how it goes …"""

_LONGEST: Final = 15.0
"""… and at most: it may go faster by then."""

_SHORTEST: Final = 0.5
"""Seconds for which something must have gone on before it says how it goes on."""


class Pace:
    """Gives those who find no place a time to come again, each its own.

    So many come again as places will be free, and no connection is idle while mail
    waits for it in the spool; nor is a backlog read and put off again and again.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._since = 0.0
        self._carried = 0
        self._booked = 0.0

    def begin(self) -> None:
        """The first of a queue has come."""
        self._since = self._clock.seconds()
        self._carried = 0

    def carry(self) -> None:
        """One is on its way."""
        self._carried += 1

    def delay(self, waiting: int) -> float:
        """Seconds until one more comes again, where so many wait in line."""
        now = self._clock.seconds()
        went_on_for = now - self._since
        if went_on_for < _SHORTEST:
            return _UNKNOWN
        if not self._carried:
            return _LONGEST
        # Twice as fast as it went: what is accepted meanwhile takes its time, too, and
        # who comes too early costs less than a connection that has nothing to do.
        each = went_on_for / self._carried / 2
        self._booked = max(self._booked + each, now + each * waiting)
        return min(self._booked - now, _LONGEST)
