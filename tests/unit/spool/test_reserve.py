"""A part of the disk that nobody else can fill."""

import os
from pathlib import Path

import pytest

from submitd.spool import reserve
from submitd.spool.reserve import Reserve

MIB = 1024 * 1024


def free(monkeypatch: pytest.MonkeyPatch, octets: int) -> None:
    monkeypatch.setattr(reserve, "_free", lambda _: octets)


def test_it_is_taken_where_the_disk_has_twice_as_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Reserve(tmp_path, 8 * MIB)
    free(monkeypatch, 16 * MIB - 1)
    kept.fill()
    assert not (tmp_path / "reserve").exists()
    free(monkeypatch, 16 * MIB)
    for _ in range(2):
        kept.fill()
        assert (tmp_path / "reserve").stat().st_blocks * 512 == 8 * MIB


def test_room_is_what_is_free_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Reserve(tmp_path, 8 * MIB)
    free(monkeypatch, 20 * MIB)
    assert kept.room() == 4 * MIB
    kept.fill()
    free(monkeypatch, 12 * MIB)
    assert kept.room() == 4 * MIB
    assert kept.release()
    assert kept.room() == (12 - 2) * MIB // 3
    free(monkeypatch, MIB)
    assert kept.room() < 0


def test_it_is_given_back_in_parts_until_nothing_is_left(tmp_path: Path) -> None:
    kept = Reserve(tmp_path, 8 * MIB)
    assert not kept.release()
    kept.fill()
    sizes = []
    while kept.release():
        sizes.append((tmp_path / "reserve").stat().st_size / MIB)
    assert sizes == [6, 4.5, 3.375, 2.375, 1.375, 0.375, 0]
    assert not kept.release()


def test_none_is_kept_where_none_is_wanted(tmp_path: Path) -> None:
    kept = Reserve(tmp_path, 0)
    kept.fill()
    assert list(tmp_path.iterdir()) == []
    disk = os.statvfs(tmp_path)
    assert kept.room() <= disk.f_blocks * disk.f_frsize


def test_a_folder_that_is_gone_is_met_by_who_asks_for_room(tmp_path: Path) -> None:
    kept = Reserve(tmp_path / "gone", MIB)
    kept.fill()
    assert not kept.release()
    with pytest.raises(FileNotFoundError):
        kept.room()
