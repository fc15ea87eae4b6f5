"""The real programs that tests need: as root install them, else name those missing.

The list, with where each comes from, is scripts/peers.txt.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from typing import Final

from attrs import frozen

CHECKOUT: Final = Path(__file__).resolve().parent.parent
UNPACKED: Final = CHECKOUT / ".peers"
_LIST: Final = CHECKOUT / "scripts" / "peers.txt"
_POLICY: Final = Path("/usr/sbin/policy-rc.d")


@frozen
class Peer:
    """One program, or one library of another language."""

    name: str
    unpacked: bool
    packages: tuple[str, ...]
    files: tuple[str, ...]
    """Patterns of its file; the first that is there counts."""
    users: tuple[str, ...]
    """System users that it drops its privileges to."""

    @property
    def root(self) -> Path:
        """Where its files lie: the system, or the folder it is unpacked in."""
        return UNPACKED / self.name if self.unpacked else Path("/")

    @property
    def path(self) -> Path | None:
        """Its file, or None where it is not installed."""
        for pattern in self.files:
            for found in glob(str(self.root / pattern)):  # noqa: PTH207, absolute
                return Path(found)
        return None


def read_peers(listing: Path = _LIST) -> dict[str, Peer]:
    """The list, by name."""
    peers = {}
    for line in listing.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, how, packages, files, *users = line.split()
            peers[name] = Peer(
                name=name,
                unpacked=how == "unpack",
                packages=tuple(packages.split(",")),
                files=tuple(files.split(",")),
                users=tuple(users[0].split(",")) if users else (),
            )
    return peers


def missing(peers: dict[str, Peer]) -> list[Peer]:
    """Those that are not there."""
    return [peer for peer in peers.values() if peer.path is None]


def install(peers: Sequence[Peer]) -> None:
    """Bring all of them, with apt.

    Raises:
        CalledProcessError: apt or dpkg failed, and has said why.
    """
    unpacked = [peer for peer in peers if peer.unpacked]
    wanted = {
        package for peer in peers if not peer.unpacked for package in peer.packages
    }
    _run("apt-get", "update", "-qq")
    for peer in unpacked:
        wanted |= _libraries_of(peer.packages)
    with _no_daemon_starts():
        _run("apt-get", "install", "-qq", "--no-install-recommends", *sorted(wanted))
    for peer in unpacked:
        _unpack(peer)


def _unpack(peer: Peer) -> None:
    for user in peer.users:
        if subprocess.run(["id", user], capture_output=True, check=False).returncode:
            _run(
                *("useradd", "--system", "--user-group", "--badname"),
                *("--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", user),
            )
    peer.root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        _run("apt-get", "download", "-qq", *peer.packages, folder=folder)
        for archive in Path(folder).glob("*.deb"):
            _run("dpkg", "-x", str(archive), str(peer.root))


def _libraries_of(packages: Sequence[str]) -> set[str]:
    """The libraries that these packages depend on."""
    listing = subprocess.run(
        ["apt-cache", "depends", "--important", *packages],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    wanted = (line.partition("Depends: ")[2] for line in listing.splitlines())
    return {package for package in wanted if package.startswith(("lib", "zlib"))}


@contextmanager
def _no_daemon_starts() -> Iterator[None]:
    """Let no package start its daemon; afterwards all is as it was before."""
    before = _POLICY.with_name("policy-rc.d.before-submitd")
    if _POLICY.exists():
        _POLICY.rename(before)
    _POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()
        if before.exists():
            before.rename(_POLICY)


def _run(*command: str, folder: str | None = None) -> None:
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    # apt's own chatter is of use only where it fails.
    done = subprocess.run(
        command,
        cwd=folder,
        env=quiet,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        sys.stderr.buffer.write(done.stdout)
        raise subprocess.CalledProcessError(done.returncode, command)


def main() -> int:
    """Install, or say what will be skipped. Failure only where root cannot install."""
    peers = read_peers()
    absent = missing(peers)
    if os.geteuid() != 0:
        print("Not root: tests that need network namespaces or low ports are skipped.")
        for peer in absent:
            print(f"Not installed: {peer.name}; tests that need it are skipped.")
        return 0
    if not absent:
        return 0
    print("Installing", ", ".join(peer.name for peer in absent))
    try:
        install(absent)
    except OSError as problem:
        print(f"make: the tests' peers cannot be installed: {problem}")
        return 1
    except subprocess.CalledProcessError as failed:
        command = " ".join(failed.cmd[:2])
        print(
            f"make: the tests' peers cannot be installed: {command} failed (see above)"
        )
        return 1
    if still := missing(peers):
        print("make: not found after their installation:", *(p.name for p in still))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
