"""Helpers for tests of the disk cache."""

import os

import numpy as np

from kdsweep.common.array_files import RECORD
from kdsweep.common.disk_cache import DiskCache

MIB = 2**20


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
