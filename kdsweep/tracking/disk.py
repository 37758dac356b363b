"""A full disk, recognised however a library reports it, and reported in one message."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kdsweep.data.types import DataError
from kdsweep.errors import RunFailed, UserError

ERRNOS = (errno.ENOSPC, errno.EDQUOT)
# Texts of sqlite, of safetensors (Rust) and of errors that wrap an OSError.
SIGNS = ("disk is full", "No space left on device", "Disk quota exceeded")
PLAN = "dry_run=true prints how much a sweep takes"
REPEAT = "make room, then give the same command again"
LEAST_BYTES = 64 * 1024  # that must be free for a sweep to begin


class DiskFull(RunFailed):
    """A sweep ends because its disk is full; what is written is kept, and can be resumed."""


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, is that of a full disk.

    Shared memory, which hands over images, fails with the same text when full, and is no disk.
    """
    errors = list(_chain(error))
    if any(isinstance(one, DataError) for one in errors):
        return False
    return any(
        isinstance(one, DiskFull)
        or (isinstance(one, OSError) and one.errno in ERRNOS)
        or any(sign in str(one) for sign in SIGNS)
        for one in errors
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that led to it, the first one last."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def disk_full(folder: Path | None, advice: str) -> DiskFull:
    """The error that ends a command on a full disk.

    ``folder`` is None if it is not known which disk is full; ``advice`` is `REPEAT`, or
    `how_to_resume` for a sweep.
    """
    if folder is None:
        return DiskFull(f"a disk is full (the error does not say which): {advice}")
    return DiskFull(
        f"the disk of {folder} is full ({as_size(_free_bytes(folder))} are free): {advice}"
    )


def how_to_resume(needed: int | None = None) -> str:
    """Advice for a sweep that was ended by a full disk; ``needed`` are the bytes still to write."""
    about = f"what is missing takes about {as_size(needed)}" if needed else PLAN
    return (
        f"{about}; make room, then the same command with resume=true resumes it (a search: the same"
        " command)"
    )


def full_folder(error: BaseException, otherwise: Path) -> Path | None:
    """A folder of the full disk: of the file that could not be written, by the first error.

    If no error names a file it is the folder ``otherwise`` if that has no room, else None.
    """
    name = None
    for one in _chain(error):
        if isinstance(one, OSError) and one.errno in ERRNOS:
            # Of a copy the second name is that of the new file.
            name = one.filename2 or one.filename or name
    if isinstance(name, str | bytes | os.PathLike):
        file = Path(os.fsdecode(name))
        return file if os.path.isdir(file) else file.parent
    return otherwise if has_no_room(otherwise) else None


def has_no_room(folder: Path) -> bool:
    """Whether hardly anything can be written to the disk of a folder, which may not exist yet."""
    try:
        return _free_bytes(folder) < LEAST_BYTES
    except OSError:  # it was taken away meanwhile
        return False


def _free_bytes(folder: Path) -> int:
    there = next(f for f in (folder, *folder.absolute().parents) if os.path.exists(f))
    return shutil.disk_usage(there).free


def as_size(size: int) -> str:
    """`41 kB`, `12 MB`."""
    return f"{size / 1e6:.0f} MB" if size >= 10e6 else f"{size / 1e3:.0f} kB"


@contextmanager
def report_disk_full(folder: Path) -> Iterator[None]:
    """Inside, a full disk ends a sweep in `DiskFull`, whichever part of the work needed it.

    An error that is a message to the user already stays, such as that about a store's disk.
    """
    try:
        yield
    except (UserError, DiskFull):
        raise
    except Exception as error:
        if not is_full(error):
            raise
        raise disk_full(full_folder(error, folder), how_to_resume()) from error


def check_space(folder: Path) -> None:
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
