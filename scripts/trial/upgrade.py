"""Upgrade with mail in the queue, remove, install again, purge."""

import shutil
import time
from pathlib import Path
from typing import Final

from scripts.trial.sending import SINK, WATCH, configure, queued, send
from scripts.trial.system import (
    BUILD,
    HERE,
    System,
    expect,
    fresh_system,
    run,
    tell,
    until,
)

MESSAGES: Final = 50


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


def schema(system: System) -> int:
    asked = (
        "import sqlite3; print(sqlite3.connect("
        "'file:/var/lib/submitd/spool.sqlite?mode=ro', uri=True)"
        ".execute('PRAGMA user_version').fetchone()[0])"
    )
    return int(system.run("python3", "-c", asked))


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
            send(system, MESSAGES)
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
            send(system, 5)
            system.run("apt-get", "-qq", "-y", "remove", "submitd")
            expect(spool.exists(), "the queue went with the package")
            system.run("dpkg", "-i", "/new.deb")
            tell("removed and installed again", f"{queued(system)} queued")
            expect(queued(system) == 5, "mail was lost")
            system.run("apt-get", "-qq", "-y", "purge", "submitd")
            expect(spool.exists(), "queued mail was purged, and nobody had said so")
            tell("purged, nobody there to answer", "the queue stays")
