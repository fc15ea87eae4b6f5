"""Records put into a zone, and taken out (RFC 2136, RFC 8945). All of it blocks."""

import time
from typing import Final

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.resolver
import dns.tsig
import dns.update
from attrs import field, frozen

_STEP_TIME: Final = 10.0
_TTL: Final = 60
_PAUSE: Final = 0.5


class UpdateRefused(Exception):
    """The name server did not do it. The message names server, name and why."""


@frozen(kw_only=True)
class UpdateServer:
    """The name server that takes updates, and the key that it knows us by."""

    address: str
    port: int
    zone: str
    """Empty: the server is asked which of its zones a name is in."""

    key_name: str
    """Empty: updates are not signed."""

    key_algorithm: str
    key_secret: str = field(repr=False)
    """Base64."""

    def put_text(self, name: str, text: str) -> None:
        """Add a TXT record, beside those that are there.

        Raises:
            UpdateRefused: it is not there now.
        """
        self._update(name, "add", _TTL, "TXT", f'"{text}"')

    def remove_text(self, name: str, text: str) -> None:
        """Remove it. Raises UpdateRefused."""
        self._update(name, "delete", "TXT", f'"{text}"')

    def wait_for_text(self, name: str, text: str, seconds: float) -> None:
        """Until the server itself shows the record.

        Raises:
            UpdateRefused: it did not for so long.
        """
        deadline = time.monotonic() + seconds
        question = dns.message.make_query(name, "TXT")
        wanted = f'"{text}"'
        while True:
            answer = self._asked(question, name)
            found = [str(one) for group in answer.answer for one in group]
            if wanted in found:
                return
            if time.monotonic() > deadline:
                raise UpdateRefused(
                    f"{self._where} took TXT of {name}, and does not show it"
                )
            time.sleep(_PAUSE)  # noqa: TID251 - for processes without an event loop

    @property
    def _where(self) -> str:
        return f"name server {self.address} port {self.port}"

    def _update(self, name: str, verb: str, *record: object) -> None:
        owner = dns.name.from_text(name)
        try:
            update = dns.update.UpdateMessage(self._zone_of(owner))
            if self.key_name:
                update.use_tsig(self._key())
        except (ValueError, dns.exception.DNSException) as problem:
            raise UpdateRefused(f"key {self.key_name}: {problem}") from problem
        getattr(update, verb)(owner, *record)
        answer = self._asked(update, name)
        if answer.rcode() != dns.rcode.NOERROR:
            said = dns.rcode.to_text(answer.rcode())
            raise UpdateRefused(f"{self._where} refused TXT of {name}: {said}")

    def _key(self) -> dns.tsig.Key:
        return dns.tsig.Key(self.key_name, self.key_secret, self.key_algorithm)

    def _zone_of(self, owner: dns.name.Name) -> dns.name.Name:
        """The zone that an SOA query for the name or one above it tells of."""
        if self.zone:
            return dns.name.from_text(self.zone)
        question = dns.message.make_query(owner, dns.rdatatype.SOA)
        answer = self._asked(question, str(owner))
        for group in (*answer.answer, *answer.authority):
            if group.rdtype == dns.rdatatype.SOA:
                return group.name
        raise UpdateRefused(f"{self._where} has no zone for {owner}")

    def _asked(self, question: dns.message.Message, name: str) -> dns.message.Message:
        try:
            return dns.query.tcp(question, self.address, _STEP_TIME, self.port)
        except (OSError, dns.exception.DNSException) as problem:
            reason = getattr(problem, "strerror", None) or str(problem)
            raise UpdateRefused(f"{self._where}, asked for {name}: {reason}") from (
                problem
            )
