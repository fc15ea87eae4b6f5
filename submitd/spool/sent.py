"""To whom content went whole, and what became of it is not recorded yet.

Between a remote host's 250 and its record a death makes a duplicate (RFC 1047).
These marks outlive the process that made them, and so tell whom that moment may
have hit: `statements.release_owner` counts it, and delivery draws its line.

Marks are written with ``pwrite`` in the event loop: 16 octets into the page
cache, which a kill does not take away. Nothing waits for the disk, and a power
cut may take them.
"""

import os
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import Final

_PREFIX: Final = "spool.sent."
_MARK: Final = Struct("<QQ")
"""Row id of the message, or 0 where the place is free; number of the recipient."""

_MOST: Final = 16 * 1024
"""Marks that one process has at a time. What is beyond goes without."""

Marks = list[tuple[int, int]]
"""Row ids of messages, and numbers of their recipients."""


class SentMarks:
    """The marks of one owner, for the event loop. No method ever raises.

    A disk that takes no mark does not stop mail: a death in that moment is not
    counted then, which is all that is lost.
    """

    def __init__(self, folder: Path, owner: str) -> None:
        self._path = folder / f"{_PREFIX}{owner}"
        self._descriptor: int | None = None
        self._guard = threading.Lock()
        self._places: dict[tuple[int, int], int] = {}
        self._free: list[int] = []

    def open(self) -> None:
        """Make the file."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with suppress(OSError):
            self._descriptor = os.open(self._path, flags, 0o600)

    def set(self, message: int, numbers: Iterable[int]) -> None:
        """The final dot for these recipients is sent next."""
        for number in numbers:
            mark = message, number
            if mark in self._places or not (self._free or len(self._places) < _MOST):
                continue
            place = self._free.pop() if self._free else len(self._places)
            self._places[mark] = place
            self._write(place, mark)

    def clear(self, message: int, numbers: Iterable[int]) -> None:
        """What became of these recipients is recorded."""
        for number in numbers:
            place = self._places.pop((message, number), None)
            if place is not None:
                self._free.append(place)
                self._write(place, (0, 0))

    def close(self) -> None:
        """Close the file; any thread may. What is marked stays so."""
        with self._guard:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _write(self, place: int, mark: tuple[int, int]) -> None:
        # Its number may be another file's as soon as it is closed.
        with self._guard, suppress(OSError):
            if self._descriptor is not None:
                os.pwrite(self._descriptor, _MARK.pack(*mark), place * _MARK.size)


def read_sent(folder: Path, owner: str | None) -> Mapping[str, Marks]:
    """What the dead have left, by owner; None: all of them. Blocks.

    Raises:
        OSError: a file cannot be read.
    """
    return {
        path.name.removeprefix(_PREFIX): _read(path.read_bytes())
        for path in folder.glob(f"{_PREFIX}{owner or '*'}")
    }


def forget_sent(folder: Path, owners: Iterable[str]) -> None:
    """Their marks are counted. Blocks; raises OSError."""
    for owner in owners:
        (folder / f"{_PREFIX}{owner}").unlink(missing_ok=True)


def _read(octets: bytes) -> Marks:
    whole = len(octets) // _MARK.size * _MARK.size
    return [mark for mark in _MARK.iter_unpack(octets[:whole]) if mark[0]]
