"""Disk that is kept for outcomes, as a file: nobody else can fill it."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from submitd.spool.sqlite import DATABASE

_NAME: Final = "reserve"
_LEAST_STEP: Final = 1024 * 1024
_OVERHEAD: Final = 3
"""Octets of disk for one of content: the log, the database, and pages in part."""


class Reserve:
    """The reserve of one spool, shared by its processes."""

    def __init__(self, folder: Path, size: int) -> None:
        """``size``: in octets; 0: none is kept."""
        self._folder = folder
        self._path = folder / _NAME
        self._log = folder / f"{DATABASE}-wal"
        self._size = size

    def room(self) -> int:
        """Octets of content that the disk takes beside the reserve. Blocks.

        What stands in the write-ahead log will be in the database, too: a log
        that finds no room there could never be emptied.

        Raises:
            OSError: the disk does not tell.
        """
        spoken_for = self._missing() + _size(self._log)
        return (_free(self._folder) - spoken_for) // _OVERHEAD

    def fill(self) -> None:
        """Take what is missing where the disk has twice as much. Blocks.

        What cannot be taken stays out of `room`: nothing is accepted into it.
        """
        with suppress(OSError):
            missing = self._missing()
            if missing and _free(self._folder) >= 2 * missing:
                with self._path.open("ab") as file:
                    os.posix_fallocate(file.fileno(), 0, self._size)

    def release(self) -> bool:
        """Give a part back to the disk; False: there is none left. Blocks."""
        try:
            held = self._path.stat().st_size
            os.truncate(self._path, max(0, held - max(held // 4, _LEAST_STEP)))
        except OSError:
            return False
        return held > 0

    def _missing(self) -> int:
        try:
            held = self._path.stat().st_blocks * 512
        except FileNotFoundError:
            held = 0
        return max(0, self._size - held)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _free(folder: Path) -> int:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize
