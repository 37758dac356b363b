"""Published archives: what is said of one that is neither there nor can be had, or not whole."""

import logging
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

from kdsweep.data.images.decoding import Part

logger = logging.getLogger(__name__)

# What torchvision passes on from the network, the disk and damaged archives.
FAILURES = (
    *(OSError, RuntimeError, HTTPException, EOFError),
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error),
)


@contextmanager
def explain_failed_download(urls: Sequence[str], folder: Path, root: str) -> Iterator[None]:
    """Round a download into ``folder``: whatever fails is one sentence on what to put where.

    Args:
        urls: of the files that the folder needs.
        folder: where they belong.
        root: dataset.root as it was given.

    Raises:
        ValueError: a file is neither there nor can be downloaded.
    """
    try:
        yield
    except FAILURES as error:
        files = ", ".join(url.rpartition("/")[2] for url in urls)
        they, them = ("it", "it") if len(urls) == 1 else ("they", "them")
        raise ValueError(
            f"dataset.root must be a folder that holds {files}, because {they} could not be "
            f"downloaded here ({reason(error)}): fetch {', '.join(urls)} and put {them} into "
            f"{folder.absolute()}, got {root}"
        ) from error


def warn_if_incomplete(
    folder: Path, parts: Mapping[str, Part], published: Mapping[str, int]
) -> None:
    """Warn of a folder that has not the published number of images: a broken-off unpacking."""
    found = {name: len(part.labels) for name, part in parts.items()}
    if found != published:
        logger.warning(
            "%s holds %s images, published are %s: if it is not meant to be smaller, remove it and "
            "it is unpacked again",
            folder,
            _counts(found),
            _counts(published),
        )


def _counts(images: Mapping[str, int]) -> str:
    return " + ".join(f"{count:,} {name}" for name, count in images.items())


def reason(error: Exception) -> str:
    """The first line of what an error says."""
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".:")
