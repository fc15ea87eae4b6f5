"""The Debian package, built and looked at; `scripts/trial/` installs and boots it."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from typing import Final

import pytest
from attrs import frozen

CHECKOUT: Final = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.root,
    pytest.mark.peers("debhelper"),
    pytest.mark.timeout(700),
]


def run(*words: str | Path) -> str:
    """Run to the end; gives what it wrote, errors too."""
    done = subprocess.run(
        words,
        cwd=CHECKOUT,
        # What pytest and coverage have set is not for the build.
        env={
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "COVERAGE", "COV_"))
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


@frozen
class Package:
    """What `make deb` has built."""

    file: Path
    changes: Path
    tree: Path
    """Its files, unpacked."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Package]:
    suite = re.search(r"VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text())
    assert suite is not None
    run("make", "deb")
    folder = CHECKOUT / "build" / "deb" / suite[1]
    (file,) = folder.glob("submitd_*.deb")
    (changes,) = folder.glob("submitd_*.changes")
    tree = tmp_path_factory.mktemp("package")
    run("dpkg-deb", "--raw-extract", file, tree)
    yield Package(file, changes, tree)
    rmtree(tree)


@pytest.mark.peers("lintian")
def test_lintian_has_nothing_to_say(package: Package) -> None:
    said = run("lintian", "--allow-root", "--fail-on=error,warning", package.changes)
    assert said == ""


@pytest.mark.peers("systemd")
def test_the_unit_is_shut_tight(package: Package) -> None:
    unit = package.tree / "lib/systemd/system/submitd.service"
    said = run("systemd-analyze", "security", "--offline=true", "--no-pager", unit)
    level = re.search(r"Overall exposure level for submitd.service: ([\d.]+)", said)
    assert level is not None
    assert float(level[1]) <= 1.5


@pytest.mark.peers("apparmor")
def test_the_profile_is_understood(package: Package) -> None:
    profile = package.tree / "etc/apparmor.d/submitd"
    run("apparmor_parser", "--skip-kernel-load", "--skip-cache", profile)
    assert "flags=(attach_disconnected,complain)" in profile.read_text()


def test_what_an_administrator_looks_for_is_in_it(package: Package) -> None:
    for path in (
        "etc/submitd/submitd.toml",
        "etc/logrotate.d/submitd",
        "usr/sbin/submitd",
        "usr/bin/submitctl",
        "usr/lib/sysusers.d/submitd.conf",
        "usr/lib/tmpfiles.d/submitd.conf",
        "lib/systemd/system/submitd-submission.socket",
        "lib/systemd/system/submitd-submissions.socket",
        "usr/share/man/man1/submitctl.1.gz",
        "usr/share/man/man5/submitd.toml.5.gz",
        "usr/share/man/man8/submitd.8.gz",
        "usr/share/bash-completion/completions/submitctl",
        "usr/share/zsh/vendor-completions/_submitctl",
        "usr/share/fish/vendor_completions.d/submitctl.fish",
        "usr/share/submitd/certbot-deploy-hook",
        "usr/share/doc/submitd/quick-start.md",
        "usr/share/doc/submitd/pager/index.md",
        "usr/share/doc/submitd/examples/prometheus.rules.yml",
        "usr/share/doc/submitd/copyright",
    ):
        assert (package.tree / path).exists() or (
            package.tree / f"{path}.gz"
        ).exists(), path
    conffiles = (package.tree / "DEBIAN/conffiles").read_text().split()
    assert "/etc/submitd/submitd.toml" in conffiles


def test_it_says_nothing_of_the_machine_that_built_it(package: Package) -> None:
    """And nothing in it is made anew when it is used."""
    home = str(CHECKOUT).encode()
    for file in package.tree.rglob("*"):
        if file.is_file() and not file.is_symlink():
            assert home not in file.read_bytes(), file
    assert not list(package.tree.rglob("*.pyc"))
    python = package.tree / "usr/lib/submitd/bin/python"
    assert str(python.readlink()) in ("/usr/bin/python3", "python3")
