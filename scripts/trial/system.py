"""A fresh Debian in a container, and what is told of it."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parents[2]
"""The checkout."""


BUILD: Final = HERE / "build"


SYSTEM: Final = "ca-certificates,dbus,debconf,python3,systemd,systemd-sysv"


def tell(about: str, what: object) -> None:
    print(f"{about:34} {what}", flush=True)


def run(*words: object, **more: object) -> str:
    """Run to the end; gives what it wrote.

    Raises:
        CalledProcessError: it failed; what it wrote was shown.
    """
    done = subprocess.run(  # type: ignore[call-overload]
        [str(word) for word in words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **({"timeout": 600} | more),
    )
    if done.returncode:
        print(*done.stdout.splitlines()[-40:], sep="\n", file=sys.stderr)
        done.check_returncode()
    return str(done.stdout)


def package_of(suite: str) -> Path:
    """What `make deb` has built."""
    (found,) = (BUILD / "deb" / suite).glob("submitd_*.deb")
    return found


def until(holds: Callable[[], object], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {seconds:g} s for {what}")
        time.sleep(0.2)  # noqa: TID251 - other processes are at work


def expect(held: bool, what: str) -> None:
    """End here unless it is as it should be."""
    if not held:
        raise SystemExit(f"trial: {what}")


def mirror() -> str:
    """Where this machine has Debian from."""
    words = ("--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian")
    # The suite itself comes before its updates and its security fixes.
    return run("apt-get", "indextargets", *words).split()[0]


class System:
    """A fresh Debian that boots."""

    def __init__(self, root: Path) -> None:
        """``root``: its files."""
        self.root = root
        self._leader = 0

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        file = self.root / path.lstrip("/")
        file.write_text(text)
        file.chmod(mode)

    def before_boot(self, *words: object) -> str:
        """Run without a boot, with the network of this machine."""
        return run(
            *("systemd-nspawn", "--quiet", "--pipe", "--directory", self.root),
            *("--register=no", "--keep-unit", "--resolv-conf=copy-host"),
            *("--setenv=DEBIAN_FRONTEND=noninteractive", "--setenv=LC_ALL=C.UTF-8"),
            *words,
        )

    @contextmanager
    def booted(self) -> Iterator[None]:
        with (BUILD / "trial" / "console.log").open("ab") as console:
            process = subprocess.Popen(
                [
                    *("systemd-nspawn", "--quiet", "--directory", self.root),
                    *("--register=no", "--keep-unit", "--private-network", "--boot"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
            try:
                until(lambda: self._is_up(process.pid), "its system", 120)
                yield
            finally:
                # SIGTERM asks the system inside to power off.
                process.terminate()
                process.wait(120)

    def _is_up(self, nspawn: int) -> bool:
        found = subprocess.run(
            ["pgrep", "-P", str(nspawn)], capture_output=True, text=True, check=False
        ).stdout.split()
        if not found:
            return False
        # The first that is seen may be a child that only prepares the container.
        self._leader = int(found[0])
        done = subprocess.run(
            self.command("systemctl", "is-system-running"),
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip() in ("running", "degraded")

    def command(self, *words: object) -> list[str]:
        enter = ("nsenter", "-t", str(self._leader), "-m", "-u", "-i", "-n", "-p")
        clean = ("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8")
        frontend = ("DEBIAN_FRONTEND=noninteractive",)
        return [*enter, *clean, *frontend, *(str(word) for word in words)]

    def run(self, *words: object) -> str:
        """Run inside, when it has booted."""
        return run(*self.command(*words))

    def tried(self, *words: object) -> str:
        """As `run`, for what may fail."""
        done = subprocess.run(
            self.command(*words),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )
        return done.stdout

    @contextmanager
    def talking(self, *words: object) -> Iterator[Callable[[], str]]:
        """A program beside all else; the value ends it, and gives its last line."""
        with subprocess.Popen(
            self.command(*words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as program:

            def finish() -> str:
                said, _ = program.communicate("stop\n", timeout=60)
                return said.strip()

            if program.stdout is not None:
                program.stdout.readline()  # it is there
            yield finish

    def workers(self) -> set[int]:
        """Pids of those that are ready; none while nobody answers."""
        try:
            status = json.loads(self.run("submitctl", "status", "--json"))
        except subprocess.CalledProcessError:
            return set()
        return {one["pid"] for one in status["workers"] if one["ready"]}

    def memory(self) -> dict[int, int]:
        """Octets of PSS of each process of the service."""
        pids = json.loads(self.run("submitctl", "status", "--json"))["pids"]
        found = {}
        for pid in pids:
            rollup = self.run("cat", f"/proc/{pid}/smaps_rollup")
            (pss,) = (
                int(line.split()[1]) * 1024
                for line in rollup.splitlines()
                if line.startswith("Pss:")
            )
            found[pid] = pss
        return found


@contextmanager
def fresh_system(suite: str) -> Iterator[System]:
    kept = BUILD / "trial" / f"{suite}.tar"
    if not kept.exists():
        draft = kept.with_suffix(".new.tar")
        run("mmdebstrap", "--quiet", f"--include={SYSTEM}", suite, draft)
        draft.rename(kept)
    with tempfile.TemporaryDirectory(dir=BUILD / "trial") as folder:
        root = Path(folder) / "root"
        root.mkdir()
        run("tar", "-C", root, "-xf", kept)
        (root / "etc" / "hostname").write_text("submit\n")
        yield System(root)
