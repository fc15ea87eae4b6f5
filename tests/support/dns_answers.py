"""A resolver that knows what a test has told it."""

from ipaddress import ip_address

from attrs import define, field

from submitd.dns.answer import Answer, NameNotFound, ResolverUnavailable
from submitd.dns.message import (
    AddressRecord,
    ExchangerRecord,
    Question,
    Record,
    RecordType,
    TextRecord,
    canonical_name,
)


@define
class StagedResolver:
    """A `Resolver`. A name that no test has told it of does not exist."""

    answers: dict[tuple[str, RecordType], Answer] = field(factory=dict)
    failing: set[tuple[str, RecordType]] = field(factory=set)
    asked: list[tuple[str, RecordType]] = field(factory=list)

    async def query(self, name: str, kind: RecordType) -> Answer:
        name = canonical_name(name)
        self.asked.append((name, kind))
        if (name, kind) in self.failing:
            raise ResolverUnavailable(
                Question(name, kind), "the name server failed: SERVFAIL"
            )
        if answer := self.answers.get((name, kind)):
            return answer
        if not any(name == known for known, _ in self.answers):
            raise NameNotFound(name, authenticated=False)
        return Answer(name=name, records=(), authenticated=False, ttl=60)

    def tell(
        self,
        name: str,
        kind: RecordType,
        *records: Record,
        authenticated: bool = False,
        real_name: str | None = None,
    ) -> None:
        self.answers[name, kind] = Answer(
            name=real_name or name,
            records=records,
            authenticated=authenticated,
            ttl=300,
        )

    def mx(
        self, domain: str, *hosts: tuple[int, str], authenticated: bool = False
    ) -> None:
        records = [ExchangerRecord(preference, host) for preference, host in hosts]
        self.tell(domain, RecordType.MX, *records, authenticated=authenticated)

    def host(self, name: str, *addresses: str, authenticated: bool = False) -> None:
        """Addresses of both families; without any, a name that has none."""
        parsed = [ip_address(address) for address in addresses]
        for kind, version in ((RecordType.A, 4), (RecordType.AAAA, 6)):
            records = [AddressRecord(one) for one in parsed if one.version == version]
            self.tell(name, kind, *records, authenticated=authenticated)

    def txt(self, name: str, text: bytes) -> None:
        self.tell(name, RecordType.TXT, TextRecord(text))

    def fail(self, name: str, *kinds: RecordType) -> None:
        """Nobody can tell: of these kinds, or of any."""
        self.failing.update((name, kind) for kind in kinds or RecordType)
