"""Debian's Knot: a primary name server that takes updates with a key."""

import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import frozen

from tests.support.dns_peers import free_port
from tests.support.hosts import until

_SETTINGS: Final = """\
server:
  listen: 127.0.0.1@{port}
  rundir: {folder}
database:
  storage: {folder}
log:
  - target: stderr
    any: info
key:
  - id: updates
    algorithm: hmac-sha256
    secret: {secret}
acl:
  - id: updates
    key: updates
    action: update
    update-type: TXT
zone:
  - domain: {zone}
    file: {folder}/zone
    acl: updates
"""

_ZONE: Final = """\
@ 60 SOA ns hostmaster 1 3600 600 86400 60
@ 60 NS ns
* 60 A 127.0.0.1
"""


@frozen
class Knot:
    """One that runs, with the key ``updates`` (hmac-sha256)."""

    port: int
    secret: str


@contextmanager
def running_knot(folder: Path, zone: str) -> Iterator[Knot]:
    """Serves ``zone`` on 127.0.0.1, where every name has that address, too."""
    folder.mkdir()
    knot = Knot(free_port(), b64encode(b"a secret of thirty-two octets ..").decode())
    (folder / "zone").write_text(_ZONE)
    settings = folder / "knot.conf"
    settings.write_text(
        _SETTINGS.format(port=knot.port, folder=folder, secret=knot.secret, zone=zone)
    )
    log = folder / "log"
    with (
        log.open("wb") as out,
        subprocess.Popen(["/usr/sbin/knotd", "-c", settings], stderr=out) as process,
    ):
        try:
            until(lambda: "loaded, serial" in log.read_text(), log.name, 20)
            yield knot
        finally:
            process.terminate()
            process.wait(10)
