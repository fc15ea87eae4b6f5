"""How fast a destination takes mail, and when it will have a place for more."""

from math import inf
from random import Random
from typing import Final

from twisted.internet.interfaces import IReactorTime

_UNKNOWN: Final = 5.0
"""Seconds until who found no place comes again, while nobody knows how it goes …"""

_LONGEST: Final = 20.0
"""… and at most: it may go faster by then."""

_SHORTEST: Final = 0.5
"""Seconds for which something must have gone on before it says how it goes on …"""

_SPAN: Final = 10.0
"""… and for which that is believed."""


class Pace:
    """Gives those who find no place a time to come again.

    By how fast the line has gone lately, each has its own; so that as many come again
    as places will be free, and no connection is idle while mail waits for it in the
    spool. Those for whom that would be late come again at some time before.
    """

    def __init__(self, clock: IReactorTime, chance: Random) -> None:
        self._clock = clock
        self._chance = chance
        self._since = 0.0
        self._carried = 0
        self._each: float | None = None
        """Seconds that each took in the span before."""

        self._booked = 0.0

    def begin(self) -> None:
        """The first of a line has come."""
        self._since = self._clock.seconds()
        self._carried = 0
        self._each = None
        self._booked = 0.0

    def carry(self) -> None:
        """One is on its way."""
        self._carried += 1

    def delay(self, waiting: int) -> float:
        """Seconds until one more comes again, where so many wait in line."""
        now = self._clock.seconds()
        each = self._each_takes(now)
        if each is None:
            return self._some(_UNKNOWN)
        # Twice as fast as it went: what is accepted meanwhile takes its time, too, and
        # who comes too early costs less than a connection that has nothing to do.
        booked = max(self._booked + each / 2, now + each / 2 * waiting)
        if booked - now > _LONGEST:
            return self._some(_LONGEST)
        self._booked = booked
        return booked - now

    def _each_takes(self, now: float) -> float | None:
        """Seconds; None: nobody knows."""
        went_on_for = now - self._since
        if went_on_for < _SHORTEST and self._each is None:
            return None
        lately = went_on_for / self._carried if self._carried else inf
        if went_on_for >= _SPAN:
            self._since, self._carried, self._each = now, 0, lately
        return lately if self._each is None else self._each

    def _some(self, most: float) -> float:
        # Not all at one moment: those of other destinations are in between.
        return most * self._chance.uniform(0.5, 1.0)
