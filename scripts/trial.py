"""The Debian package on a system that boots: ``scripts/trial.py SUITE [REVISION]``.

Installs build/deb/SUITE on a fresh system in a container, upgrades to it from
the package of an older REVISION with mail in the queue, removes and purges it,
asks Debian's own tools, and prints what was seen. Needs root, mmdebstrap and
systemd-nspawn; a container that has booted has no network but its own loopback.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
BUILD: Final = HERE.parent / "build"
MESSAGES: Final = 50
TOOLS: Final = ("lintian", "piuparts", "autopkgtest")
SYSTEM: Final = "ca-certificates,dbus,debconf,python3,systemd,systemd-sysv"

TRIAL: Final = "/etc/submitd/conf.d/50-trial.toml"
CONFIGURATION: Final = """\
[server]
hostname = "submit.example.org"
workers = 2
[tls]
certificate = "/etc/submitd/tls/cert.pem"
key = "/etc/submitd/tls/key.pem"
[listener.submission]
port = 587
[listener.submissions]
port = 465
tls = "implicit"
[password_file]
path = "/etc/submitd/passwords"
[senders.rule.own]
template = "{login}@example.org"
[dkim]
unsigned = "allow"
[route."*"]
host = "127.0.0.1"
port = 2525
[delivery]
allow_loopback = ["127.0.0.0/8"]
[retry]
first = "1s"
longest = "5s"
"""

SEND: Final = """\
import smtplib, ssl, sys
trust = ssl._create_unverified_context()
with smtplib.SMTP("127.0.0.1", 587, timeout=20) as client:
    client.starttls(context=trust)
    client.login("alice", "wonderland")
    for number in range(int(sys.argv[1])):
        header = f"From: alice@example.org\\r\\nSubject: {number}\\r\\n"
        message = header + "\\r\\nhello\\r\\n"
        client.sendmail("alice@example.org", ["bob@example.net"], message)
"""

STAMPED: Final = """\
sh /tests/submit | while read -r line; do echo "$(date +%s.%N) $line"; done
"""

SINK: Final = """\
import socketserver, sys, threading
subjects = set()
class Session(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"220 sink\\r\\n")
        content = False
        for line in self.rfile:
            if content:
                if line.startswith(b"Subject:"):
                    subjects.add(line)
                content = line != b".\\r\\n"
                if not content:
                    self.wfile.write(b"250 taken\\r\\n")
            elif line[:4].upper() == b"DATA":
                content = True
                self.wfile.write(b"354 go on\\r\\n")
            else:
                self.wfile.write(b"250 ok\\r\\n")
class Sink(socketserver.ThreadingTCPServer):
    daemon_threads = True
sink = Sink(("127.0.0.1", 2525), Session)
threading.Thread(target=sink.serve_forever, daemon=True).start()
print("listening", flush=True)
sys.stdin.readline()
print(len(subjects))
"""

WATCH: Final = """\
import select, socket, sys, time
# Says how long nobody answered with a greeting, and how many were turned away,
# when it is told to stop.
longest, refused, last = 0.0, 0, time.monotonic()
print("watching", flush=True)
while not select.select([sys.stdin], [], [], 0.01)[0]:
    try:
        with socket.create_connection(("127.0.0.1", 587), 20) as one:
            one.settimeout(20)
            if not one.recv(3) == b"220":
                continue
    except OSError:
        refused += 1
        continue
    longest, last = max(longest, time.monotonic() - last), time.monotonic()
