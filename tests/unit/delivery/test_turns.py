"""Work in turns: order, bounds, and what has not been begun."""

from twisted.internet.defer import Deferred

from submitd.delivery.turns import Turns


class Bench:
    """Work that the test ends."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._done: Deferred[None] = Deferred()
        self.turns = Turns(self._work)

    async def _work(self, piece: str) -> None:
        self.begun.append(piece)
        await self._done

    def end_one(self) -> None:
        done, self._done = self._done, Deferred()
        done.callback(None)


def test_who_has_many_delays_the_others_by_one_each_time() -> None:
    bench = Bench()
    for whose, piece in (
        ("alice", "a1"),
        ("alice", "a2"),
        ("alice", "a3"),
        (None, "r1"),
        ("bob", "b1"),
        ("bob", "b2"),
    ):
        assert bench.turns.put(whose, piece)
    assert bench.begun == ["a1"]
    for _ in range(6):
        bench.end_one()
    assert bench.begun == ["a1", "a2", "r1", "b1", "a3", "b2"]
    assert bench.turns.put("alice", "a4")
    assert bench.begun[-1] == "a4"


def test_what_waits_has_a_bound_for_each_and_one_for_all() -> None:
    bench = Bench()
    assert bench.turns.put("alice", "under way")
    assert [bench.turns.put("alice", "x") for _ in range(101)] == [True] * 100 + [False]
    for number in range(9):
        assert all(bench.turns.put(f"u{number}", "x") for _ in range(100))
    assert not bench.turns.put("bob", "x")
    bench.end_one()
    assert bench.turns.put("bob", "x")


def test_what_has_not_begun_can_be_taken_back() -> None:
    bench = Bench()
    for whose, piece in (("alice", "a1"), ("alice", "a2"), ("bob", "b1")):
        bench.turns.put(whose, piece)
    assert bench.turns.take_back() == ["a2", "b1"]
    bench.end_one()
    assert bench.begun == ["a1"]
    assert bench.turns.take_back() == []
    assert bench.turns.put("bob", "b2")
    assert bench.begun == ["a1", "b2"]
