"""Coroutines of which a test knows that they need not wait."""

from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def _kept(awaitable: Awaitable[T], outcomes: list[T]) -> None:
    outcomes.append(await awaitable)


def awaited(awaitable: Awaitable[T]) -> T:
    """What it returns; it raises what it raises.

    Raises:
        AssertionError: it waits for something.
    """
    outcomes: list[T] = []
    steps = _kept(awaitable, outcomes)
    try:
        steps.send(None)
    except StopIteration:
        return outcomes[0]
    steps.close()
    raise AssertionError("it waits")
