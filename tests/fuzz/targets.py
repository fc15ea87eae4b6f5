"""What there is to fuzz, and where its inputs are."""

from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
SAVED: Final = HERE.parent / "data" / "fuzz"
GROWN: Final = Path("build") / "fuzz"

TARGETS: Final = tuple(sorted(one.stem for one in HERE.glob("*.dict")))
"""Each has a driver of that name beside its dictionary."""
