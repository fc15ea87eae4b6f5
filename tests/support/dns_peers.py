"""Real name servers for tests: unbound as resolver and as the one that it asks."""

import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Final

import dns.dnssec
import dns.name
import dns.zone
from attrs import frozen
from cryptography.hazmat.primitives.asymmetric import ec
from dns.dnssectypes import Algorithm

_PREAMBLE: Final = """\
server:
  interface: 127.0.0.1
  interface: ::1
  port: {port}
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: ""
  use-syslog: no
  logfile: ""
  verbosity: 1
  num-threads: 1
  do-not-query-localhost: no
  trust-anchor-signaling: no
  root-hints: ""
"""


@frozen
class SignedZone:
    """A zone file and what a validating resolver must know of it."""

    text: str
    trust_anchor: str
    """A DS record."""


def sign(name: str, text: str) -> SignedZone:
    """Sign a zone with a key of its own (RFC 4035 section 2)."""
    zone = dns.zone.from_text(text, origin=f"{name}.", relativize=False)
    key = ec.generate_private_key(ec.SECP256R1())
    dnskey = dns.dnssec.make_dnskey(
        key.public_key(), Algorithm.ECDSAP256SHA256, flags=257
    )
    dns.dnssec.sign_zone(zone, keys=[(key, dnskey)], lifetime=86_400)
    ds = dns.dnssec.make_ds(dns.name.from_text(name), dnskey, "SHA256")
    return SignedZone(zone.to_text(relativize=False), f"{name}. DS {ds}")


_GIVEN: Final[set[int]] = set()


@cache
def _loopback() -> tuple[tuple[socket.AddressFamily, str], ...]:
    """Its addresses. Not every machine has the second one."""
    both = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
    with suppress(OSError), socket.socket(both[1][0]) as probe:
        probe.bind((both[1][1], 0))
        return both
    return both[:1]


def free_port() -> int:
    """A port that nobody uses, on neither loopback address, over UDP or TCP.

    None is given twice by one process: who asked for it may not listen yet.
    """
    while True:
        with ExitStack() as probes:
            port = 0
            try:
                for family, address in _loopback():
                    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                        probe = probes.enter_context(socket.socket(family, kind))
                        probe.bind((address, port))
                        port = probe.getsockname()[1]
            except OSError:
                continue
        if port not in _GIVEN:
            _GIVEN.add(port)
            return port


@contextmanager
def running_unbound(
    program: Path,
    folder: Path,
    port: int,
    settings: str,
    command: Callable[..., list[str]] = lambda *words: [str(word) for word in words],
) -> Iterator[None]:
    """An unbound on loopback that answers when this is entered.

    ``command`` makes of its words those that run it somewhere else.
    """
    folder.mkdir(exist_ok=True)
    configuration = folder / "unbound.conf"
    configuration.write_text(
        _PREAMBLE.format(port=port, folder=folder)
        + settings
        + "remote-control:\n  control-enable: no\n"
    )
    said: list[str] = []
    with subprocess.Popen(
        command(program, "-d", "-c", configuration),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                said.append(line)
                if "start of service" in line:
                    break
            else:
                raise AssertionError("unbound did not start:\n" + "".join(said))
            yield
        finally:
            process.terminate()
            # What it says at its end must not fill the pipe.
            process.communicate(timeout=10)
