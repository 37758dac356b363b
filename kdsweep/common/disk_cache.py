"""Arrays that are kept on disk between commands: what another command has computed already.

    cache/.lock                           held while entries are removed and drafts begun
    cache/<kind>/<key>/array.bin          the numbers
    cache/<kind>/<key>/record.json        shape, dtype, checksum, description
    cache/<kind>/.<key>.<32 hex digits>/  a draft, with a lock that its process holds

A key identifies the content, so an entry never changes: it appears by the rename of a draft, and
it disappears by a rename, too. Any number of processes and threads may share a folder.
"""

import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import ENOSPC
from pathlib import Path
from typing import Any

from filelock import FileLock
from numpy.typing import DTypeLike, NDArray

from kdsweep.common.array_files import (
    RECORD,
    Record,
    create_array,
    is_complete,
    new_record,
    open_array,
    read_record,
    seal_array,
)
from kdsweep.common.files import DRAFT
from kdsweep.common.notices import note_once, warn_once

log = logging.getLogger(__name__)

LOCK = ".lock"
LOCK_SECONDS = 10.0  # a process that is stopped with the lock holds up no other one for longer
ABANDONED_SECONDS = 60.0  # a draft is locked by then, if its process is alive
LEAST_FREE = 512 * 2**20  # bytes of the disk that are left to the runs
MORE_ROOM = 0.02  # of the cache, made at once, so that not every new entry looks for the oldest


@dataclass(frozen=True)
class Entry:
    """One array of a cache."""

    kind: str
    key: str
    description: str  # empty if its record is damaged
    group: str
    num_bytes: int  # on disk
    last_used: float  # seconds since the epoch


