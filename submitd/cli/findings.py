"""What a check found: said to people or programs, and as an exit status."""

import json
import os
from collections.abc import Iterable, Sequence
from enum import Enum

from attrs import frozen


class Verdict(Enum):
    """What a look came to: "no" and "cannot tell" are different answers."""

    GOOD = "ok"
    ODD = "odd"
    """It works, and somebody should look at it."""

    UNKNOWN = "cannot tell"
    WRONG = "wrong"


@frozen
class Finding:
    """One thing that was looked at."""

    verdict: Verdict
    about: str
    text: str

    def __str__(self) -> str:
        return f"{self.verdict.value:11}  {self.about}: {self.text}"


def exit_status(findings: Iterable[Finding]) -> int:
    """EX_CONFIG where anything is wrong, EX_TEMPFAIL where we cannot tell."""
    verdicts = {one.verdict for one in findings}
    if Verdict.WRONG in verdicts:
        return os.EX_CONFIG
    return os.EX_TEMPFAIL if Verdict.UNKNOWN in verdicts else os.EX_OK


def print_findings(findings: Sequence[Finding], *, as_json: bool) -> int:
    """Print them all, an object or a line each; give the exit status."""
    for one in findings:
        if as_json:
            print(
                json.dumps(
                    {
                        "verdict": one.verdict.value,
                        "about": one.about,
                        "text": one.text,
                    }
                )
            )
        else:
            print(one)
    return exit_status(findings)
