"""Debian's pebble: an authority for tests, with real challenges and real TLS."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from tests.support.certificates import make_certificate
from tests.support.dns_peers import free_port
from tests.support.hosts import until


@frozen
class Pebble:
    """One that runs."""

    url: str
    ca_file: Path
    """Who vouches for its web server."""


@contextmanager
def running_pebble(
    folder: Path,
    *,
    resolver: int,
    http_port: int = 1,
    tls_port: int = 1,
    validity: int = 86_400,
    account_keys: Mapping[str, str] | None = None,
    port: int = 0,
    thinks_for: int = 0,
) -> Iterator[Pebble]:
    """One that asks its questions on these ports of 127.0.0.1.

    ``resolver``: port of the name server that it asks. ``validity``: seconds
    that its certificates are good for. ``account_keys``: those of customers,
    where it binds accounts. ``thinks_for``: seconds before each look.
    """
    folder.mkdir(exist_ok=True)
    port = port or free_port()
    certificate = folder / "pebble.pem"
    if not certificate.exists():
        make_certificate(folder, "pebble.pem", "pebble.key", ["localhost"])
    settings = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{free_port()}",
        "certificate": str(certificate),
        "privateKey": str(folder / "pebble.key"),
        "httpPort": http_port,
        "tlsPort": tls_port,
        "externalAccountBindingRequired": account_keys is not None,
        "externalAccountMACKeys": dict(account_keys or {}),
        "certificateValidityPeriod": validity,
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": settings}))
    log = folder / "pebble.log"
    with log.open("ab") as out:
        words = ["/usr/bin/pebble", "-config", str(folder / "pebble.json")]
        with subprocess.Popen(
            [*words, "-dnsserver", f"127.0.0.1:{resolver}"],
            stdout=out,
            stderr=out,
            env=os.environ
            | (
                {"PEBBLE_VA_SLEEPTIME": str(thinks_for)}
                if thinks_for
                else {"PEBBLE_VA_NOSLEEP": "1"}
            )
            # Otherwise it refuses every twentieth good nonce, and does not always
            # ask again for what was proved.
            | {"PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"},
        ) as process:
            try:
                _wait_for(port, process)
                yield Pebble(f"https://localhost:{port}/dir", certificate)
            finally:
                process.terminate()
                process.wait(10)


@contextmanager
def running_names() -> Iterator[int]:
    """A name server for which every name is 127.0.0.1; gives its port."""
    port = free_port()
    words = ["/usr/bin/pebble-challtestsrv", "-defaultIPv6", ""]
    for service in ("http01", "https01", "tlsalpn01"):
        words += [f"-{service}", ""]
    words += ["-dns01", f"127.0.0.1:{port}", "-management", f"127.0.0.1:{free_port()}"]
    with subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _wait_for(port, process)
            yield port
        finally:
            process.terminate()
            process.wait(10)


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    def listens() -> bool:
        assert process.poll() is None, f"it ended: {process.args!r}"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    until(listens, f"somebody on port {port}", 20)
