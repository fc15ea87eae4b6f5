"""What a question came to: an answer, "there is no such name", or neither."""

from typing import Final

from attrs import frozen

from submitd.dns.message import (
    AliasRecord,
    Question,
    Record,
    RecordType,
    Response,
    ResponseCode,
)

_MOST_ALIASES: Final = 16
"""CNAME records followed within one response."""

ENDLESS: Final = "its aliases do not end"


@frozen(kw_only=True)
class Answer:
    """The name exists. No records: none of the kind that was asked for.

    "There is none" is an answer; "cannot tell" is `ResolverUnavailable`.
    """

    name: str
    """The name at the end of the chain of aliases; mostly the one asked for."""

    records: tuple[Record, ...]
    authenticated: bool
    """A validating resolver that we trust vouches for it, aliases included."""

    ttl: int
    """Seconds that it may be kept from now on."""


class NameNotFound(Exception):
    """The DNS says that there is no such name (NXDOMAIN)."""

    def __init__(self, name: str, *, authenticated: bool) -> None:
        super().__init__(f"there is no {name} in the DNS")
        self.name = name
        """The name that is missing: that of the question, or an alias's target."""
        self.authenticated = authenticated


class ResolverUnavailable(Exception):
    """Nobody could tell, for now: no answer, a failure, or a broken one."""

    def __init__(self, question: Question, reason: str, detail: str = "") -> None:
        super().__init__(f"{question}: {reason}")
        self.question = question
        self.reason = reason
        """Fit for a report: it names no host of ours."""
        self.detail = detail
        """What each name server did; for the log."""


class Unanswered(Exception):
    """Why a question stays without an answer; `ResolverUnavailable` names both."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


@frozen(kw_only=True)
class Absence:
    """NXDOMAIN as a value; ``ttl`` is 0 where it must not be kept."""

    name: str
    authenticated: bool
    ttl: int


@frozen(kw_only=True)
class Alias:
    """The response ends at an alias and says nothing of its target."""

    target: str
    authenticated: bool
    ttl: int


@frozen
class Fault:
    """`Unanswered` as a value."""

    reason: str
    detail: str


def interpret(question: Question, response: Response) -> Answer | Absence | Alias:
    """Follow the aliases from the question's name to what was asked for.

    Records of other names are not looked at, whoever slipped them in (RFC
    5452 section 6). Synthesized CNAME records lead through a DNAME (RFC 6672
    section 3.1).

    ``response`` is one of NOERROR or NXDOMAIN.

    Raises:
        Unanswered: the response contradicts itself, or its aliases do not end.
    """
    name, ttls = _end_of_chain(question, response)
    found = [
        record
        for record in response.records
        if record.owner == name and record.kind == question.kind
    ]
    authenticated = response.authenticated
    negative_ttl = min([*ttls, response.negative_ttl or 0])
    if response.code == ResponseCode.NAME_ERROR:
        # It is the end of the chain that does not exist (RFC 6604 section 2).
        if found:
            raise Unanswered("the answer contradicts itself")
        return Absence(name=name, authenticated=authenticated, ttl=negative_ttl)
    if found:
        return Answer(
            name=name,
            records=tuple(dict.fromkeys(record.data for record in found)),
            authenticated=authenticated,
            ttl=min([*ttls, *(record.ttl for record in found)]),
        )
    if ttls and response.negative_ttl is None:
        return Alias(target=name, authenticated=authenticated, ttl=min(ttls))
    return Answer(name=name, records=(), authenticated=authenticated, ttl=negative_ttl)


def _end_of_chain(question: Question, response: Response) -> tuple[str, list[int]]:
    """The name where the aliases end, and the TTL of each step."""
    name = question.name
    ttls: list[int] = []
    if question.kind == RecordType.CNAME:
        return name, ttls
    targets = {
        record.owner: (record.data.target, record.ttl)
        for record in response.records
        if isinstance(record.data, AliasRecord)
    }
    while name in targets:
        name, ttl = targets[name]
        ttls.append(ttl)
        if len(ttls) > _MOST_ALIASES or name == question.name:
            raise Unanswered(ENDLESS)
    return name, ttls
