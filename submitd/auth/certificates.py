"""Which login a client's certificate is for."""

from collections.abc import Sequence
from typing import Final

from attrs import frozen
from cryptography.x509 import Name

from submitd.sasl.channel import CertificateNames

_PLACE: Final = "{login}"
_MOST_NAMES: Final = 10
"""Names that are tried for one certificate."""


class BadPattern(ValueError):
    """The pattern is no distinguished name with one place for the login."""


@frozen
class ByEmail:
    """The mail addresses among its alternative names."""

    def logins(self, names: CertificateNames) -> tuple[str, ...]:
        """As `proofs.NamesLogins.logins`."""
        return names.emails[:_MOST_NAMES]


@frozen
class ByPrincipal:
    """The user principal names among its alternative names."""

    def logins(self, names: CertificateNames) -> tuple[str, ...]:
        """As `proofs.NamesLogins.logins`."""
        return names.upns[:_MOST_NAMES]


class BySubject:
    """A pattern for its subject, such as ``CN={login},OU=people,O=Example``."""

    def __init__(self, pattern: str) -> None:
        """Raises BadPattern."""
        try:
            self._wanted = _parts(pattern)
        except ValueError as problem:
            raise BadPattern(str(problem)) from problem
        values = [value for part in self._wanted for _, value in part]
        if sum(one.count(_PLACE) for one in values) != 1:
            raise BadPattern(f"{_PLACE} must stand in it once")

    def logins(self, names: CertificateNames) -> tuple[str, ...]:
        """As `proofs.NamesLogins.logins`: all of the subject must fit, part by part."""
        try:
            parts = _parts(names.subject)
        except ValueError:
            return ()
        if len(parts) != len(self._wanted):
            return ()
        logins = []
        for wanted, part in zip(self._wanted, parts, strict=True):
            if len(wanted) != len(part):
                return ()
            for pattern, found in zip(wanted, part, strict=True):
                login = _fits(pattern, found)
                if login is None:
                    return ()
                logins.append(login)
        return tuple(filter(None, logins))


_Part = Sequence[tuple[str, str]]
"""Types, as dotted numbers, and values."""


def _parts(name: str) -> Sequence[_Part]:
    """Its relative distinguished names, each with its attributes in one order."""
    return [
        sorted((one.oid.dotted_string, str(one.value)) for one in part)
        for part in Name.from_rfc4514_string(name).rdns
    ]


def _fits(pattern: tuple[str, str], found: tuple[str, str]) -> str | None:
    """What stands in the place; empty: it has none; None: it does not fit."""
    if pattern[0] != found[0]:
        return None
    before, place, behind = pattern[1].partition(_PLACE)
    text = found[1]
    if not place:
        return "" if text.casefold() == before.casefold() else None
    login = text[len(before) : len(text) - len(behind)]
    is_fit = (before + login + behind).casefold() == text.casefold()
    return login if is_fit and login else None
