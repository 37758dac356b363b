"""A search's folder: made before its study, and removed again if the search is refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kdsweep.common.files import remove_if_only
from kdsweep.errors import UserError
from kdsweep.search.study import LOCK
from kdsweep.tracking.metadata import read_sweep_metadata


@contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """Inside, the folder of a search is there and can be written.

    Raises UserError if it cannot be, or holds a sweep that is no search. If the search itself is
    refused inside, a folder that has nothing of it yet is removed.
    """
    note = read_sweep_metadata(folder)
    if note is not None and note["role"] != "search":
        raise UserError(
            f"search.name must be another one, got {folder.name}: {folder} holds a {note['role']}"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise UserError(
            f"search.name must be that of a folder that can be written, got {folder.name}:"
            f" {folder.absolute()} cannot be ({error.strerror})"
        ) from error
    try:
        yield
    except UserError:
        remove_if_only({LOCK}, folder)
        raise
