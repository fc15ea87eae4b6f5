"""Signs of life, under a clock."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from submitd.process.pipe import NoAnswer
from submitd.process.pulse import Pulse
from tests.support.recorded_events import RecordedEvents


class Worker:
    """Answers as long as it is told to."""

    name = "worker-1"

    def __init__(self, clock: Clock) -> None:
        self.pid: int | None = 7
        self.unanswered = 0
        self.pipe = self
        self.answers = True
        self.asked = 0
        self.killed = 0
        self._clock = clock

    async def ask(self, name: str, time_out: float) -> Any:  # noqa: ANN401
        assert name == "figures"
        self.asked += 1
        if self.answers:
            return ["figures"]
        waiting: Deferred[None] = Deferred()
        self._clock.callLater(time_out, waiting.callback, None)
        await waiting
        raise NoAnswer("no answer")

    def kill(self) -> None:
        self.killed += 1


class Manager:
    """A service manager that wants to hear from us."""

    def __init__(self, watchdog: float | None) -> None:
        self.watchdog = watchdog
        self.beats = 0

    def alive(self) -> None:
        self.beats += 1


class Site:
    """A pulse, and whom it asks."""

    def __init__(self, watchdog: float | None = None) -> None:
        self.clock = Clock()
        self.worker = Worker(self.clock)
        self.manager = Manager(watchdog)
        self.events = RecordedEvents()
        self.figures: list[tuple[str, Any]] = []
        self.pulse = Pulse(
            self.clock,
            lambda: [self.worker],
            lambda name, snapshot: self.figures.append((name, snapshot)),
            self.manager,  # type: ignore[arg-type]
            self.events,
        )
        self.pulse.startService()

    def pass_seconds(self, seconds: int) -> None:
        self.clock.pump([1] * seconds)


def test_a_worker_that_answers_gives_its_figures_and_is_left_alone() -> None:
    site = Site()
    site.pass_seconds(300)
    assert site.worker.killed == 0
    assert len(site.figures) == site.worker.asked == 21


def test_a_worker_that_answers_no_more_is_ended_within_75_seconds() -> None:
    site = Site()
    site.pass_seconds(1)
    site.worker.answers = False
    site.pass_seconds(60)
    assert site.worker.killed == 0
    site.pass_seconds(15)
    assert site.worker.killed == 1
    assert site.events.names == ["worker-silent"]


def test_a_machine_that_was_asleep_for_a_moment_is_not_to_blame() -> None:
    site = Site()
    for _ in range(10):
        site.worker.answers = False
        site.pass_seconds(30)
        site.worker.answers = True
        site.pass_seconds(30)
    assert site.worker.killed == 0


def test_the_manager_hears_three_times_as_often_as_it_wants_also_in_a_stop() -> None:
    site = Site(watchdog=30.0)
    site.pass_seconds(60)
    assert site.manager.beats == 7
    site.pulse.stopService()
    site.pass_seconds(60)
    assert site.manager.beats == 13
    assert site.worker.asked == 5
