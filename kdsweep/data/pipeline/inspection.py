"""Checks of a data set before runs train on it: overlap of its parts, and unreadable images."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from kdsweep.common.notices import warn_once
from kdsweep.common.pacing import with_lines
from kdsweep.data.images.content import DIGEST_GIB, GIB
from kdsweep.data.pipeline.split import Dataset
from kdsweep.data.types import Images, in_order

BATCH = 256  # images that are decoded at a time
LONG_NAMES = {"val": "validation", "test": "test"}

Value = TypeVar("Value")


class _Part(NamedTuple):
    """Train, val or test of a data set, and the positions of its images in the source."""

    key: str  # equal only for parts that are cut from the same images
    images: Images
    rows: list[int]

    def subset(self, positions: Sequence[int]) -> "_Part":
        """The images at these ascending positions; at all of them, the part itself, not a copy."""
        if len(positions) == len(self.rows):
            return self
        index = torch.tensor(positions, dtype=torch.int64)
        images = self.images
        chosen = images[index] if isinstance(images, Tensor) else images.subset(index)
        return _Part(self.key, chosen, [self.rows[position] for position in positions])


class DatasetInspector:
    """Inspects data sets; no image is read twice for data sets cut from the same source."""

    def __init__(self) -> None:
        self._decoded: set[tuple[str, int]] = set()
        self._digests: dict[str, dict[int, bytes]] = defaultdict(dict)
        self._lengths: dict[str, dict[int, int]] = defaultdict(dict)

    def inspect(self, dataset: Dataset, source: str) -> None:
        """Warn of images in several parts, and decode val and test, which are read after epochs.

        ``source`` identifies the origin of the images. Raises DataError if one is unreadable.
        """
        self.warn_of_overlap(dataset, source)
        for name in LONG_NAMES:
            if (part := _part(dataset, name, source)) is not None:
                self._read_through(part)

    def clear_digests(self) -> None:
        """Free the digests: they are computed again for another data set."""
        self._digests.clear()
        self._lengths.clear()

    def warn_of_overlap(self, dataset: Dataset, source: str) -> None:
        """Warn of validation and test images with the content of a training image.

        Images in memory are compared by their pixels, those on disk by the bytes of their files,
        unless more than 8 GiB would have to be read, which is a warning, too.
        """
        train = _part(dataset, "train", source)
        parts = {name: _part(dataset, name, source) for name in LONG_NAMES}
        others = {name: part for name, part in parts.items() if part is not None}
        assert train is not None
        if isinstance(train.images, Tensor):
            counts = self._num_shared(train, others)
        else:
            candidates = self._of_equal_length([train, *others.values()])
            if (size := sum(sum(self._length(part)) for part in candidates)) > DIGEST_GIB * GIB:
                warn_once(
                    f"dataset {dataset.name}: whether validation and test images are training "
                    f"images, too, was not looked at: {size / GIB:.1f} GiB would have to be read, "
                    f"more than {DIGEST_GIB}"
                )
                return
            counts = self._num_shared(candidates[0], dict(zip(others, candidates[1:], strict=True)))
        overlaps = [
            f"{count} of {len(others[name].rows)} {LONG_NAMES[name]} images"
            for name, count in counts.items()
            if count
        ]
        if overlaps:
            warn_once(
                f"dataset {dataset.name}: {' and '.join(overlaps)} are training images, too:"
                " identical in content, so that they measure memory, not generalisation"
            )

    def _num_shared(self, train: _Part, others: dict[str, _Part]) -> dict[str, int]:
        """How many images of each other part are in the training images."""
        known = {*self._content(train)}
        return {
            name: sum(digest in known for digest in self._content(part))
            for name, part in others.items()
        }

    def _of_equal_length(self, parts: Sequence[_Part]) -> list[_Part]:
        """The images that may be equal to one of another part (train comes first).

        Of a compressed format, few training images have the length of one of a small val or test
        set, so most are not read. Of a format of fixed length all are.
        """
        lengths = [self._length(part) for part in parts]
        shared = {*lengths[0]} & {length for of_part in lengths[1:] for length in of_part}
        return [
            part.subset([row for row, length in enumerate(of_part) if length in shared])
            for part, of_part in zip(parts, lengths, strict=True)
        ]

    def _read_through(self, part: _Part) -> None:
        keys = [(part.key, row) for row in part.rows]
        new = [position for position, key in enumerate(keys) if key not in self._decoded]
        if new and not isinstance(part.images, Tensor):
            read_through(part.subset(new).images)
            self._decoded.update(keys)

    def _content(self, part: _Part) -> list[bytes]:
        return _cached(self._digests[part.key], part, _digests)

    def _length(self, part: _Part) -> list[int]:
        return _cached(self._lengths[part.key], part, _lengths)


def read_through(images: Images) -> None:
    """Decode images that stay on disk, unless an earlier command has done so.

    Raises DataError, before training, for a damaged one.
    """
    if not isinstance(images, Tensor) and not images.was_read:
        batches = in_order(images, BATCH)
        for _ in with_lines(batches, "decoding images once", total=len(images), each=BATCH):
            pass
        images.close()  # test images are read next after the last epoch
        images.note_read()


def _part(dataset: Dataset, name: str, source: str) -> _Part | None:
    part, index = getattr(dataset, name), getattr(dataset, f"{name}_index")
    return None if part is None else _Part(f"{source} {name}", part.images, index.tolist())


def _cached(
    known: dict[int, Value], part: _Part, compute: Callable[[Images], Sequence[Value]]
) -> list[Value]:
    """The value of each image of a part; computed only where it is not known."""
    new = [position for position, row in enumerate(part.rows) if row not in known]
    if new:
        unknown = part.subset(new)
        known.update(zip(unknown.rows, compute(unknown.images), strict=True))
    return [known[row] for row in part.rows]


def _digests(images: Images) -> list[bytes]:
    if not isinstance(images, Tensor):
        rows = with_lines(range(len(images)), "looking for images in several parts")
        return [bytes.fromhex(images.content_digest(row)) for row in rows]
    pixels = images.cpu().contiguous().numpy()
    return [hashlib.blake2b(image.data, digest_size=16).digest() for image in pixels]


def _lengths(images: Images) -> list[int]:
    return [] if isinstance(images, Tensor) else images.num_bytes()
