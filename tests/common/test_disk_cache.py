import json
import logging
import multiprocessing
import os
import signal
import threading
from errno import ENOSPC
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from kdsweep.common import array_files, disk_cache, notices
from kdsweep.common.array_files import ARRAY, RECORD
from kdsweep.common.disk_cache import DiskCache

MIB = 2**20


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    return DiskCache(tmp_path / "cache", gib=1.0)


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    notices.warn_once.cache_clear()
    notices.note_once.cache_clear()
    caplog.set_level(logging.INFO, "kdsweep")
    return caplog


def fill(cache: DiskCache, key: str, value: int = 1, size: int = 100, group: str = "") -> bool:
    """Write `size` bytes of `value`; whether they are going to be kept."""
    with cache.write("numbers", key, (size,), np.uint8, "some numbers", group) as array:
        if array is not None:
            array[:] = value
        return array is not None


def keys(cache: DiskCache) -> list[str]:
    return [entry.key for entry in cache.entries()]


def names(cache: DiskCache) -> set[str]:
    return {path.name for path in (cache.folder / "numbers").iterdir()}


def use_at(cache: DiskCache, key: str, seconds: float) -> None:
    os.utime(cache.folder / "numbers" / key / RECORD, (seconds, seconds))


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


def test_a_full_disk_is_one_warning(
    cache: DiskCache, monkeypatch: pytest.MonkeyPatch, warned: pytest.LogCaptureFixture
) -> None:
    fill(cache, "a")

    def full(*args: object) -> None:
        raise OSError(ENOSPC, os.strerror(ENOSPC))

    monkeypatch.setattr(array_files, "_reserve", full)
    assert not fill(cache, "b")
    assert not fill(cache, "c")
    assert [record.levelname for record in warned.records] == ["WARNING"]
    assert "No space left" in warned.text
    assert "cache.gib=0" in warned.text
    assert names(cache) == {"a"}
    assert cache.read("numbers", "a") is not None


def test_a_disk_that_fills_up_at_the_end_is_one_warning(
    cache: DiskCache, monkeypatch: pytest.MonkeyPatch, warned: pytest.LogCaptureFixture
) -> None:
    def full(*args: object) -> None:
        raise OSError(ENOSPC, os.strerror(ENOSPC))

    monkeypatch.setattr(disk_cache, "seal_array", full)
    assert fill(cache, "a")
    assert names(cache) == set()
    assert len(warned.records) == 1


def test_entries_make_room_on_a_disk_that_is_nearly_full(
    cache: DiskCache, monkeypatch: pytest.MonkeyPatch, warned: pytest.LogCaptureFixture
) -> None:
    fill(cache, "a", size=2 * MIB)
    usage = disk_cache.shutil.disk_usage(cache.folder)
    nearly_full = usage._replace(free=disk_cache.LEAST_FREE)
    monkeypatch.setattr(disk_cache.shutil, "disk_usage", lambda _: nearly_full)
    assert fill(cache, "b", size=MIB)
    assert keys(cache) == ["b"]
    assert not warned.records
    assert not fill(cache, "c", size=8 * MIB)  # what is left of the disk is for the runs
    assert keys(cache) == ["b"]
    assert "No space left" in warned.text


def test_a_folder_that_cannot_be_made_is_one_warning(
    tmp_path: Path, warned: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    cache = DiskCache(tmp_path / "file" / "cache", gib=1.0)
    assert cache.read("numbers", "a") is None
    assert cache.entries() == []
    assert not fill(cache, "a")
    assert not fill(cache, "b")
    assert [record.levelname for record in warned.records] == ["WARNING"]


def test_a_lock_that_is_never_released_is_waited_for_once(
    cache: DiskCache, monkeypatch: pytest.MonkeyPatch, warned: pytest.LogCaptureFixture
) -> None:
    fill(cache, "a")
    monkeypatch.setattr(disk_cache, "LOCK_SECONDS", 0.01)
    with FileLock(cache.folder / disk_cache.LOCK):
        assert not fill(cache, "b")
    assert not fill(cache, "c")
    assert [record.levelname for record in warned.records] == ["WARNING"]
    assert cache.read("numbers", "a") is not None


def test_a_disk_without_locks_is_one_warning(
    cache: DiskCache, monkeypatch: pytest.MonkeyPatch, warned: pytest.LogCaptureFixture
) -> None:
    def without_flock(*args: object, **options: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(FileLock, "acquire", without_flock)
    assert not fill(cache, "a")
    assert not fill(cache, "b")
    assert [record.levelname for record in warned.records] == ["WARNING"]
    assert "support flock" in warned.text


def test_an_entry_that_appears_while_it_is_looked_for_stays(
    cache: DiskCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(place: Path) -> None:
        fill(cache, "a")  # by another process, right afterwards
        raise FileNotFoundError(place)

    with monkeypatch.context() as patch:
        patch.setattr(disk_cache, "open_array", missing)
        assert cache.read("numbers", "a") is None
    assert cache.read("numbers", "a") is not None


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


def test_threads_that_write_the_same_key_keep_one(cache: DiskCache) -> None:
    barrier = threading.Barrier(4)
    kept: list[bool] = []

    def write() -> None:
        with cache.write("numbers", "a", (1000,), np.uint8, "some numbers") as array:
            barrier.wait()
            assert array is not None
            array[:] = 7
            kept.append(True)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kept) == 4
    assert names(cache) == {"a"}
    found = cache.read("numbers", "a")
    assert found is not None
    assert (found == 7).all()


def _write_and_stay(folder: Path, has_begun, may_end) -> None:
    with DiskCache(folder, 1.0).write("numbers", "a", (1000,), np.uint8, "some numbers") as array:
        assert array is not None
        array[:] = 7
        has_begun.set()
        may_end.wait()


@pytest.fixture
def writer(cache: DiskCache):
    """Another process in the middle of writing the key `a`, and the event that lets it end."""
    fork = multiprocessing.get_context("fork")
    has_begun, may_end = fork.Event(), fork.Event()
    process = fork.Process(target=_write_and_stay, args=(cache.folder, has_begun, may_end))
    process.start()
    assert has_begun.wait(30)
    yield process, may_end
    process.kill()
    process.join()


def test_two_processes_that_write_the_same_key_keep_one(cache: DiskCache, writer) -> None:
    process, may_end = writer
    assert cache.read("numbers", "a") is None
    fill(cache, "a", 7, 1000)
    may_end.set()
    process.join(30)
    assert process.exitcode == 0
    assert names(cache) == {"a"}
    found = cache.read("numbers", "a")
    assert found is not None
    assert (found == 7).all()


def test_the_draft_of_a_killed_process_is_removed_later(
    cache: DiskCache, writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, _ = writer
    fill(cache, "b")
    assert len(names(cache)) == 2  # it is young
    monkeypatch.setattr(disk_cache, "ABANDONED_SECONDS", -1.0)
    fill(cache, "c")
    assert len(names(cache)) == 3  # its process is alive
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert cache.read("numbers", "a") is None
    fill(cache, "d")
    assert names(cache) == {"b", "c", "d"}
