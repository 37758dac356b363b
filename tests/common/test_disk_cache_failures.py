"""The disk cache with full or odd disks, other threads and processes, some of them killed."""

import multiprocessing
import os
import signal
import threading
from errno import ENOSPC
from pathlib import Path

import numpy as np
import pytest
from disk_caches import MIB, fill, keys, names
from filelock import FileLock

from kdsweep.common import array_files, disk_cache
from kdsweep.common.disk_cache import DiskCache


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
