"""What a password file holds, looked through once: in the thread that reads it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from attrs import field, frozen

from submitd.auth.directory import folded, stripped
from submitd.auth.files import parse_passwords
from submitd.auth.hashes import clear_text, is_locked
from submitd.sasl.scram_keys import ScramKeys, read_keys

_AMBIGUOUS: Final = ""
_MOST_LOOKS: Final = 16


@frozen(order=True)
class ScramLook:
    """What anybody who asks for keys sees of them, beside the salt itself."""

    iterations: int
    salt: int
    """Octets."""


@frozen(kw_only=True)
class PasswordTable:
    """The people of a password file."""

    stored: Mapping[str, str] = field(repr=False)
    """Stored passwords, by name."""

    by_spelling: Mapping[str, str] = field(repr=False)
    """Names, by the one form of all their spellings."""

    serves_keys: bool
    """All who can log in have keys: who knows SCRAM tries nothing else."""

    serves_secrets: bool
    looks: Mapping[ScramLook, int]
    """How many keys look so, of the most frequent looks."""

    def name(self, login: str, domains: frozenset[str]) -> str | None:
        """The file's name for this login; None: it has none."""
        name = stripped(login, domains)
        spellings = (login, name, login.lower(), name.lower())
        return next((one for one in spellings if one in self.stored), None)

    def spelled(self, login: str, domains: frozenset[str]) -> str | None:
        """The same in any spelling; None: the file has none such, or several."""
        forms = (folded(login), folded(stripped(login, domains)))
        return next(
            (one for form in forms if (one := self.by_spelling.get(form))), None
        )


def read_password_table(text: str) -> PasswordTable:
    """The table of a file's text. Not for the event loop: some microseconds a line.

    Raises:
        HalfWritten: as `parse_passwords`.
    """
    stored = parse_passwords(text)
    values = [one for one in stored.values() if not is_locked(one)]
    keys = [found for one in values if (found := read_keys(one)) is not None]
    return PasswordTable(
        stored=stored,
        by_spelling=_by_spelling(stored),
        serves_keys=0 < len(values) == len(keys),
        serves_secrets=any(clear_text(one) for one in values),
        looks=dict(Counter(map(_look, keys)).most_common(_MOST_LOOKS)),
    )


def _by_spelling(names: Iterable[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name in names:
        form = folded(name)
        found[form] = _AMBIGUOUS if form in found else name
    return found


def _look(keys: ScramKeys) -> ScramLook:
    return ScramLook(keys.iterations, len(keys.salt))
