"""Questions that a client has caused and not come back to, before they are a flood."""

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from submitd.auth.throttle import Attempt
from submitd.mail.network import counted_as
from submitd.observe.events import LOG_INS_ABANDONED, Events

_MOST_OPEN: Final = 20
"""Of one address: telephones lose their network now and then; an office has many."""

_UNDER_WAY: Final = 30.0
"""Seconds in which a client may come back. After a restart all of an office do."""

_MOST_AT_ONCE: Final = 200
"""Of one address, under way or not."""

_KEPT: Final = 900.0
"""Seconds after which a question is nobody's fault any more."""

_MOST_ADDRESSES: Final = 2_000


@define
class _Open:
    questions: deque[tuple[Attempt, float]] = field(factory=deque)
    """Each with the time of its opening, oldest first."""

    told_at: float | None = None


class OpenQuestions:
    """Remembers, by address, who has had somebody asked and shown nothing.

    SCRAM asks for the keys of a name before anything is proved. Who goes no further has
    guessed nothing, and has had a directory searched. So many are borne that nobody has
    come back to; each one more makes the oldest a failure like a wrong password.
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
        questions.append((attempt, now))
        while now - questions[0][1] > _KEPT:
            questions.popleft()
        while self._is_a_flood(questions, now):
            oldest, _ = questions.popleft()
            self._fail(oldest)
            if of.told_at is None or now - of.told_at > _KEPT:
                of.told_at = now
                self._events.emit(LOG_INS_ABANDONED, client=attempt.client)

    @staticmethod
    def _is_a_flood(questions: deque[tuple[Attempt, float]], now: float) -> bool:
        if len(questions) <= _MOST_OPEN:
            return False
        # The oldest are first: that one is one too many, if nobody comes back to it.
        _, opened_at = questions[_MOST_OPEN]
        return len(questions) > _MOST_AT_ONCE or now - opened_at > _UNDER_WAY

    def closed(self, attempt: Attempt) -> None:
        """The client came back with a proof, right or wrong."""
        of = self._of.get(counted_as(attempt.client))
        if of is not None:
            of.questions = deque(one for one in of.questions if one[0] != attempt)
