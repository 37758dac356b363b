"""The disk cache: what is read, what is kept, and what makes room."""

import json
from pathlib import Path

import numpy as np
import pytest
from disk_caches import MIB, fill, keys, names, use_at

from kdsweep.common import array_files, disk_cache
from kdsweep.common.array_files import ARRAY, RECORD
from kdsweep.common.disk_cache import DiskCache


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int64"])
def test_what_was_written_is_read_without_a_copy(cache: DiskCache, dtype: str) -> None:
    numbers = np.arange(24).reshape(2, 3, 4).astype(dtype)
    with cache.write("numbers", "a", numbers.shape, dtype, "some numbers") as array:
        assert array is not None
        array[:] = numbers
    found = cache.read("numbers", "a")
    assert isinstance(found, np.memmap)
    assert not found.flags.writeable
    assert found.dtype == numbers.dtype
    assert found.shape == numbers.shape
    assert (found == numbers).all()
    (entry,) = cache.entries()
    assert (entry.kind, entry.key, entry.description) == ("numbers", "a", "some numbers")
    assert entry.num_bytes >= numbers.nbytes


def test_another_key_or_kind_is_not_read(cache: DiskCache) -> None:
    fill(cache, "a")
    assert cache.read("numbers", "b") is None
    assert cache.read("images", "a") is None


def test_an_exception_drops_the_draft_and_is_raised(cache: DiskCache) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        cache.write("numbers", "a", (4,), "uint8", "some numbers"),
    ):
        raise KeyboardInterrupt
    assert cache.read("numbers", "a") is None
    assert names(cache) == set()


def test_a_draft_is_not_read(cache: DiskCache) -> None:
    with cache.write("numbers", "a", (4,), "uint8", "some numbers"):
        assert cache.read("numbers", "a") is None
        assert cache.entries() == []
        assert len(names(cache)) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda place: (place / ARRAY).write_bytes(bytes(100)),
        lambda place: (place / ARRAY).write_bytes(bytes(99)),
        lambda place: (place / ARRAY).unlink(),
        lambda place: (place / RECORD).unlink(),
        lambda place: (place / RECORD).write_text(""),
        lambda place: (place / RECORD).write_text('{"shape": [100]'),
        lambda place: (place / RECORD).write_text('{"format": 1, "shape": 100}'),
        lambda place: (place / RECORD).write_text('{"format": 1, "shape": [100], "dtype": "x"}'),
    ],
)
def test_a_damaged_entry_is_missing_and_removed(cache: DiskCache, damage) -> None:
    fill(cache, "a")
    damage(cache.folder / "numbers" / "a")
    assert cache.read("numbers", "a") is None
    assert names(cache) == set()
    fill(cache, "a", 2)
    found = cache.read("numbers", "a")
    assert found is not None
    assert (found == 2).all()


def test_another_format_is_missing(cache: DiskCache) -> None:
    fill(cache, "a")
    path = cache.folder / "numbers" / "a" / RECORD
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 0}))
    assert cache.read("numbers", "a") is None


def test_of_a_large_entry_blocks_from_first_to_last_byte_are_checked(
    cache: DiskCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(array_files, "FULLY_CHECKED", 1000)
    monkeypatch.setattr(array_files, "SAMPLED", 5)
    monkeypatch.setattr(array_files, "BLOCK", 10)
    numbers = np.arange(2000, dtype=np.uint8)
    blocks = list(array_files.checked_blocks(numbers))
    assert [len(block) for block in blocks] == [10] * 5
    assert blocks[0][0] == numbers[0]
    assert blocks[-1][-1] == numbers[-1]
    for place, is_checked in [(0, True), (1999, True), (11, False)]:
        fill(cache, "a", size=2000)
        with (cache.folder / "numbers" / "a" / ARRAY).open("r+b") as file:
            file.seek(place)
            file.write(b"\7")
        assert (cache.read("numbers", "a") is None) is is_checked


def test_what_was_used_last_is_kept(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, gib=3.5 * MIB / 2**30)
    for time, key in enumerate("abc"):
        fill(cache, key, size=MIB)
        use_at(cache, key, 1000 + time)
    assert cache.read("numbers", "a") is not None
    assert fill(cache, "d", size=MIB)
    assert set(keys(cache)) == {"a", "c", "d"}
    assert sum(entry.num_bytes for entry in cache.entries()) <= cache.limit


def test_a_group_does_not_make_room_for_itself(
    tmp_path: Path, warned: pytest.LogCaptureFixture
) -> None:
    cache = DiskCache(tmp_path, gib=2.5 * MIB / 2**30)
    fill(cache, "other", size=MIB)
    assert fill(cache, "epoch0", size=MIB, group="g")
    assert fill(cache, "epoch1", size=MIB, group="g")  # instead of the other one
    assert not fill(cache, "epoch2", size=MIB, group="g")
    assert not fill(cache, "epoch3", size=MIB, group="g")
    assert set(keys(cache)) == {"epoch0", "epoch1"}
    assert len(warned.records) == 1
    assert "no room" in warned.text
    assert fill(cache, "another", size=MIB)
    assert set(keys(cache)) == {"epoch1", "another"}


def test_room_for_several_entries_is_made_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_cache, "MORE_ROOM", 0.5)
    cache = DiskCache(tmp_path, gib=4.5 * MIB / 2**30)
    for time, (key, size) in enumerate({"a": 1, "b": 1, "large": 2}.items()):
        fill(cache, key, size=size * MIB)
        use_at(cache, key, 1000 + time)
    assert fill(cache, "c", size=MIB)
    assert set(keys(cache)) == {"large", "c"}  # more than was missing, and not the large one
    monkeypatch.setattr(DiskCache, "entries", None)  # not listed while there is room
    assert fill(cache, "d", size=MIB)


def test_an_entry_larger_than_the_cache_removes_nothing(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, gib=2 * MIB / 2**30)
    fill(cache, "a")
    assert not fill(cache, "b", size=3 * MIB)
    assert keys(cache) == ["a"]


def test_a_cache_of_no_size_is_off(cache: DiskCache) -> None:
    fill(cache, "a")
    off = DiskCache(cache.folder, gib=0.0)
    assert off.read("numbers", "a") is None
    assert not fill(off, "b")
    assert not fill(DiskCache(cache.folder.parent / "none", gib=0.0), "b")
    assert not (cache.folder.parent / "none").exists()


def test_an_empty_array_is_not_kept(cache: DiskCache) -> None:
    assert not fill(cache, "a", size=0)


def test_a_folder_can_be_emptied_by_kind(cache: DiskCache) -> None:
    fill(cache, "a")
    with cache.write("images", "b", (4,), "uint8", "images"):
        pass
    used = cache.read("numbers", "a")
    assert [entry.key for entry in cache.clear("images")] == ["b"]
    assert keys(cache) == ["a"]
    assert [entry.key for entry in cache.clear()] == ["a"]
    assert cache.entries() == []
    assert cache.clear() == []
    assert used is not None
    assert (used == 1).all()
