"""Questions that a client has caused and not come back to, before they are a flood."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from submitd.auth.throttle import Attempt
from submitd.mail.network import counted_as
from submitd.observe.events import LOG_INS_ABANDONED, Events

_MOST_OPEN: Final = 20
"""Of one address: telephones lose their network now and then; an office has many."""

_KEPT: Final = 900.0
"""Seconds after which a question is nobody's fault any more."""

_MOST_ADDRESSES: Final = 2_000


@define
class _Open:
    questions: OrderedDict[Attempt, float] = field(factory=OrderedDict)
    told_at: float | None = None


class OpenQuestions:
    """Remembers, by address, who has had somebody asked and shown nothing.

    SCRAM asks for the keys of a name before anything is proved. Who goes no further has
    guessed nothing, and has had a directory searched. So many are borne; each one more
    makes the oldest a failure like a wrong password.
    """

    def __init__(
        self, clock: IReactorTime, fail: Callable[[Attempt], None], events: Events
    ) -> None:
        """``fail`` counts a failure."""
        self._clock = clock
        self._fail = fail
        self._events = events
        self._of: OrderedDict[str, _Open] = OrderedDict()

    def opened(self, attempt: Attempt) -> None:
        """Somebody was asked. ``attempt`` is told from others by its fingerprint."""
        address, now = counted_as(attempt.client), self._clock.seconds()
        of = self._of.setdefault(address, _Open())
        self._of.move_to_end(address)
        while len(self._of) > _MOST_ADDRESSES:
            self._of.popitem(last=False)
        questions = of.questions
        questions.setdefault(attempt, now)
        while now - next(iter(questions.values())) > _KEPT:
            questions.popitem(last=False)
        if len(questions) > _MOST_OPEN:
            oldest, _ = questions.popitem(last=False)
            self._fail(oldest)
            if of.told_at is None or now - of.told_at > _KEPT:
                of.told_at = now
                self._events.emit(LOG_INS_ABANDONED, client=attempt.client)

    def closed(self, attempt: Attempt) -> None:
        """The client came back with a proof, right or wrong."""
        of = self._of.get(counted_as(attempt.client))
        if of is not None:
            of.questions.pop(attempt, None)
