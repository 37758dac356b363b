"""A full disk, recognised however a library reports it, and reported in one sentence."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kdsweep.errors import RunFailed, UserError

ERRNOS = (errno.ENOSPC, errno.EDQUOT)
# What sqlite, safetensors (Rust) and whoever wraps an OSError say of it.
SIGNS = ("disk is full", "No space left on device", "Disk quota exceeded")
PLAN = "dry_run=true says how much a sweep takes"
LEAST_BYTES = 64 * 1024  # that must be free for a sweep to begin


class DiskFull(RunFailed):
    """A sweep ends because its disk is full; what is written is kept, and can be resumed."""


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, is that of a full disk."""
    while error is not None:
        if isinstance(error, DiskFull) or _says_so(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _says_so(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in ERRNOS:
        return True
    return any(sign in str(error) for sign in SIGNS)


def disk_full(folder: Path, needed: int | None = None) -> DiskFull:
    """The error that ends a sweep on a full disk.

    Args:
        folder: on that disk.
        needed: bytes that are still to be written; None if that is not known.
    """
    there = next(f for f in (folder, *folder.absolute().parents) if f.exists())
    free = as_size(shutil.disk_usage(there).free)
    about = f"what is missing takes about {as_size(needed)}" if needed else PLAN
    return DiskFull(
        f"the disk of {folder} is full ({free} are free): {about}; make room, then the same command"
        " with resume=true goes on (a search: the same command)"
    )


def as_size(size: int) -> str:
    """`41 kB`, `12 MB`."""
    return f"{size / 1e6:.0f} MB" if size >= 10e6 else f"{size / 1e3:.0f} kB"


@contextmanager
def one_sentence(folder: Path) -> Iterator[None]:
    """Inside, a full disk ends in `DiskFull`, whichever part of the work has met it."""
    try:
        yield
    except Exception as error:
        if isinstance(error, DiskFull) or not is_full(error):
            raise
        raise disk_full(folder) from error


def refuse_full(folder: Path) -> None:
    """Raises UserError if hardly anything can be written to a folder that is there."""
    probe = folder / f".room.{os.getpid()}"
    try:
        probe.write_bytes(bytes(LEAST_BYTES))
    except OSError as error:
        if error.errno not in ERRNOS:
            raise
        raise UserError(
            f"hydra.sweep.dir must be on a disk with room, got {folder}, where less than"
            f" {LEAST_BYTES // 1024} KiB are free; {PLAN}"
        ) from error
    finally:
        probe.unlink(missing_ok=True)