print(longest, refused)
"""


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


def older_package(suite: str, revision: str) -> Path:
    """The package of an older revision, under a version that is lower than any."""
    tree = BUILD / "trial" / "older"
    shutil.rmtree(tree, ignore_errors=True)
    run("git", "-C", HERE, "worktree", "prune")
    run("git", "-C", HERE, "worktree", "add", "--detach", tree, revision)
    try:
        changelog = tree / "debian" / "changelog"
        text = changelog.read_text()
        first, _, rest = text.partition("\n")
        changelog.write_text(
            first.replace(first.split("(")[1].split(")")[0], "0.0.0-1") + "\n" + rest
        )
        run("scripts/deb", suite, cwd=tree)
        (found,) = (tree / "build" / "deb" / suite).glob("submitd_*.deb")
        kept = BUILD / "trial" / f"older-{suite}.deb"
        shutil.copy(found, kept)
        return kept
    finally:
        run("git", "-C", HERE, "worktree", "remove", "--force", tree)


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

    def send(self, count: int) -> None:
        self.run("python3", "-c", SEND, count)

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


def until(holds: Callable[[], object], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {seconds:g} s for {what}")
        time.sleep(0.2)  # noqa: TID251 - other processes are at work


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


def configure(system: System) -> None:
    system.run(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
        *("-subj", "/CN=submit.example.org"),
        *("-keyout", "/etc/submitd/tls/key.pem", "-out", "/etc/submitd/tls/cert.pem"),
    )
    system.run("chgrp", "submitd", "/etc/submitd/tls/key.pem")
    system.run("chmod", "640", "/etc/submitd/tls/key.pem")
    system.write("/etc/submitd/passwords", "alice:{PLAIN}wonderland\n")
    system.write(TRIAL, CONFIGURATION)
    system.run("systemctl", "restart", "submitd")


def schema(system: System) -> int:
    asked = (
        "import sqlite3; print(sqlite3.connect("
        "'file:/var/lib/submitd/spool.sqlite?mode=ro', uri=True)"
        ".execute('PRAGMA user_version').fetchone()[0])"
    )
    return int(system.run("python3", "-c", asked))


def queued(system: System) -> int:
    return int(system.run("submitctl", "queue", "count"))


def emptied(system: System) -> bool:
    """What is under way just now cannot be removed: try again."""
    system.run("submitctl", "queue", "remove", "--all")
    return queued(system) == 0


def expect(held: bool, what: str) -> None:
    """End here unless it is as it should be."""
    if not held:
        raise SystemExit(f"trial: {what}")


def try_installation(suite: str, package: Path) -> None:
    """Install, configure, look at it, send."""
    with fresh_system(suite) as system:
        system.before_boot("apt-get", "-qq", "update")
        shutil.copy(package, system.root / "new.deb")
        began = time.monotonic()
        system.before_boot("apt-get", "-qq", "-y", "install", "/new.deb")
        tell("apt install, with what it needs", f"{time.monotonic() - began:.1f} s")
        # For the same test as autopkgtest's, under the unit and all that it forbids.
        shutil.copytree(HERE.parent / "debian" / "tests", system.root / "tests")
        needed = ("openssl", "python3-dkim", "slapd", "ldap-utils")
        system.before_boot("apt-get", "-qq", "-y", "install", *needed)
        with system.booted():
            state = system.run("systemctl", "is-active", "submitd").strip()
            status = system.run("submitctl", "status").splitlines()
            tell("installed, not configured", f"{state}; {status[0]}")
            expect(not any(" port " in line for line in status), "it listens already")
            configure(system)
            time.sleep(5)  # noqa: TID251 - to rest
            found = system.memory()
            each = " + ".join(f"{one / 1e6:.1f}" for one in found.values())
            tell(
                "PSS at rest, 2 workers", f"{sum(found.values()) / 1e6:.1f} MB: {each}"
            )
            score = system.run("systemd-analyze", "security", "--no-pager", "submitd")
            tell("systemd-analyze security", score.strip().splitlines()[-1])
            system.send(3)
            until(lambda: kept_of(system), "the journal", 20)
            fields = [name for name in kept_of(system) if name.startswith("SUBMITD")]
            tell("message-accepted in the journal", ", ".join(sorted(fields)))
            try_service(system)
            try_activation(system)
            system.run("rm", TRIAL)
            until(lambda: emptied(system), "an empty queue", 20)
            said = system.run("sh", "-c", STAMPED).splitlines()
            tell("people in slapd, under the unit", said[-1].partition(" ")[2])
            steps = [line.partition(" == ") for line in said if " == " in line]
            at = {words: float(when) for when, _, words in steps}
            took = at["delivered and verified"] - at["the configuration"]
            tell("from the configuration to that", f"{took:.1f} s")
            tell("commands of the quick start", str(commands_of_quick_start()))


def try_service(system: System) -> None:
    """What systemd does with it: a reload, and the end of one that hangs."""

    def main_process() -> str:
        return system.run("systemctl", "show", "-P", "MainPID", "submitd").strip()

    main, before = main_process(), system.workers()
    began = time.monotonic()
    system.run("systemctl", "reload", "submitd")
    took = time.monotonic() - began
    tell("systemctl reload", f"{took:.1f} s; the same process, other workers")
    expect(main_process() == main, "a reload has changed the main process")
    expect(not before & system.workers(), "a reload has left a worker")

    impatient = "/etc/systemd/system/submitd.service.d/trial.conf"
    system.run("mkdir", "-p", Path(impatient).parent)
    system.write(impatient, "[Service]\nWatchdogSec=5\n")
    system.run("systemctl", "daemon-reload")
    system.run("systemctl", "restart", "submitd")
    main = main_process()
    system.run("kill", "-STOP", main)
    began = time.monotonic()
    until(lambda: main_process() not in (main, "0"), "the watchdog", 60)
    until(system.workers, "its workers", 60)
    took = time.monotonic() - began
    tell("watchdog of 5 s", f"a process that hung is replaced after {took:.1f} s")
    system.run("rm", impatient)
    system.run("systemctl", "daemon-reload")
    system.run("systemctl", "restart", "submitd")


def try_activation(system: System) -> None:
    """With port 587 in systemd's hands: a start on demand, and a restart."""
    held = CONFIGURATION.replace("port = 587", 'address = "systemd:submission"')
    socket = "submitd-submission.socket"
    system.run("systemctl", "stop", "submitd")
    system.write(TRIAL, held)
    system.run("systemctl", "enable", "--now", socket)
    began = time.monotonic()
    system.send(1)
    took = time.monotonic() - began
    with system.talking("python3", "-c", WATCH) as finish:
        system.run("systemctl", "restart", "submitd")
        time.sleep(2)  # noqa: TID251 - for some more looks
        away, refused = finish().split()
    tell("socket activation", f"the first client starts it and sends in {took:.1f} s")
    tell("restart, systemd holds the port", f"{refused} refused in {float(away):.1f} s")
    expect(refused == "0", "systemd has refused a connection")
    system.run("systemctl", "disable", "--now", socket)
    system.write(TRIAL, CONFIGURATION)
    system.run("systemctl", "restart", "submitd")


