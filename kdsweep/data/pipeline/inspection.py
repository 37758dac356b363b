"""Looking at a data set once before anything is trained on it."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from kdsweep.data.images.decoding import DIGEST_GIB, GIB
from kdsweep.data.images.notices import warn_once
from kdsweep.data.pipeline.split import Dataset
from kdsweep.data.types import Images, in_order

BATCH = 256  # images that are decoded at a time
LONG_NAMES = {"val": "validation", "test": "test"}

Found = TypeVar("Found")


class _Part(NamedTuple):
    """Train, val or test of a data set, and where its images are in the source."""

    key: str  # the same only for parts that are cut from the same images
    images: Images
    rows: list[int]

    def at(self, places: Sequence[int]) -> "_Part":
        """Only the images at these places, ascending; the part itself, uncopied, if at all."""
        if len(places) == len(self.rows):
            return self
        index = torch.tensor(places, dtype=torch.int64)
        images = self.images
        chosen = images[index] if isinstance(images, Tensor) else images.subset(index)
        return _Part(self.key, chosen, [self.rows[place] for place in places])


class DatasetInspector:
    """What was looked at of some sources: no image is, twice, for another data set cut from one."""

    def __init__(self) -> None:
        self._decoded: set[tuple[str, int]] = set()
        self._digests: dict[str, dict[int, bytes]] = defaultdict(dict)
        self._lengths: dict[str, dict[int, int]] = defaultdict(dict)

    def look(self, dataset: Dataset, source: str) -> None:
        """Warn of images on both sides of the split, and decode what is only read after epochs.

        Args:
            source: names where the images come from.

        Raises:
            DataError: an image of val or test is unreadable.
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
        """Warn of validation and test images that are training images, too, by their content.

        Images in memory are compared as they are read, pixel by pixel; those on disk byte by byte
        of their files, unless more than 8 GiB would have to be read, which a warning reports.
        """
        train = _part(dataset, "train", source)
        parts = {name: _part(dataset, name, source) for name in LONG_NAMES}
        others = {name: part for name, part in parts.items() if part is not None}
        assert train is not None
        if isinstance(train.images, Tensor):
            counts = self._num_shared(train, others)
        else:
            candidates = self._of_equal_length([train, *others.values()])
            if (size := sum(map(self._num_bytes, candidates))) > DIGEST_GIB * GIB:
                warn_once(
                    f"dataset {dataset.name}: whether validation and test images are training "
                    f"images, too, was not looked at: {size / GIB:.1f} GiB would have to be read, "
                    f"more than {DIGEST_GIB}"
                )
                return
            counts = self._num_shared(candidates[0], dict(zip(others, candidates[1:], strict=True)))
        found = [
            f"{count} of {len(others[name].rows)} {LONG_NAMES[name]} images"
            for name, count in counts.items()
            if count
        ]
        if found:
            warn_once(
                f"dataset {dataset.name}: {' and '.join(found)} are training images, too: identical"
                " in content, so that they measure memory, not generalisation"
            )

    def _num_shared(self, train: _Part, others: dict[str, _Part]) -> dict[str, int]:
        """How many images of each other part are in the training images."""
        known = {*self._content(train)}
        return {
            name: sum(digest in known for digest in self._content(part))
            for name, part in others.items()
        }

    def _of_equal_length(self, parts: Sequence[_Part]) -> list[_Part]:
        """What can be equal to an image on the other side of a split (train comes first).

        That spares reading most training images of a compressed format where val and test are
        small, fewer of val and test themselves, and none of a format of fixed length.
        """
        lengths = [self._length(part) for part in parts]
        shared = {*lengths[0]} & {length for of_part in lengths[1:] for length in of_part}
        return [
            part.at([place for place, length in enumerate(of_part) if length in shared])
            for part, of_part in zip(parts, lengths, strict=True)
        ]

    def _read_through(self, part: _Part) -> None:
        marks = [(part.key, row) for row in part.rows]
        new = [place for place, mark in enumerate(marks) if mark not in self._decoded]
        if new and not isinstance(part.images, Tensor):
            read_through(part.at(new).images)
            self._decoded.update(marks)

    def _content(self, part: _Part) -> list[bytes]:
        return _looked_up(self._digests[part.key], part, _digests)

    def _length(self, part: _Part) -> list[int]:
        return _looked_up(self._lengths[part.key], part, _lengths)

    def _num_bytes(self, part: _Part) -> int:
        return sum(self._length(part))


def read_through(images: Images) -> None:
    """Decode images that stay on disk, so that a broken one is found now and not in the night.

    Raises:
        DataError: an image is unreadable.
    """
    if not isinstance(images, Tensor):
        for _ in in_order(images, BATCH):
            pass


def _part(dataset: Dataset, name: str, source: str) -> _Part | None:
    part, index = getattr(dataset, name), getattr(dataset, f"{name}_index")
    return None if part is None else _Part(f"{source} {name}", part.images, index.tolist())


def _looked_up(
    known: dict[int, Found], part: _Part, look: Callable[[Images], Sequence[Found]]
) -> list[Found]:
    """What is known of each image of a part; only the others are looked at."""
    new = [place for place, row in enumerate(part.rows) if row not in known]
    if new:
        unknown = part.at(new)
        known.update(zip(unknown.rows, look(unknown.images), strict=True))
    return [known[row] for row in part.rows]


def _digests(images: Images) -> list[bytes]:
    if not isinstance(images, Tensor):
        return [bytes.fromhex(images.content_digest(row)) for row in range(len(images))]
    rows = images.cpu().contiguous().numpy()
    return [hashlib.blake2b(row.data, digest_size=16).digest() for row in rows]


def _lengths(images: Images) -> list[int]:
    return [] if isinstance(images, Tensor) else images.num_bytes()
