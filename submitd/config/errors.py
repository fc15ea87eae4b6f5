"""What is wrong with a configuration, the way the operator wrote it."""

from collections.abc import Sequence
from pathlib import Path

from attrs import frozen


@frozen
class ConfigProblem:
    """One thing that is wrong, and what would be right."""

    file: Path
    key: str
    """As in ``[listener.submission] port``."""

    value: object
    """As written; None where nothing was."""

    right: str
    """What would be right, as a clause: ``must be …``."""

    def __str__(self) -> str:
        written = "" if self.value is None else f" = {_as_toml(self.value)}"
        return f"{self.file}: {self.key}{written}: {self.right}"


class ConfigErrors(Exception):
    """A configuration that cannot be used: all that is wrong with it, at once."""

    def __init__(self, problems: Sequence[ConfigProblem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def _as_toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"')[:200] + '"'
    if isinstance(value, list):
        return f"[{', '.join(map(_as_toml, value))}]"[:200]
    return str(value)[:200]