def commands_of_quick_start() -> int:
    """Up to the first message; the one file that is to be written is none."""
    text = (HERE.parent / "docs" / "quick-start.md").read_text("utf-8")
    lines = text.partition("## Afterwards")[0].splitlines()
    # A command is indented by four; one that goes on, by more.
    return sum(line[:4] == "    " and line[4:5].strip() != "" for line in lines)


def kept_of(system: System) -> dict[str, object]:
    """What the journal keeps of an accepted message; empty: nothing yet."""
    words = ("-u", "submitd", "-n", "1", "-o", "json", "--no-pager", "--quiet")
    said = system.run("journalctl", *words, "SUBMITD_EVENT=message-accepted")
    found: dict[str, object] = json.loads(said or "{}")
    return found


def try_upgrade(suite: str, older: Path, package: Path) -> None:
    """Upgrade with mail in the queue, remove, install again, purge."""
    with fresh_system(suite) as system:
        spool = system.root / "var/lib/submitd/spool.sqlite"
        system.before_boot("apt-get", "-qq", "update")
        for name, one in (("old.deb", older), ("new.deb", package)):
            shutil.copy(one, system.root / name)
        system.before_boot("apt-get", "-qq", "-y", "install", "/old.deb", "openssl")
        with system.booted():
            configure(system)
            system.send(MESSAGES)
            tell(
                "queued by the older one", f"{queued(system)}, schema {schema(system)}"
            )
            with system.talking("python3", "-c", WATCH) as finish:
                began = time.monotonic()
                system.run("dpkg", "-i", "/new.deb")
                took = time.monotonic() - began
                time.sleep(5)  # noqa: TID251 - for some more looks
                away = float(finish().split()[0])
            tell("upgrade", f"{took:.1f} s; nobody answered for {away:.1f} s")
            tell("queued after it", f"{queued(system)}, schema {schema(system)}")
            expect(queued(system) == MESSAGES, "mail was lost")
            with system.talking("python3", "-c", SINK) as finish:
                system.run("submitctl", "queue", "retry", "--all")
                until(lambda: not queued(system), "the queue to be empty", 60)
                arrived = int(finish())
            tell("arrived after it", f"{arrived} of {MESSAGES}")
            expect(arrived == MESSAGES, "mail was lost")
            system.send(5)
            system.run("apt-get", "-qq", "-y", "remove", "submitd")
            expect(spool.exists(), "the queue went with the package")
            system.run("dpkg", "-i", "/new.deb")
            tell("removed and installed again", f"{queued(system)} queued")
            expect(queued(system) == 5, "mail was lost")
            system.run("apt-get", "-qq", "-y", "purge", "submitd")
            expect(spool.exists(), "queued mail was purged, and nobody had said so")
            tell("purged, nobody there to answer", "the queue stays")


def mirror() -> str:
    """Where this machine has Debian from."""
    words = ("--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian")
    # The suite itself comes before its updates and its security fixes.
    return run("apt-get", "indextargets", *words).split()[0]


