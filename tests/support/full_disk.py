"""A small disk of its own, which another program fills while a sweep trains on it."""

import contextlib
import errno
import os
import random
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

CHUNK = 4096


@contextlib.contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[Path]:
    """A file system of so many megabytes; the test is skipped where none may be mounted."""
    place.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
    mounted = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no file system may be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


class Filler:
    """Fills a disk, but for some bytes; if it is greedy, what is freed later as well."""

    def __init__(self, disk: Path, chance: random.Random) -> None:
        self._file = disk / "another-program"
        self._spare = chance.choice([0, 0, 4, 8, 20]) * 1024
        self._is_greedy = chance.random() < 0.5
        self._ended = threading.Event()
        self._fill(self._spare)
        self._thread = threading.Thread(target=self._press, daemon=True)
        if self._is_greedy:
            self._thread.start()

    def __str__(self) -> str:
        kind = "greedy" if self._is_greedy else "once"
        return f"{kind}, {self._spare // 1024} KiB left"

    def free(self) -> None:
        self._ended.set()
        if self._is_greedy:
            self._thread.join()
        self._file.unlink()

    def _press(self) -> None:
        while not self._ended.wait(0.002):
            self._fill(self._spare)

    def _fill(self, spare: int) -> None:
        handle = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            while self._free() > spare:
                size = max(CHUNK, (self._free() - spare) // CHUNK * CHUNK)
                os.write(handle, bytes(size))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        finally:
            os.close(handle)

    def _free(self) -> int:
        found = os.statvfs(self._file.parent)
        return found.f_bavail * found.f_frsize
