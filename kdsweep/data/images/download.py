"""Published archives: messages about failed downloads and incomplete folders."""

import logging
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

from kdsweep.common.pacing import lines_while
from kdsweep.common.text import error_reason
from kdsweep.data.images.content import Part

logger = logging.getLogger(__name__)

MIB = 2**20

# Errors of the network, the disk and damaged archives, which torchvision does not catch.
FAILURES = (
    *(OSError, RuntimeError, HTTPException, EOFError),
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error),
)


@contextmanager
def explain_failed_download(archives: Mapping[str, str], folder: Path, root: str) -> Iterator[None]:
    """Report any failure of a download into ``folder`` as one message: which files to put where.

    Args:
        archives: their addresses, each with the MD5 of the file.
        root: dataset.root as given by the user.

    Raises ValueError if a file is neither there and whole nor can be downloaded.
    """
    urls = list(archives)
    damaged = [url for url, digest in archives.items() if _is_damaged(folder / _name(url), digest)]
    files = ", ".join(map(_name, urls))

    def size() -> str:
        paths = [folder / _name(url) for url in urls]
        return f"{sum(path.stat().st_size for path in paths if path.is_file()) / MIB:.1f} MiB"

    try:
        with lines_while(f"downloading, checking or unpacking {files} in {folder}", size):
            yield
    except FAILURES as error:
        if damaged:
            raise ValueError(_damaged(damaged, folder, root, error)) from error
        they, them = ("it", "it") if len(urls) == 1 else ("they", "them")
        raise ValueError(
            f"dataset.root must be a folder that holds {files}, because {they} could not be "
            f"downloaded here ({error_reason(error).rstrip('.:')}): fetch {', '.join(urls)} "
            f"and put {them} into {folder.absolute()}, got {root}"
        ) from error


def _name(url: str) -> str:
    return url.rpartition("/")[2]


def _is_damaged(file: Path, digest: str) -> bool:
    from torchvision.datasets.utils import check_integrity  # takes two seconds to import

    return file.is_file() and not check_integrity(file, digest)


def _damaged(urls: Sequence[str], folder: Path, root: str, error: Exception) -> str:
    """The message about archives that were there, damaged, and could not be downloaded again."""
    they, them = ("it is", "it") if len(urls) == 1 else ("they are", "them")
    return (
        f"dataset.root must hold whole archives, got {root}, where {they} damaged and could not be"
        f" downloaded again ({error_reason(error).rstrip('.:')}): fetch {', '.join(urls)} and"
        f" put {them} into {folder.absolute()} in place of {', '.join(map(_name, urls))}"
    )


def warn_if_incomplete(
    folder: Path, parts: Mapping[str, Part], published: Mapping[str, int]
) -> None:
    """Warn if a folder lacks some of the published images, as after interrupted unpacking."""
    counts = {name: len(part.labels) for name, part in parts.items()}
    if counts != published:
        logger.warning(
            "%s holds %s images, published are %s: if it is not meant to be smaller, remove it and "
            "it is unpacked again",
            folder,
            _format_counts(counts),
            _format_counts(published),
        )


def _format_counts(counts: Mapping[str, int]) -> str:
    return " + ".join(f"{count:,} {name}" for name, count in counts.items())
