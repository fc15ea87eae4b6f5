"""How urgent may a submitter's mail be? (RFC 6710 section 4.1)"""

from collections.abc import Mapping

from attrs import field, frozen


@frozen
class Priorities:
    """The highest priority of each submitter."""

    default: int = 0
    """Of all others."""

    by_login: Mapping[str, int] = field(factory=dict)
    """By login, in lower case."""

    def assigned(self, login: str, asked: int) -> int:
        """What a message has that asked for that: it may be lowered, never raised."""
        return min(asked, self.by_login.get(login.casefold(), self.default))
