"""A worker and its nursery, as their supervisor sees them, in bad moments."""

import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import deferLater

from submitd.process.child import Child, Nursery
from tests.support.in_reactor import in_reactor


class Supervisor:
    """What it hears."""

    def __init__(self) -> None:
        self.began: list[Child] = []
        self.ended: list[str] = []
        self.dead: list[int] = []
        self.nursery = Nursery(reactor, self.dead.append)

    def child(self, number: int, shared: list[int]) -> Child:
        child = Child(
            reactor,
            f"worker-{number}",
            {},
            self.began.append,
            lambda _, how: self.ended.append(how),
        )
        child.start(self.nursery, number, shared)
        return child


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def supervised(test: Callable[[Supervisor], Awaitable[None]]) -> Callable[[], object]:
    async def run() -> None:
        here = Supervisor()
        try:
            await test(here)
        finally:
            here.nursery.stop()

    run.__name__ = test.__name__
    return in_reactor(run)


@supervised
async def test_one_that_never_began_is_over_when_its_nursery_is_ended(
    here: Supervisor,
) -> None:
    here.nursery.start()
    assert here.nursery.pid is not None
    pid = here.nursery.pid
    os.kill(pid, signal.SIGSTOP)
    child = here.child(1, [])
    child.kill()
    await child.ended
    assert here.ended == ["its nursery died before it began"]
    assert (here.began, here.dead) == ([], [pid])
    assert await child.became_ready is False


@supervised
async def test_the_next_one_begins_all_the_same(here: Supervisor) -> None:
    here.nursery.start()
    here.nursery.kill()
    first = here.child(1, [])
    await first.ended
    second = here.child(2, [])
    while not here.began:
        await deferLater(reactor, 0.05)
    assert here.began == [second]
    second.kill()
    await second.ended
    assert here.ended[1:] == ["signal 9"]


@supervised
async def test_more_descriptors_than_the_kernel_passes_are_a_clear_end(
    here: Supervisor,
) -> None:
    child = here.child(1, [0] * 300)
    await child.ended
    (how,) = here.ended
    assert how.startswith("cannot be started: ")


@supervised
async def test_one_that_is_drained_before_it_began_ends(here: Supervisor) -> None:
    child = here.child(1, [0])
    child.drain(20.0)
    await child.ended
    assert here.ended == ["exit status 0"]


@supervised
async def test_nothing_is_left_open_of_one_that_has_ended(here: Supervisor) -> None:
    here.nursery.start()
    before = open_descriptors()
    for number in range(3):
        child = here.child(number, [])
        child.drain(0)
        await child.ended
    await deferLater(reactor, 0.1)
    assert open_descriptors() <= before
