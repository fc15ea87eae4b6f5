"""The least of what fuzzing has found: ``python -m tests.fuzz.save [NAME…]``.

Of all inputs in ``build/fuzz/NAME`` and ``tests/data/fuzz/NAME`` those are kept in the
latter that reach every step from line to line that all of them reach.
"""

import importlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from types import FrameType
from typing import Any, Final

from tests.fuzz.targets import GROWN, SAVED, TARGETS

_OURS: Final = f"{Path(__file__).parents[2] / 'submitd'}/"
_Step = tuple[str, str, int, int, bool]
"""File, function, the line before, the line; taken more than once."""


def steps_of(run: Callable[[bytes], None], octets: bytes) -> frozenset[_Step]:
    """The steps that ``run`` takes through our code with this input."""
    steps: set[_Step] = set()
    once: set[tuple[str, str, int, int]] = set()

    def enter(frame: FrameType, _: str, __: object) -> Any:  # noqa: ANN401
        code = frame.f_code
        if not code.co_filename.startswith(_OURS):
            return None
        at = 0

        def step(frame: FrameType, event: str, _: object) -> Any:  # noqa: ANN401
            nonlocal at
            if event == "line":
                taken = (code.co_filename, code.co_name, at, frame.f_lineno)
                steps.add((*taken, taken in once))
                once.add(taken)
                at = frame.f_lineno
            return step

        return step

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        run(octets)
    finally:
        sys.settrace(before)
    return frozenset(steps)


def least(inputs: Iterable[bytes], run: Callable[[bytes], None]) -> list[bytes]:
    """Those that reach together what all of them reach; the short ones first."""
    reached: dict[bytes, frozenset[_Step]] = {}
    seen: set[_Step] = set()
    for one in sorted(set(inputs), key=lambda octets: (len(octets), octets)):
        steps = steps_of(run, one)
        if not steps <= seen:
            seen |= steps
            reached[one] = steps
    # What a short one was kept for, a long one may do as well.
    by = Counter(step for steps in reached.values() for step in steps)
    for one in list(reached):
        if all(by[step] > 1 for step in reached[one]):
            by.subtract(reached.pop(one))
    return list(reached)


def save(name: str) -> int:
    """Put them into the tree; gives how many they are."""
    driver = importlib.import_module(f"tests.fuzz.{name}")
    files = [*(GROWN / name).glob("*"), *(SAVED / name).glob("*")]
    kept = least([one.read_bytes() for one in files], driver.one_input)
    folder = SAVED / name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*"):
        old.unlink()
    for octets in kept:
        (folder / sha256(octets).hexdigest()[:16]).write_bytes(octets)
    return len(kept)


if __name__ == "__main__":
    for target in sys.argv[1:] or TARGETS:
        print(f"{target}: {save(target)} inputs")
