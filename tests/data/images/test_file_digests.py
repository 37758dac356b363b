import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdsweep.common.disk_cache import DiskCache
from kdsweep.data.images import content
from kdsweep.data.images.content import Part, content_digest
from kdsweep.data.images.encoded import content_sha256
from kdsweep.data.images.file_digests import FileDigests
from kdsweep.data.images.files import ImageFiles

LONG_AGO = 10**9  # s since the epoch; a file of now counts as unsettled


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    # The kernel's ctime cannot be set; a rule that spares the last 0 s has settled files at once.
    monkeypatch.setattr("kdsweep.data.images.file_digests.UNSETTLED_NS", 0)
    for number in range(3):
        _write(tmp_path / "images" / f"{number}.png", number)
    return tmp_path / "images"


@pytest.fixture
def hashed(monkeypatch) -> list[str]:
    """The names of all files that are hashed."""
    names: list[str] = []

    def noted(images, row):
        names.append(images.key(row))
        return content_sha256(images, row)

    monkeypatch.setattr(content, "content_sha256", noted)
    return names


def _write(path: Path, value: int) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full((4, 4), value, np.uint8)).save(path)
    os.utime(path, (LONG_AGO, LONG_AGO))


def _rewrite(path: Path, value: int) -> None:
    """Other pixels with the same mtime, in another tick of the kernel's clock."""
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:
        _write(path, value)


def _digest(folder: Path, gib: float = 1.0, pattern: str = "*") -> str:
    files = sorted(folder.glob(pattern))
    part = Part(ImageFiles(folder, files), [0] * len(files))
    return content_digest({"train": part}, DiskCache(folder.parent / "cache", gib))


def test_unchanged_files_are_not_hashed_again(folder, hashed):
    first = _digest(folder)
    assert sorted(hashed) == ["0.png", "1.png", "2.png"]
    hashed.clear()
    assert _digest(folder) == first == _digest(folder, gib=0)
    assert hashed == ["0.png", "1.png", "2.png"]  # by the one without a cache


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (lambda folder: _rewrite(folder / "1.png", 9), ["1.png"]),
        (lambda folder: os.utime(folder / "1.png"), ["1.png"]),
        (lambda folder: _write(folder / "3.png", 9), ["3.png"]),
        (lambda folder: (folder / "1.png").rename(folder / "4.png"), ["4.png"]),
        (lambda folder: (folder / "1.png").unlink(), []),
    ],
)
def test_what_changed_is_hashed_and_nothing_else(folder, hashed, change, again):
    _digest(folder)
    hashed.clear()
    change(folder)
    changed = _digest(folder)
    assert hashed == again
    assert changed == _digest(folder, gib=0)


def test_files_that_changed_just_now_are_hashed_again(folder, hashed, monkeypatch):
    monkeypatch.setattr("kdsweep.data.images.file_digests.UNSETTLED_NS", 10**12)
    _digest(folder)
    _digest(folder)
    assert sorted(hashed) == ["0.png", "0.png", "1.png", "1.png", "2.png", "2.png"]


def test_damaged_digests_are_computed_again(folder, hashed):
    first = _digest(folder)
    of_files, of_all = (folder.parent / "cache").glob("*/*/array.bin")
    for kept in (of_files, of_all):
        kept.write_bytes(bytes(kept.stat().st_size))
    hashed.clear()
    assert _digest(folder) == first
    assert len(hashed) == 3


def test_data_sets_of_one_root_do_not_drop_each_others_digests(folder, hashed):
    _digest(folder, pattern="[01].png")
    _digest(folder, pattern="2.png")
    hashed.clear()
    _digest(folder)
    assert hashed == []


def test_digests_of_removed_files_are_dropped(folder):
    _digest(folder)
    (folder / "1.png").unlink()
    _write(folder / "3.png", 3)
    _digest(folder, pattern="3.png")
    known = FileDigests(DiskCache(folder.parent / "cache", 1.0), folder)
    assert sorted(known._at) == [b"0.png", b"2.png", b"3.png"]
