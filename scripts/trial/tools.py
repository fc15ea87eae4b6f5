"""What others make of the package: lintian, piuparts, autopkgtest, Puppet, Ansible."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from scripts.trial.system import (
    BUILD,
    HERE,
    System,
    expect,
    fresh_system,
    mirror,
    package_of,
    run,
    tell,
)

TOOLS: Final = ("lintian", "piuparts", "autopkgtest")


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


def try_management(suite: str, package: Path) -> None:
    """The examples for Puppet and Ansible: done, done again, and refused a fault."""
    examples = HERE / "docs" / "examples"
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