class DiskCache:
    """Arrays by kind and key, in a folder of at most ``gib`` GiB; with 0, nothing is kept or read.

    The entries that were not used for the longest time make room for new ones. A folder that cannot
    be written to, or a full disk, never raises: there is a warning, and nothing more is kept.
    """

    def __init__(self, folder: Path, gib: float) -> None:
        self.folder, self.limit = Path(folder), int(gib * 2**30)
        self._keeps = self.limit > 0

    def read(self, kind: str, key: str) -> NDArray[Any] | None:
        """A kept array, as a read-only memmap; None if there is none.

        An entry that is damaged or truncated is removed. The checksum covers all of an array up to
        256 MiB, and 256 MiB spread evenly over a larger one.
        """
        if self.limit <= 0:
            return None
        place = self.folder / kind / key
        try:
            array = open_array(place)
        except FileNotFoundError:
            if place.is_dir() and not is_complete(place):  # else another process has just kept it
                self._remove(place)
            return None
        except OSError as error:
            log.debug("not read: %s", error)
            return None
        except ValueError as error:
            log.debug("removed: %s", error)
            self._remove(place)
            return None
        with suppress(OSError):  # the folder may be read-only
            os.utime(place / RECORD)
        return array

    @contextmanager
    def write(
        self,
        kind: str,
        key: str,
        shape: Sequence[int],
        dtype: DTypeLike,
        description: str,
        group: str = "",
    ) -> Iterator[NDArray[Any] | None]:
        """Yield an array of zeros to fill, which is kept if the block ends without an exception.

        It must not be changed afterwards.

        Args:
            description: for people; `kdsweep cache` lists entries with the same one as one.
            group: entries of a group that is read in turn (the epochs of a training) do not make
                room for each other: removing the oldest would remove just what is read next.

        Yields None if it is not going to be kept: it is larger than the cache, there is no room
        for it, or the cache is off.
        """
        record = new_record(shape, dtype, description, group or key)
        draft = self.folder / kind / f".{key}.{uuid.uuid4().hex}"
        held = FileLock(draft / LOCK)
        try:
            array = self._begin(draft, held, record)
            try:
                yield array
            except BaseException:
                array = None
                raise
            if array is not None:
                self._commit(draft, held, record, array)
        finally:
            held.release()
            shutil.rmtree(draft, ignore_errors=True)

    def discard(self, kind: str, key: str) -> None:
        """Remove an entry, if there is one, so that another can take its place."""
        self._remove(self.folder / kind / key)

    def entries(self) -> list[Entry]:
        """Everything that is kept, what was used last at the end."""
        names = (place for place in self._places() if not DRAFT.fullmatch(place.name))
        entries = [_entry(Path(place)) for place in names]
        return sorted(
            (entry for entry in entries if entry is not None), key=lambda one: one.last_used
        )

    def clear(self, kind: str | None = None) -> list[Entry]:
        """Remove everything, or all of a kind, with drafts of killed processes; returns entries.

        Other processes continue to read what they have opened, and drafts of theirs stay.
        """
        removed = [entry for entry in self.entries() if kind in (None, entry.kind)]
        removed = [one for one in removed if self._remove(self.folder / one.kind / one.key)]
        self._drop_abandoned()
        return removed

    def _begin(self, draft: Path, held: FileLock, record: Record) -> NDArray[Any] | None:
        """A new draft with room for an array, locked; None if there cannot be one."""
        if not self._keeps or record.num_bytes == 0:
            return None
        try:
            draft.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / LOCK, timeout=LOCK_SECONDS):
                self._drop_abandoned()
                if not self._make_room(record):
                    note_once(
                        f"an entry of {record.num_bytes / 2**30:.2f} GiB is not kept: there is no"
                        f" room for it in {self.folder} (cache.gib={self.limit / 2**30:g})"
                    )
                    return None
                draft.mkdir()
                held.acquire(blocking=False)
                return create_array(draft, record)
        # Timeout among them, so that a lock that is never released costs its wait once; and where
        # there are no locks, filelock raises NotImplementedError.
        except (OSError, NotImplementedError) as error:
            self._disable(error)
            return None

    def _commit(self, draft: Path, held: FileLock, record: Record, array: NDArray[Any]) -> None:
        try:
            seal_array(draft, record, array)
            held.release()
            (draft / LOCK).unlink(missing_ok=True)
            self._rename(draft, draft.parent / draft.name[1:].rpartition(".")[0])
        except OSError as error:
            self._disable(error)

    def _rename(self, draft: Path, place: Path) -> None:
        try:
            draft.rename(place)
        except OSError:
            if not (place / RECORD).is_file():  # another process had the same array first
                raise

    def _disable(self, error: OSError | NotImplementedError) -> None:
        self._keeps = False
        reason = getattr(error, "strerror", None) or str(error)
        warn_once(
            f"nothing more is kept in the cache, {self.folder}: {reason}"
            " (cache.folder=FOLDER is another folder, cache.gib=0 none)"
        )

    def _make_room(self, record: Record) -> bool:
        """Remove what was not used for the longest time; returns whether there is room then."""
        disk = record.num_bytes + LEAST_FREE - shutil.disk_usage(self.folder).free
        excess = max(disk, _size(self.folder) + record.num_bytes - self.limit)
        if excess <= 0:  # the usual case, without the records of thousands of entries
            return True
        others = [entry for entry in self.entries() if entry.group != record.group]
        removable = sum(entry.num_bytes for entry in others)
        if disk > removable:
            raise OSError(ENOSPC, os.strerror(ENOSPC), str(self.folder))
        if excess > removable:
            return False
        goal = excess + MORE_ROOM * self.limit
        for entry in others:
            if excess <= 0 and entry.num_bytes > goal:
                break
            if self._remove(self.folder / entry.kind / entry.key):
                excess, goal = excess - entry.num_bytes, goal - entry.num_bytes
        return excess <= 0

    def _remove(self, place: Path) -> bool:
        """Remove an entry in one step; returns whether that was possible."""
        away = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
        try:
            place.rename(away)
        except OSError:  # it is gone, or (Windows) in use
            return False
        shutil.rmtree(away, ignore_errors=True)
        return True

    def _drop_abandoned(self) -> None:
        """Remove the drafts of killed processes, and what is left of removed entries."""
        latest = time.time() - ABANDONED_SECONDS
        for place in self._places():
            if not DRAFT.fullmatch(place.name):
                continue
            with suppress(OSError, NotImplementedError):  # Timeout: its process is alive
                if place.stat().st_mtime <= latest:
                    with FileLock(os.path.join(place, LOCK), blocking=False):
                        shutil.rmtree(place, ignore_errors=True)

    def _places(self) -> Iterator["os.DirEntry[str]"]:
        """The folders of entries and drafts."""
        with suppress(OSError), os.scandir(self.folder) as kinds:
            for kind in kinds:
                if kind.is_dir():
                    with os.scandir(kind) as places:
                        yield from (place for place in places if place.is_dir())


def _entry(place: Path) -> Entry | None:
    """The entry in a folder; None if it was removed just now."""
    try:
        record = read_record(place)
    except OSError:
        return None
    except ValueError:
        record = Record((), "")
    try:
        used = (place / RECORD).stat().st_mtime
        return Entry(
            place.parent.name, place.name, record.description, record.group, _size(place), used
        )
    except OSError:
        return None


def _size(folder: Path | str) -> int:
    """The bytes of all files below a folder."""
    size = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):  # it was removed just now
                is_folder = entry.is_dir(follow_symlinks=False)
                size += _size(entry.path) if is_folder else entry.stat().st_size
    return size
