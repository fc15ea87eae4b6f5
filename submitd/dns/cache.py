"""What was answered, for as long as it holds (RFC 1035 section 7.4, RFC 2308)."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from attrs import evolve, frozen

from submitd.dns.answer import Absence, Answer, Fault
from submitd.dns.message import RecordType

FAULT_TTL: Final = 1
"""Seconds that a failure is remembered: a thousand messages to a domain whose
name servers are dead ask once, not a thousand times (RFC 9520 section 3.2)."""

Settled = Answer | Absence | Fault


@frozen
class _Entry:
    settled: Settled
    stored_at: float
    expires_at: float


class AnswerCache:
    """Keeps answers while they are fresh, the least used ones go first.

    A stale answer is never given: a host that moved must not get mail that is
    no longer its own.
    """

    def __init__(
        self,
        now: Callable[[], float],
        *,
        most_entries: int = 10_000,
        longest: int = 86_400,
        longest_negative: int = 3_600,
    ) -> None:
        """``longest`` and ``longest_negative`` bound every TTL, in seconds."""
        self._now = now
        self._most_entries = most_entries
        self._longest = longest
        self._longest_negative = longest_negative
        self._entries: OrderedDict[tuple[str, RecordType], _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, name: str, kind: RecordType) -> Settled | None:
        """What is known, with the TTL that is left of it."""
        key = (name, kind)
        entry = self._entries.get(key)
        if entry is None:
            return None
        now = self._now()
        # A clock that was put back must not make an old answer fresh.
        if not entry.stored_at <= now < entry.expires_at:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        settled = entry.settled
        if isinstance(settled, Answer) and now - entry.stored_at >= 1:
            return evolve(settled, ttl=int(entry.expires_at - now))
        return settled

    def put(self, name: str, kind: RecordType, settled: Settled) -> Settled:
        """Keep an answer, and give it back with the TTL it is kept for."""
        if isinstance(settled, Fault):
            ttl = FAULT_TTL
        else:
            is_negative = isinstance(settled, Absence) or not settled.records
            longest = self._longest_negative if is_negative else self._longest
            ttl = min(settled.ttl, longest)
            settled = evolve(settled, ttl=ttl)
        if ttl > 0:
            now = self._now()
            self._entries[name, kind] = _Entry(settled, now, now + ttl)
            self._entries.move_to_end((name, kind))
            if len(self._entries) > self._most_entries:
                self._entries.popitem(last=False)
        return settled
