"""The Debian package on systems that boot: ``-m scripts.trial SUITE [REVISION]``.

Installs build/deb/SUITE on fresh systems in containers, walks through the quick
start, upgrades to it from the package of an older REVISION with mail in the
queue, removes and purges it, asks Debian's own tools, and prints what was seen.
Needs root, mmdebstrap and systemd-nspawn; a container that has booted has no
network but its own loopback.
"""

import sys

from scripts.trial.installation import try_installation
from scripts.trial.quick_start import try_quick_start
from scripts.trial.system import BUILD, package_of, tell
from scripts.trial.tools import try_management, try_tools
from scripts.trial.upgrade import older_package, try_upgrade


def main() -> None:
    """All of it, one after the other."""
    suite, *older = sys.argv[1:]
    (BUILD / "trial").mkdir(parents=True, exist_ok=True)
    package = package_of(suite)
    tell("package", f"{package.name}, {package.stat().st_size / 1e6:.2f} MB")
    try_quick_start(suite, package)
    try_installation(suite, package)
    for revision in older:
        try_upgrade(suite, older_package(suite, revision), package)
    try_management(suite, package)
    try_tools(suite)


if __name__ == "__main__":
    main()
