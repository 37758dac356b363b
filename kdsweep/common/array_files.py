"""An array in a file of its own with a record of what it is: the entries of the disk cache."""

import errno
import json
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kdsweep.common.files import read_json

FORMAT = 1  # of the folders below; raised whenever earlier entries can no longer be read
ARRAY, RECORD = "array.bin", "record.json"
# A checksum covers all of an array up to this size. Of a larger one it covers SAMPLED blocks that
# are spread evenly from its first byte to its last, so that opening it takes no longer.
FULLY_CHECKED = 256 * 2**20  # bytes
SAMPLED, BLOCK = 256, 2**20  # blocks, and bytes of one


@dataclass(frozen=True)
class Record:
    """What a file of numbers holds."""

    shape: tuple[int, ...]
    dtype: str
    description: str = ""  # for people: entries with the same one are listed as one
    group: str = ""  # of entries that are read in turn
    checksum: int = 0  # crc32 of `checked_blocks`

    @property
    def num_bytes(self) -> int:
        """Size of the array."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def new_record(shape: Sequence[int], dtype: DTypeLike, description: str, group: str) -> Record:
    """The record of an array that is still to be filled."""
    with_byte_order = np.dtype(dtype).str
    return Record(tuple(int(length) for length in shape), with_byte_order, description, group)


def create_array(folder: Path, record: Record) -> NDArray[Any]:
    """A new array in a folder, writable, all zeros. Raises OSError if the disk has no room.

    Its space is reserved: writing to a mapped file without room would kill the process (SIGBUS).
    """
    path = folder / ARRAY
    with path.open("wb") as file:
        if not _reserve(file.fileno(), record.num_bytes):
            for start in range(0, record.num_bytes, BLOCK):
                file.write(bytes(min(BLOCK, record.num_bytes - start)))
    return np.memmap(path, dtype=np.dtype(record.dtype), mode="r+", shape=record.shape)


def _reserve(file: int, num_bytes: int) -> bool:
    """Whether the system could reserve space for a file; macOS, Windows and some disks cannot."""
    if not hasattr(os, "posix_fallocate"):
        return False
    try:
        os.posix_fallocate(file, 0, num_bytes)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
        return False
    return True


def seal_array(folder: Path, record: Record, array: NDArray[Any]) -> None:
    """Write the record of a complete array. Raises OSError if it cannot be written."""
    if record.num_bytes > FULLY_CHECKED and isinstance(array, np.memmap):
        array.flush()  # a power cut may lose blocks that its checksum does not cover
    content = {**asdict(record), "checksum": checksum(array), "format": FORMAT}
    # Neither atomic nor flushed: the folder is a draft, and half a record counts as none.
    (folder / RECORD).write_text(json.dumps(content), encoding="utf-8")


def open_array(folder: Path) -> NDArray[Any]:
    """The array in a folder, read-only.

    Raises OSError if there is none, and ValueError if it is damaged, truncated or of another
    `FORMAT`.
    """
    record = read_record(folder)
    path = folder / ARRAY
    if path.stat().st_size != record.num_bytes:
        raise ValueError(f"{path} must have {record.num_bytes} bytes, got {path.stat().st_size}")
    array = np.memmap(path, dtype=np.dtype(record.dtype), mode="r", shape=record.shape)
    if checksum(array) != record.checksum:
        raise ValueError(f"{path} must have the checksum {record.checksum}, got another one")
    return array


def is_complete(folder: Path) -> bool:
    """Whether both files of an array are there."""
    return all((folder / name).is_file() for name in (ARRAY, RECORD))


def read_record(folder: Path) -> Record:
    """The record of an array. Raises OSError, or ValueError if it is damaged."""
    content = read_json(folder / RECORD)
    if content.pop("format", None) != FORMAT:
        raise ValueError(f"{folder / RECORD} must have format {FORMAT}")
    try:
        record = Record(**{**content, "shape": tuple(content["shape"])})
        record.num_bytes  # noqa: B018  (raises if shape or dtype are none)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder / RECORD} must describe an array ({error})") from error
    return record


def checksum(array: NDArray[Any]) -> int:
    """crc32 of `checked_blocks`."""
    value = 0
    for block in checked_blocks(array):
        value = zlib.crc32(block.data, value)
    return value


def checked_blocks(array: NDArray[Any]) -> Iterator[NDArray[np.uint8]]:
    """The bytes of a contiguous array that its checksum covers, in order."""
    content = array.reshape(-1).view(np.uint8)
    if content.nbytes <= FULLY_CHECKED:
        yield content
        return
    for start in np.linspace(0, content.nbytes - BLOCK, SAMPLED, dtype=np.int64).tolist():
        yield content[start : start + BLOCK]
