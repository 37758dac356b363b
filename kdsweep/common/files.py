"""Files that are replaced atomically: readers and crashes see the old or the new content."""

import json
import math
import os
import re
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# `.sweep.json.<pid>.<thread>`; `.epoch-0001.pt.<uuid>` is of checkpoints of earlier versions.
DRAFT = re.compile(r"\..+\.(\d+\.\d+|[0-9a-f]{32})")
# Held while a JSON file is read, changed and written: training and uploading change the same files.
UPDATE_LOCK = threading.RLock()


def write_json_atomic(path: Path, obj: object) -> None:
    """Write ``obj`` to ``path`` in one step; readers and power cuts never see half of it.

    NaN and infinities become null: JSON has neither. Raises OSError if it cannot be written.
    """
    write_text_atomic(path, json.dumps(without_nan(obj), indent=2, allow_nan=False) + "\n")


def write_text_atomic(path: Path, text: str, *, durable: bool = True) -> None:
    """Write ``text`` to ``path`` in one step. Raises OSError if it cannot be written.

    ``durable``: as for `atomic_write`.
    """
    with atomic_write(path, durable=durable) as draft:
        draft.write_text(text, encoding="utf-8")


def write_bytes_atomic(path: Path, content: bytes | bytearray | memoryview) -> None:
    """Write ``content`` to ``path`` in one step. Raises OSError if it cannot be written.

    Tensors are serialized in memory and written here: torch and safetensors report a full disk as a
    RuntimeError that does not name the disk.
    """
    with atomic_write(path) as draft:
        draft.write_bytes(content)


def remove_if_only(names: Collection[str], folder: Path) -> None:
    """Remove a folder that holds nothing but files of these names.

    Folders above it that are empty then are removed, up to and including multirun/.
    """
    if not folder.is_dir() or not {path.name for path in folder.iterdir()} <= set(names):
        return
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    if folder.is_absolute() or folder.parts[0] != "multirun":
        return  # the user has made them
    for parent in folder.parents[:-1]:
        try:
            parent.rmdir()
        except OSError:  # another sweep is there
            return


def can_be_made(folder: Path) -> bool:
    """Whether files can be written to a folder, which may not be there yet; nothing is made."""
    places = (folder, *folder.absolute().parents)
    try:
        there = next(path for path in places if path.exists() or path.is_symlink())
    except OSError:  # a name that is too long, a folder that cannot be read
        return False
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


@contextmanager
def atomic_write(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A draft to write to, which replaces ``path`` in one step once it is on the disk.

    Without ``durable`` it is not waited for the disk: a power cut may leave an empty file.
    """
    # Two threads (training, uploading) may write the same file: each needs its own draft.
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        yield draft
        if durable:
            with draft.open("rb") as file:
                os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:  # of a write has no file name, which identifies the disk
        error.filename = error.filename or str(path)
        raise
    finally:
        draft.unlink(missing_ok=True)
    if durable and os.name == "posix":  # Windows cannot open a folder
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)  # this puts the new *name* on the disk
        finally:
            os.close(handle)


def look_anew(folder: Path) -> None:
    """See the files that another host has just written to a folder of a network file system.

    Its client remembers for a while which files are not there; opening a folder has it ask again.
    """
    with suppress(OSError), os.scandir(folder):
        pass


def drop_drafts(folder: Path, older_than: float = 0.0) -> None:
    """Remove the drafts of killed processes in a folder.

    Those written less than ``older_than`` seconds ago may be of processes that are still running.
    """
    latest = time.time() - older_than
    for path in folder.glob(".*"):
        if DRAFT.fullmatch(path.name) and path.is_file() and path.stat().st_mtime <= latest:
            path.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """The object in ``path``. Raises OSError, or ValueError naming a file that holds none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} must be a JSON file, got something else ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(content).__name__}")
    return content


def without_nan(obj: object) -> object:
    """The same nested dicts, lists and plain values, with None for NaN and infinities."""
    if isinstance(obj, float):
        return obj if math.isfinite(obj) else None
    if isinstance(obj, Mapping):
        return {key: without_nan(value) for key, value in obj.items()}
    if isinstance(obj, list | tuple):
        return [without_nan(value) for value in obj]
    return obj
