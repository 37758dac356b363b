"""Looking at a data set once before anything is trained on it."""

import hashlib
from collections.abc import Sequence

from torch import Tensor

from kdsweep.data.labelled import DiskImages, Images, in_order
from kdsweep.data.notices import warn_once
from kdsweep.data.reading import DIGEST_GIB, GIB
from kdsweep.data.split import Dataset

BATCH = 256  # images that are decoded at a time


def read_through(images: Images) -> None:
    """Decode images that stay on disk, so that a broken one is found now and not in the night.

    Raises:
        DataError: an image is unreadable.
    """
    if not isinstance(images, Tensor):
        for _ in in_order(images, BATCH):
            pass


def warn_of_overlap(dataset: Dataset) -> None:
    """Warn of validation and test images that are training images, too, by their content.

    Images in memory are compared as they are read, pixel by pixel; those on disk byte by byte of
    their files, unless more than 8 GiB of them are of equal length.
    """
    parts = {"validation": dataset.val, "test": dataset.test}
    found = []
    for name, part in parts.items():
        if part is None:
            continue
        if count := _num_shared(dataset.train.images, part.images):
            found.append(f"{count} of {len(part.labels)} {name} images")
    if found:
        warn_once(
            f"dataset {dataset.name}: {' and '.join(found)} are training images, too: identical in "
            "content, so that they measure memory, not generalisation"
        )


def _num_shared(train: Images, other: Images) -> int:
    """How many of the other images are in the training images."""
    if isinstance(train, Tensor) and isinstance(other, Tensor):
        known = {*_pixel_digests(train)}
        return sum(digest in known for digest in _pixel_digests(other))
    if isinstance(train, Tensor) or isinstance(other, Tensor):
        return 0  # no source keeps one part in memory and another on disk
    return _num_shared_on_disk(train, other)


def _pixel_digests(images: Tensor) -> list[bytes]:
    rows = images.cpu().contiguous().numpy()
    return [hashlib.blake2b(row.data, digest_size=16).digest() for row in rows]


def _num_shared_on_disk(train: DiskImages, other: DiskImages) -> int:
    """Only images of equal length can be equal: of most formats that is next to none."""
    theirs, ours = train.num_bytes(), other.num_bytes()
    lengths = {*theirs} & {*ours}
    candidates = [_of_length(theirs, lengths), _of_length(ours, lengths)]
    if sum(theirs[row] for row in candidates[0]) > DIGEST_GIB * GIB:
        return 0
    known = {train.content_digest(row) for row in candidates[0]}
    return sum(other.content_digest(row) in known for row in candidates[1])


def _of_length(lengths: Sequence[int], wanted: set[int]) -> list[int]:
    return [row for row, length in enumerate(lengths) if length in wanted]
