"""What a power cut leaves of a disk, by the record that faults.c makes."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

from attrs import define, field, frozen

_SECTOR: Final = 512


@frozen
class Told:
    """One thing that the disk was told."""

    kind: str
    """w(rite), t(runcate), s(ync), c(reate), d: folder, u(nlink), !: words."""

    at: int
    name: str
    octets: bytes


def read_record(path: Path) -> Iterator[Told]:
    """All that the disk was told, in its order."""
    with path.open("rb") as record:
        while head := record.readline():
            kind, at, size, name = head.rstrip(b"\n").decode().split(" ", 3)
            octets = record.read(int(size)) if kind == "w" else b""
            yield Told(kind, int(at), name, octets)


@define
class _File:
    synced: bytes = b""
    pending: list[Told] = field(factory=list)

    def sync(self) -> None:
        self.synced = self.left(None)
        self.pending.clear()

    def left(self, chance: Random | None) -> bytes:
        """With all that is pending, or what chance leaves of it."""
        content = bytearray(self.synced)
        for told in self.pending:
            if told.kind == "t":
                if not chance or chance.random() < 0.5:
                    content[told.at :] = bytes(max(0, told.at - len(content)))
                continue
            fate = chance.choice(("kept", "lost", "torn")) if chance else "kept"
            if fate == "torn" and chance:
                for start in range(0, len(told.octets), _SECTOR):
                    if chance.random() < 0.5:
                        part = told.octets[start : start + _SECTOR]
                        _put(content, told.at + start, part)
            elif fate == "kept":
                _put(content, told.at, told.octets)
        return bytes(content)

    def leave(self, where: Path, chance: Random | None, *, pending: bool) -> None:
        where.write_bytes(self.left(chance) if pending else self.synced)


def _put(content: bytearray, at: int, octets: bytes) -> None:
    if at > len(content):
        content.extend(bytes(at - len(content)))
    content[at : at + len(octets)] = octets


@define
class _Folder:
    synced: "dict[str, _File | _Folder]" = field(factory=dict)
    pending: "list[tuple[str, _File | _Folder | None]]" = field(factory=list)

    def sync(self) -> None:
        self.synced = self.left(None)
        self.pending.clear()

    def left(self, chance: Random | None) -> "dict[str, _File | _Folder]":
        names = dict(self.synced)
        for name, what in self.pending:
            if chance and chance.random() < 0.5:
                continue
            if what is None:
                names.pop(name, None)
            else:
                names[name] = what
        return names

    def leave(self, where: Path, chance: Random | None, *, pending: bool) -> None:
        where.mkdir()
        names = self.left(chance) if pending else self.synced
        for name, what in names.items():
            what.leave(where / name, chance, pending=pending)


class Disk:
    """A folder on a disk that keeps nothing for sure but what was synced."""

    def __init__(self, root: Path) -> None:
        """The folder is empty."""
        self._root = _Folder()
        self._now: dict[str, _File | _Folder] = {str(root): self._root}

    def hear(self, told: Told) -> None:
        """What it is told next."""
        match told.kind:
            case "c" | "d":
                new = _File() if told.kind == "c" else _Folder()
                self._now[told.name] = new
                self._name(told.name, new)
            case "u":
                del self._now[told.name]
                self._name(told.name, None)
            case "s":
                self._now[told.name].sync()
            case "w" | "t":
                file = self._now[told.name]
                assert isinstance(file, _File)
                file.pending.append(told)

    def _name(self, path: str, what: _File | _Folder | None) -> None:
        folder, _, name = path.rpartition("/")
        parent = self._now[folder]
        assert isinstance(parent, _Folder)
        parent.pending.append((name, what))

    def leave(
        self, where: Path, chance: Random | None = None, *, pending: bool = False
    ) -> None:
        """What the next start finds is put into ``where``, which is new.

        Of what was not synced nothing is left, or with ``pending`` all, or what
        ``chance`` says.
        """
        self._root.leave(where, chance, pending=pending)
