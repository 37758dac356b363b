"""From encoded images with labels to parts of a data set, in memory or on disk."""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import prod
from typing import NamedTuple

import torch

from kdsweep.data.checks import check_positive, check_whole, shown
from kdsweep.data.images.encoded import (
    EncodedImages,
    Header,
    ImageFormat,
    Size,
    UnreadableImage,
    attempt_all,
    content_sha256,
    decode,
    decode_all,
    has_deep_pixels,
    read_header,
)
from kdsweep.data.images.lazy import StoredImages
from kdsweep.data.images.pixels import Brightness
from kdsweep.data.types import Images, LabelledImages

logger = logging.getLogger(__name__)

GIB = 2**30
DIGEST_GIB = 8  # encoded images that are still read whole to name their content
DARK = 1 / 4  # of white: images that stay below it do not use the two highest of their 8 bits

Found = Brightness | UnreadableImage | None  # of ``Decoded``, or why there are no pixels


class Part(NamedTuple):
    """The encoded images of train, val or test, and the class number of each."""

    images: EncodedImages
    labels: Sequence[int]


class ImageDecoder:
    """How a source of encoded images reads them: the options that all such sources share.

    Args:
        image_size: side in pixels, or [H, W]; None: the size of the images, which must be equal.
        crop: an image of other proportions is cut to them round its middle, not stretched to them.
        channels: 3 makes every image RGB, 1 grey; None: 1 if all of them are grey, else 3.
        memory_gib: decoded images larger than this stay on disk.
        workers: processes that decode images that stay on disk; 0: none but this one.
        skip_unreadable: leave unreadable images out, with a warning for each, instead of refusing.
            For images that stay on disk this takes one pass of decoding them all.
        white: the value that becomes 255 in images of more than 8 bits a channel; None: 65535 of 16
            bits, 1 of floating-point numbers.
    """

    def __init__(
        self,
        image_size: int | Sequence[int] | None = None,
        crop: bool = False,
        channels: int | None = 3,
        memory_gib: float = 4.0,
        workers: int = 2,
        skip_unreadable: bool = False,
        white: float | None = None,
    ) -> None:
        check_positive("dataset.source.memory_gib", memory_gib)
        check_whole("dataset.source.workers", workers, least=0)
        if channels not in (None, 1, 3):
            raise ValueError(f"dataset.source.channels must be 1, 3 or null, got {channels!r}")
        if white is not None:
            check_positive("dataset.source.white", white)
        self._size = None if image_size is None else _parse_size(image_size)
        self._crop = crop
        self._channels = channels
        self._memory_gib = memory_gib
        self._workers = workers
        self._skip_unreadable = skip_unreadable
        self._white = white

    def load(
        self, parts: Mapping[str, Part], class_names: Sequence[str]
    ) -> dict[str, LabelledImages]:
        """Decode all parts, or only look at the headers if they are to stay on disk.

        Raises:
            ValueError: an image is unreadable, a class has no readable one, sizes differ and no
                image_size is given, images of more than 8 bits a channel are all almost black.
        """
        image_format = self._image_format(parts)
        num_images = sum(len(part.labels) for part in parts.values())
        in_memory = num_images * prod(image_format[:3]) <= self._memory_gib * GIB
        read = {
            name: self._read(part.images, image_format, in_memory) for name, part in parts.items()
        }
        found_of = [(parts[name].images, found) for name, (_, found) in read.items()]
        _check_brightness(found_of, self._white)
        return {
            name: self._without_unreadable(name, parts[name].labels, images, found, class_names)
            for name, (images, found) in read.items()
        }

    def _image_format(self, parts: Mapping[str, Part]) -> ImageFormat:
        if self._size is not None and self._channels is not None:
            return ImageFormat(self._channels, *self._size, self._crop, self._white)
        headers = dict(self._headers(parts))
        if not headers:
            raise ValueError("dataset.source must give readable images, got none")
        size = self._size or _common_size(headers)
        channels = self._channels or (1 if all(head.grey for head in headers.values()) else 3)
        return ImageFormat(channels, *size, self._crop, self._white)

    def _headers(self, parts: Mapping[str, Part]) -> Iterator[tuple[str, Header]]:
        """Names and headers of all readable images."""
        for images, _ in parts.values():
            found = attempt_all(partial(read_header, images), range(len(images)))
            for row, header in enumerate(found):
                if isinstance(header, UnreadableImage):
                    self._refuse(header)
                else:
                    yield images.name(row), header

    def _read(
        self, encoded: EncodedImages, image_format: ImageFormat, in_memory: bool
    ) -> tuple[Images, list[Found]]:
        if in_memory:
            return decode_all(encoded, image_format)
        return StoredImages(encoded, image_format, self._workers), self._check_stored(
            encoded, image_format
        )

    def _check_stored(self, images: EncodedImages, image_format: ImageFormat) -> list[Found]:
        """Headers only, except where pixels must be seen: damaged ones to leave out, deep ones."""

        def read(row: int) -> Brightness | None:
            if has_deep_pixels(images, row) or self._skip_unreadable:
                return decode(images, row, image_format).brightness
            return None

        return attempt_all(read, range(len(images)))

    def _without_unreadable(
        self,
        name: str,
        labels: Sequence[int],
        images: Images,
        found: Sequence[Found],
        class_names: Sequence[str],
    ) -> LabelledImages:
        """A part without its unreadable images."""
        loaded = LabelledImages(images, torch.tensor(labels, dtype=torch.int64))
        errors = [error for error in found if isinstance(error, UnreadableImage)]
        if not errors:
            return loaded
        for error in errors:
            self._refuse(error)
            logger.warning("Image left out: %s", error.cause)
        rows = [row for row, error in enumerate(found) if not isinstance(error, UnreadableImage)]
        loaded = loaded.subset(torch.tensor(rows, dtype=torch.int64))
        _check_left(name, labels, loaded.labels.tolist(), class_names)
        return loaded

    def _refuse(self, error: UnreadableImage) -> None:
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
            content = content_sha256(images, row) if reads_content else str(sizes[name][row])
            digest.update(
                f"{images.key(row)}\0{label}\0{content}\0".encode(errors="surrogateescape")
            )
    return digest.hexdigest()


def _common_size(headers: Mapping[str, Header]) -> Size:
    (first, (size, _)), *others = headers.items()
    for name, (other, _) in others:
        if other != size:
            raise ValueError(
                "dataset.source.image_size must be a number of pixels or [H, W] where images "
                f"differ in size, got null for {_sized(first, size)} and {_sized(name, other)}"
            )
    return size


def _check_brightness(
    parts: Sequence[tuple[EncodedImages, Sequence[Found]]], white: float | None
) -> None:
    """With a white far above all values, such as 65535 for those of 12 bits, nothing is seen."""
    deep = [
        (brightness, images.name(row))
        for images, found in parts
        for row, brightness in enumerate(found)
        if isinstance(brightness, Brightness)
    ]
    if not deep or not 0 < max(deep)[0].fraction < DARK:
        return
    brightest, name = max(deep)
    raise ValueError(
        "dataset.source.white must be such that not all images of more than 8 bits a channel are "
        f"almost black ({brightest.remedy}), got {shown(white)} with {len(deep)} such images, the "
        f"brightest value {brightest.value:g} of {brightest.white:g} in {name}"
    )


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
