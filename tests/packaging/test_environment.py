"""What `make` says where the environment cannot be made: one sentence, and an end."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

CHECKOUT: Final = Path(__file__).resolve().parents[2]
NO_NETWORK: Final = {
    # Nobody answers at either, and what an earlier run has fetched is not looked at.
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_NO_CACHE_DIR": "1",
}


def made(folder: Path, *, python: str = sys.executable, **more: str) -> tuple[int, str]:
    """Exit status and error output of an attempt."""
    locks = [CHECKOUT / "requirements" / name for name in ("build.txt", "runtime.txt")]
    done = subprocess.run(
        ["/bin/sh", CHECKOUT / "scripts" / "venv", python, folder / "venv", *locks],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **more},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("index", ["https://127.0.0.1:9/simple", "https://x.invalid/"])
def test_no_network_for_pip(tmp_path: Path, index: str) -> None:
    log = tmp_path / "venv" / "pip.log"
    status, said = made(tmp_path, PIP_INDEX_URL=index, **NO_NETWORK)
    assert status == 1
    assert said == (
        "make: pip cannot reach a package index to install the requirements; "
        f"is there a network? (Details: {log})\n"
    )
    assert "distribution found for setuptools" in log.read_text()


@pytest.mark.parametrize("python", ["python3.99", "/bin/false"])
def test_no_python(tmp_path: Path, python: str) -> None:
    status, said = made(tmp_path, python=python)
    assert status == 1
    words = "is not here, or no Python; submitd needs Python 3.11 or later"
    assert said == f"make: {python} {words}\n"


def test_no_venv_module(tmp_path: Path) -> None:
    """As Debian's Python comes without python3-venv."""
    (tmp_path / "ensurepip.py").write_text("raise ImportError('not installed')\n")
    status, said = made(tmp_path, PYTHONPATH=str(tmp_path))
    assert status == 1
    assert said == (
        f"make: {sys.executable} has no venv module; "
        "on Debian: apt-get install python3-venv\n"
    )
