"""Install, configure, look at it, send."""

import json
import shutil
import time
from pathlib import Path

from scripts.trial.sending import CONFIGURATION, TRIAL, WATCH, configure, queued, send
from scripts.trial.system import HERE, System, expect, fresh_system, tell, until


def try_installation(suite: str, package: Path) -> None:
    """Install, configure, look at it, send."""
    with fresh_system(suite) as system:
        system.before_boot("apt-get", "-qq", "update")
        shutil.copy(package, system.root / "new.deb")
        began = time.monotonic()
        system.before_boot("apt-get", "-qq", "-y", "install", "/new.deb")
        tell("apt install, with what it needs", f"{time.monotonic() - began:.1f} s")
        # For the same test as autopkgtest's, under the unit and all that it forbids.
        shutil.copytree(HERE / "debian" / "tests", system.root / "tests")
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
            send(system, 3)
            until(lambda: kept_of(system), "the journal", 20)
            fields = [name for name in kept_of(system) if name.startswith("SUBMITD")]
            tell("message-accepted in the journal", ", ".join(sorted(fields)))
            try_service(system)
            try_activation(system)
            system.run("rm", TRIAL)
            until(lambda: emptied(system), "an empty queue", 20)
            said = system.run("sh", "/tests/submit").splitlines()
            tell("people in slapd, under the unit", said[-1])


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
    send(system, 1)
    took = time.monotonic() - began
    with system.talking("python3", "-c", WATCH) as finish:
        system.run("systemctl", "restart", "submitd")
        time.sleep(2)  # noqa: TID251 - for some more looks
        away, refused = finish().split()
    tell("socket activation", f"the first client starts it and sends in {took:.1f} s")
    tell("restart, systemd holds the port", f"{refused} refused in {float(away):.1f} s")
    expect(refused == "0", "systemd has refused a connection")
    with system.talking("python3", "-c", WATCH) as finish:
        system.run("dpkg", "-i", "/new.deb")
        until(system.workers, "the upgraded server", 60)
        away, refused = finish().split()
    tell("upgrade, systemd holds the port", f"{refused} refused in {float(away):.1f} s")
    expect(refused == "0", "systemd has refused a connection")
    system.run("systemctl", "disable", "--now", socket)
    system.write(TRIAL, CONFIGURATION)
    system.run("systemctl", "restart", "submitd")


def kept_of(system: System) -> dict[str, object]:
    """What the journal keeps of an accepted message; empty: nothing yet."""
    words = ("-u", "submitd", "-n", "1", "-o", "json", "--no-pager", "--quiet")
    said = system.run("journalctl", *words, "SUBMITD_EVENT=message-accepted")
    found: dict[str, object] = json.loads(said or "{}")
    return found


def emptied(system: System) -> bool:
    """What is under way just now cannot be removed: try again."""
    system.run("submitctl", "queue", "remove", "--all")
    return queued(system) == 0