def try_tools(suite: str) -> None:
    """What Debian has for it: lintian, piuparts, autopkgtest."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        run("apt-get", "-qq", "-y", "install", *missing)
    (changes,) = (BUILD / "deb" / suite).glob("*.changes")
    said = run("lintian", "--allow-root", "--fail-on", "error,warning", changes).strip()
    tell("lintian", said.replace("\n", "; ") or "nothing")
    base = BUILD / "trial" / f"{suite}-least.tar.gz"
    if not base.exists():
        # What systemd makes when it is installed is none of our leavings.
        with_systemd = ("--variant=minbase", "--include=systemd")
        run("mmdebstrap", "--quiet", *with_systemd, suite, base)
    run(
        *("piuparts", "--basetgz", base, "--distribution", suite),
        *("--mirror", f"{mirror()} main"),
        # apt's own, when it asks debconf's questions ahead.
        *("--ignore-regex", "/var/cache/debconf/tmp.ci/?"),
        *("--no-upgrade-test", package_of(suite)),
    )
    tell("piuparts", "passed")
    for manner in ("chroot", "null"):
        with fresh_system(suite) as system:
            tell(f"autopkgtest, {manner}", tested(system, changes, manner))


def try_management(suite: str, package: Path) -> None:
    """The examples for Puppet and Ansible: done, done again, and refused a fault."""
    examples = HERE.parent / "docs" / "examples"
    for tool, apt, unchanged in (
        ("puppet", "puppet", "Notice: Applied catalog"),
        ("ansible", "ansible-core python3-apt", "changed=0 "),
    ):
        with fresh_system(suite) as system:
            system.before_boot("apt-get", "-qq", "update")
            shutil.copy(package, system.root / "new.deb")
            shutil.copytree(examples, system.root / "examples")
            system.before_boot(
                "apt-get", "-qq", "-y", "install", "/new.deb", *apt.split()
            )
            with system.booted():
                first = system.run(*managed(tool, ""))
                expect("Error" not in first, f"{tool} failed:\n{first}")
                again = system.run(*managed(tool, ""))
                expect(
                    unchanged in again, f"{tool} found something to do again:\n{again}"
                )
                expect(
                    "/Stage" not in again, f"{tool} changed something again:\n{again}"
                )
                listeners = system.run("submitctl", "status")
                expect("port 587" in listeners, f"no listener after {tool}")
                file = system.root / "etc/submitd/conf.d" / f"50-{tool}.toml"
                before = file.read_text()
                done = subprocess.run(
                    system.command(*managed(tool, "nonsense = 1")),
                    capture_output=True,
                    text=True,
                    check=False,
                )
                said = done.stdout + done.stderr
                expect(
                    "nonsense: no such setting" in said, f"{tool} said: {said[-900:]}"
                )
                expect(file.read_text() == before, f"{tool} wrote a faulty file")
                tell(tool, "done, nothing to do again, a fault refused")


def managed(tool: str, extra: str) -> tuple[str, ...]:
    """The command; ``extra`` goes into the settings as it stands."""
    if tool == "ansible":
        play = ("ansible-playbook", "-i", "submission,", "-c", "local")
        return (*play, "-e", f"submitd_extra='{extra}'", "/examples/ansible/site.yml")
    site = (
        "class { 'submitd': hostname => 'submit.example.org', "
        "ldap_servers => ['ldap://ldap.example.org'], ldap_base => 'dc=example', "
        "domains => ['example.org'], contact => 'postmaster@example.org', "
        f"extra => '{extra}' }}"
    )
    return ("puppet", "apply", "--modulepath", "/examples/puppet", "-e", site)


def tested(system: System, changes: Path, manner: str) -> str:
    """What autopkgtest says in the end."""
    update = "--setup-commands=apt-get -qq update"
    if manner == "null":
        shutil.copytree(changes.parent, system.root / "package")
        system.before_boot("apt-get", "-qq", "update")
        system.before_boot("apt-get", "-qq", "-y", "install", "autopkgtest")
        said = system.before_boot(
            *("sh", "-c", "cd /package && autopkgtest -q *.changes -- null")
        )
    else:
        # No service is started in it, and programs find their own processes.
        policy = system.root / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        shutil.copy("/etc/resolv.conf", system.root / "etc" / "resolv.conf")
        proc = system.root / "proc"
        run("mount", "-t", "proc", "proc", proc)
        try:
            said = run(
                "autopkgtest", "-q", update, changes, "--", "chroot", system.root
            )
        finally:
            run("umount", proc)
    (line,) = (line for line in said.splitlines() if line.startswith("submit "))
    return " ".join(line.split())


def main() -> None:
    """All of it, one after the other."""
    suite, *older = sys.argv[1:]
    (BUILD / "trial").mkdir(parents=True, exist_ok=True)
    package = package_of(suite)
    tell("package", f"{package.name}, {package.stat().st_size / 1e6:.2f} MB")
    try_installation(suite, package)
    for revision in older:
        try_upgrade(suite, older_package(suite, revision), package)
    try_management(suite, package)
    try_tools(suite)


if __name__ == "__main__":
    main()
