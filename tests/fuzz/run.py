"""Coverage-guided fuzzing: ``python -m tests.fuzz.run NAME [SECONDS]``.

A driver is a module of this folder with ``one_input(octets)``, which raises where
something is wrong; it may have ``seeds()`` to begin with. What the fuzzer finds worth
keeping goes to ``build/fuzz/NAME``; an input that makes the driver raise, or take too
long, is written beside that folder, and ends the run with another status than 0.
"""

import importlib
import sys
from typing import Final

import atheris

from tests.fuzz.targets import GROWN, HERE, SAVED

_LONGEST: Final = 4096
"""Octets of an input: enough for a session of many commands."""

_TOO_LONG: Final = 10
"""Seconds that an input may take."""


def main(name: str, seconds: str = "60") -> None:
    """Fuzz. Ends the process."""
    with atheris.instrument_imports(include=["submitd"]):
        driver = importlib.import_module(f"tests.fuzz.{name}")
    grown, saved = GROWN / name, SAVED / name
    for folder in (grown, saved):
        folder.mkdir(parents=True, exist_ok=True)
    for number, octets in enumerate(getattr(driver, "seeds", list)()):
        (grown / f"seed-{number}").write_bytes(octets)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={_LONGEST}",
        f"-timeout={_TOO_LONG}",
        f"-dict={HERE / name}.dict",
        f"-artifact_prefix={grown}-",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    atheris.Setup([name, *options, str(grown), str(saved)], driver.one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
