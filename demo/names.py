"""The name server: Twisted's own, with the zones of the demonstration."""

import argparse
from collections.abc import Iterable
from typing import Any, Final

from twisted.internet.error import CannotListenError
from twisted.names import dns
from twisted.names.authority import FileAuthority
from twisted.names.server import DNSServerFactory

from demo.serving import serve
from demo.settings import (
    EXCHANGER,
    HOST,
    HOSTNAME,
    RECIPIENT_DOMAIN,
    SENDER_DOMAIN,
    Unusable,
)

_TTL: Final = 60
_STRING: Final = 255
_TRIES: Final = 20


class Zone(FileAuthority):
    """A domain with its records, which come from no file."""

    soa: Any
    records: Any

    def __init__(self, domain: str, records: Iterable[tuple[str, Any]]) -> None:
        self._content = (domain, tuple(records))
        super().__init__(None)

    def loadFile(self, filename: object) -> None:  # noqa: ARG002, N802 - Twisted's name
        """Called once by Twisted, to set ``soa`` and ``records``."""
        domain, records = self._content
        soa = dns.Record_SOA(
            mname=domain, rname=f"hostmaster.{domain}", minimum=_TTL, ttl=_TTL
        )
        self.soa = (domain.encode(), soa)
        self.records = {domain.encode(): [soa]}
        for name, record in records:
            self.records.setdefault(name.lower().encode(), []).append(record)


def zones(texts: Iterable[tuple[str, str]]) -> list[Zone]:
    """Both domains take mail at one exchanger. ``texts``: name and TXT value."""
    exchanger = dns.Record_MX(preference=10, name=EXCHANGER, ttl=_TTL)
    here = dns.Record_A(HOST, ttl=_TTL)
    return [
        Zone(
            SENDER_DOMAIN,
            [
                (SENDER_DOMAIN, exchanger),
                (HOSTNAME, here),
                *((name, _text_record(value)) for name, value in texts),
            ],
        ),
        Zone(
            RECIPIENT_DOMAIN,
            [
                (RECIPIENT_DOMAIN, exchanger),
                (EXCHANGER, here),
            ],
        ),
    ]


def _text_record(value: str) -> dns.Record_TXT:
    octets = value.encode()
    return dns.Record_TXT(
        *(octets[at : at + _STRING] for at in range(0, len(octets), _STRING)), ttl=_TTL
    )


def listen_on_both(reactor: Any, factory: DNSServerFactory, port: int) -> int:  # noqa: ANN401
    """UDP and TCP on one port. Raises CannotListenError."""
    for _ in range(_TRIES):
        tcp = reactor.listenTCP(port, factory, interface=HOST)
        number = int(tcp.getHost().port)
        try:
            reactor.listenUDP(number, dns.DNSDatagramProtocol(factory), interface=HOST)
        except CannotListenError:
            if port:
                raise
            # Free for one of them is not free for the other.
            tcp.stopListening()
            continue
        return number
    raise Unusable("no port is free for UDP and TCP together")


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument(
        "--text", nargs=2, action="append", default=[], metavar=("NAME", "VALUE")
    )
    options = parser.parse_args()
    factory = DNSServerFactory(authorities=zones(options.text))
    serve(lambda reactor: listen_on_both(reactor, factory, options.port))


if __name__ == "__main__":
    main()
