"""From encoded images with labels to parts of a data set, in memory or on disk."""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch

from kdsweep.data.encoded import (
    Encoded,
    Form,
    Header,
    Size,
    Unreadable,
    attempt_all,
    decode,
    decode_all,
    read_header,
)
from kdsweep.data.labelled import Images, Labelled
from kdsweep.data.ranges import check_positive, check_whole, shown
from kdsweep.data.stored_images import StoredImages

logger = logging.getLogger(__name__)

GIB = 2**30
DIGEST_GIB = 8  # encoded images that are still read whole to name their content


class Part(NamedTuple):
    """The encoded images of train, val or test, and the class number of each."""

    images: Encoded
    labels: Sequence[int]


class Reading:
    """How a source of encoded images reads them: the options that all such sources share.

    Args:
        image_size: side in pixels, or [H, W]; None: the size of the images, which must be equal.
        crop: an image of other proportions is cut to them round its middle, not stretched to them.
        channels: 3 makes every image RGB, 1 grey; None: 1 if all of them are grey, else 3.
        memory_gib: decoded images larger than this stay on disk.
        workers: processes that decode images that stay on disk; 0: none but this one.
        skip_unreadable: leave unreadable images out, with a warning for each, instead of refusing.
            For images that stay on disk this takes one pass of decoding them all.
    """

    def __init__(
        self,
        image_size: int | Sequence[int] | None = None,
        crop: bool = False,
        channels: int | None = 3,
        memory_gib: float = 4.0,
        workers: int = 2,
        skip_unreadable: bool = False,
    ) -> None:
        check_positive("dataset.source.memory_gib", memory_gib)
        check_whole("dataset.source.workers", workers, least=0)
        if channels not in (None, 1, 3):
            raise ValueError(f"dataset.source.channels must be 1, 3 or null, got {channels!r}")
        self._size = None if image_size is None else _parse_size(image_size)
        self._crop = crop
        self._channels = channels
        self._memory_gib = memory_gib
        self._workers = workers
        self._skip_unreadable = skip_unreadable

    def load(self, parts: Mapping[str, Part], class_names: Sequence[str]) -> dict[str, Labelled]:
        """Decode all parts, or only look at the headers if they are to stay on disk.

        Raises:
            ValueError: an image is unreadable, a class has no readable one, sizes differ and no
                image_size is given.
        """
        form = self._form(parts)
        num_images = sum(len(part.labels) for part in parts.values())
        in_memory = num_images * prod(form[:3]) <= self._memory_gib * GIB
        return {
            name: self._load(name, part, class_names, form, in_memory)
            for name, part in parts.items()
        }

    def _form(self, parts: Mapping[str, Part]) -> Form:
        if self._size is not None and self._channels is not None:
            return Form(self._channels, *self._size, self._crop)
        headers = dict(self._headers(parts))
        if not headers:
            raise ValueError("dataset.source must give readable images, got none")
        size = self._size or _common_size(headers)
        channels = self._channels or (1 if all(head.grey for head in headers.values()) else 3)
        return Form(channels, *size, self._crop)

    def _headers(self, parts: Mapping[str, Part]) -> Iterator[tuple[str, Header]]:
        """Names and headers of all readable images."""
        for images, _ in parts.values():
            found = attempt_all(partial(read_header, images), range(len(images)))
            for row, header in enumerate(found):
                if isinstance(header, Unreadable):
                    self._refuse(header)
                else:
                    yield images.name(row), header

    def _load(
        self, name: str, part: Part, class_names: Sequence[str], form: Form, in_memory: bool
    ) -> Labelled:
        images: Images
        if in_memory:
            images, errors = decode_all(part.images, form)
        else:
            images = StoredImages(part.images, form, self._workers)
            errors = self._check_stored(part.images, form)
        readable = [row for row, error in enumerate(errors) if error is None]
        loaded = Labelled(images, torch.tensor(part.labels, dtype=torch.int64))
        if len(readable) == len(errors):
            return loaded
        for error in errors:
            if error is not None:
                self._refuse(error)
                logger.warning("Image left out: %s", error.cause)
        loaded = loaded.take(torch.tensor(readable, dtype=torch.int64))
        _check_left(name, part.labels, loaded.labels.tolist(), class_names)
        return loaded

    def _check_stored(self, images: Encoded, form: Form) -> list[Unreadable | None]:
        """Headers only, unless damaged images are to be left out: then each must be decoded."""

        def read(row: int) -> None:
            if self._skip_unreadable:
                decode(images, row, form)
            else:
                read_header(images, row)

        return attempt_all(read, range(len(images)))

    def _refuse(self, error: Unreadable) -> None:
        if not self._skip_unreadable:
            raise error


def content_digest(parts: Mapping[str, Part]) -> str:
    """sha256 over names, labels and bytes of all images, in hex.

    Above 8 GiB it is over names, labels and sizes: reading hundreds of gigabytes before every
    sweep, only to name them, would cost more than it protects from.
    """
    digest = hashlib.sha256()
    sizes = {name: part.images.num_bytes() for name, part in parts.items()}
    reads_content = sum(map(sum, sizes.values())) <= DIGEST_GIB * GIB
    for name, (images, labels) in parts.items():
        digest.update(f"{name}\0{len(labels)}\0".encode())
        for row, label in enumerate(labels):
            content = _sha256(images.open(row)) if reads_content else str(sizes[name][row])
            digest.update(
                f"{images.key(row)}\0{label}\0{content}\0".encode(errors="surrogateescape")
            )
    return digest.hexdigest()


def _sha256(image: Path | BinaryIO) -> str:
    content = image.read_bytes() if isinstance(image, Path) else image.read()
    return hashlib.sha256(content).hexdigest()


def _common_size(headers: Mapping[str, Header]) -> Size:
    (first, (size, _)), *others = headers.items()
    for name, (other, _) in others:
        if other != size:
            raise ValueError(
                "dataset.source.image_size must be a number of pixels or [H, W] where images "
                f"differ in size, got null for {_sized(first, size)} and {_sized(name, other)}"
            )
    return size


def _check_left(
    part: str, before: Sequence[int], left: Sequence[int], class_names: Sequence[str]
) -> None:
    """A class that had images must still have one."""
    if lost := sorted({*before} - {*left}):
        raise ValueError(
            "dataset.source must give a readable image of every class, "
            f"got none of {class_names[lost[0]]!r} in {part}"
        )


def _parse_size(size: int | Sequence[int]) -> Size:
    sides = [size, size] if isinstance(size, int) else size
    whole = isinstance(sides, Sequence) and not isinstance(sides, str)
    if not whole or len(sides) != 2 or not all(type(s) is int and s >= 1 for s in sides):
        raise ValueError(
            "dataset.source.image_size must be null, a number of pixels >= 1 or [H, W], "
            f"got {shown(size)}"
        )
    height, width = sides
    return height, width


def _sized(name: str, size: Size) -> str:
    return f"{name} ({size[0]} x {size[1]})"
