"""The plugin and the command are there however the project is installed."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Final

import pytest
from attrs import frozen

CHECKOUT: Final = Path(__file__).resolve().parents[2]
TWISTD: Final = "from twisted.scripts.twistd import run; run()"


def run(*command: str | Path, folder: Path) -> str:
    """Run a program without this process's Python settings; give what it printed."""
    kept = {"PATH", "HOME", "TMPDIR"}
    done = subprocess.run(
        command,
        cwd=folder,
        env={name: os.environ[name] for name in kept & os.environ.keys()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@frozen
class Environment:
    """A virtual environment that sees our dependencies, but not the checkout."""

    root: Path

    @property
    def python(self) -> Path:
        return self.root / "bin" / "python"

    def pip_install(self, *what: str | Path) -> None:
        run(
            *(sys.executable, "-m", "pip", "--python", self.python),
            *("install", "--quiet", "--no-deps", "--no-build-isolation"),
            # The one that is installed beside the dependencies does not count.
            *("--no-index", "--ignore-installed", *what),
            folder=self.root,
        )

    def twistd(self, *options: str) -> str:
        return run(self.python, "-c", TWISTD, *options, folder=self.root)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    made = Environment(tmp_path / "environment")
    run(sys.executable, "-m", "venv", "--without-pip", made.root, folder=tmp_path)
    (site,) = made.root.glob("lib/python*/site-packages")
    # A path named in a .pth file is searched, but its own .pth files, among
    # them that of an editable submitd, are not read.
    dependencies = sysconfig.get_path("purelib")
    (site / "dependencies.pth").write_text(f"{dependencies}\n", encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source distribution, unpacked: what is not in it is not ours to install."""
    folder = tmp_path_factory.mktemp("source")
    tree = folder / "checkout"
    unwanted = ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")
    copytree(CHECKOUT, tree, ignore=unwanted)
    build = (
        f"from setuptools.build_meta import build_sdist; build_sdist({str(folder)!r})"
    )
    run(sys.executable, "-c", build, folder=tree)
    (archive,) = folder.glob("submitd-*.tar.gz")
    run("tar", "-xzf", archive, folder=folder)
    return folder / archive.name.removesuffix(".tar.gz")


def by_folder(source: Path, environment: Environment) -> None:
    """``pip install .``"""
    environment.pip_install(source)


def editable(source: Path, environment: Environment) -> None:
    """``pip install -e .``"""
    environment.pip_install("--editable", source)


def by_wheel(source: Path, environment: Environment) -> None:
    """``pip install submitd-….whl``"""
    wheels = environment.root / "wheels"
    run(
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"),
        *("--no-build-isolation", "--wheel-dir", wheels, source),
        folder=environment.root,
    )
    (wheel,) = wheels.iterdir()
    environment.pip_install(wheel)


@pytest.mark.parametrize("install", [by_folder, editable, by_wheel])
def test_twistd_and_submitctl_are_complete_after(
    install: Callable[[Path, Environment], None],
    source: Path,
    environment: Environment,
) -> None:
    """An import hook in place of a path on sys.path would hide the plugin."""
    assert "submitd" not in environment.twistd("--help").split()

    install(source, environment)

    assert "submitd" in environment.twistd("--help").split()
    assert "--config" in environment.twistd("submitd", "--help")
    command = environment.root / "bin" / "submitctl"
    assert "dkim" in run(command, "--help", folder=environment.root)
