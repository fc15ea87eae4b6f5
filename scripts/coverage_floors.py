"""Hold coverage to its floors, which rise and do not fall."""

import json
import math
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

FLOORS: Final = {
    "submitd/mail/": 100.0,
    "submitd/smtp/": 100.0,
    "submitd/sasl/": 100.0,
    "submitd/policy/": 100.0,
    "submitd/spool/": 100.0,
    "submitd/delivery/backoff.py": 100.0,
    "submitd/": 90.0,
}
"""Per cent of lines and branches that the tests must reach."""


def below_their_floor(report: Mapping[str, Any]) -> list[str]:
    """What is wrong, one sentence each: the floors not held, and the places."""
    found = []
    for prefix, floor in FLOORS.items():
        files = {
            path: file
            for path, file in report["files"].items()
            if path.startswith(prefix)
        }
        reached, there = _counted(files)
        # A folder that nothing was measured of has not been tested at all.
        percent = 100 * reached / there if there else 0.0
        if percent < floor:
            # 99.999 is not 100: what is shown is never rounded up to the floor.
            shown = math.floor(percent * 100) / 100
            found.append(f"{prefix} is at {shown:.2f} %, its floor is {floor:g} %")
            if floor == 100:
                found += _places(files)
    return found


def _counted(files: Mapping[str, Any]) -> tuple[int, int]:
    total: Counter[str] = Counter()
    for file in files.values():
        total.update({k: v for k, v in file["summary"].items() if k in _COUNTS})
    return (
        total["covered_lines"] + total["covered_branches"],
        total["num_statements"] + total["num_branches"],
    )


_COUNTS: Final = {
    "covered_lines",
    "covered_branches",
    "num_statements",
    "num_branches",
}


def _places(files: Mapping[str, Any]) -> list[str]:
    places = []
    for path, file in files.items():
        places += [f"  {path}:{line} is not reached" for line in file["missing_lines"]]
        places += [
            # A negative target is the way out of the function or the module.
            f"  {path}:{start} never goes on to {end if end > 0 else 'its end'}"
            for start, end in file["missing_branches"]
            if start not in file["missing_lines"]
        ]
    return places


def main() -> int:
    """Read the JSON report named in the arguments. Status 1: a floor is not held."""
    report = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    complaints = below_their_floor(report)
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
