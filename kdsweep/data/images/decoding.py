"""Decodes the images of a source into the parts of a data set, in memory or on disk."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod

import numpy as np
import torch

from kdsweep.common.disk_cache import DiskCache
from kdsweep.common.machine import usable_cores
from kdsweep.common.validation import (
    check_bool,
    check_option,
    check_positive,
    check_whole,
    parse_image_size,
    require,
    shown,
)
from kdsweep.data.images import encoded
from kdsweep.data.images.content import GIB, Part
from kdsweep.data.images.decoded import Status, are_lasting, load_decoded, packed, unpacked
from kdsweep.data.images.encoded import EncodedImages, ImageFormat, Size, UnreadableImage
from kdsweep.data.images.kept import KeptImages
from kdsweep.data.images.lazy import StoredImages
from kdsweep.data.images.pixels import Brightness
from kdsweep.data.types import INTERPOLATIONS, Decoding, Images, LabelledImages

logger = logging.getLogger(__name__)

AUTO, MOST_WORKERS = "auto", 16
DARK = 1 / 4  # of white: images that stay below it do not use the two highest of their 8 bits


@dataclass(frozen=True)
class ImageDecoder:
    """How a source of encoded images reads them: the options that all such sources share.

    Args:
        image_size: side in pixels, or [H, W]; None: the size of the images, which must be equal.
        crop: images of other proportions are cropped around their centre, not stretched.
        channels: 3 makes every image RGB, 1 grey; None: 1 if all of them are grey, else 3.
        memory_gib: decoded images larger than this stay on disk.
        workers: processes that decode images that stay on disk; 0: only this process; ``auto``: one
            for each core but one, at most 16.
        skip_unreadable: leave unreadable images out, with a warning for each, instead of raising.
            For images that stay on disk this costs one pass of decoding them all.
        white: the value that becomes 255 in images of more than 8 bits a channel; None: 65535 of 16
            bits, 1 of floating-point numbers.
        draft: JPEG files at least twice as large as image_size are decoded at 1/2, 1/4 or 1/8 of
            their size, which is faster, and gives slightly other pixels.
        interpolation: of images that are resized, bilinear or bicubic.
    """

    image_size: int | Sequence[int] | None = None
    crop: bool = False
    channels: int | None = 3
    memory_gib: float = 4.0
    workers: int | str = 2
    skip_unreadable: bool = False
    white: float | None = None
    draft: bool = False
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        check_positive("dataset.source.memory_gib", self.memory_gib)
        if isinstance(self.workers, str):
            allowed = f"{AUTO} or a whole number >= 0"
            require(self.workers == AUTO, "dataset.source.workers", allowed, self.workers)
        else:
            check_whole("dataset.source.workers", self.workers, least=0)
        if self.channels not in (None, 1, 3):
            got = shown(self.channels)
            raise ValueError(f"dataset.source.channels must be 1, 3 or null, got {got}")
        if self.white is not None:
            check_positive("dataset.source.white", self.white)
        check_bool("dataset.source.draft", self.draft)
        check_option("dataset.source.interpolation", self.interpolation, INTERPOLATIONS)
        if self.image_size is not None:
            parse_image_size("dataset.source.image_size", self.image_size)

    @property
    def rules(self) -> Decoding:
        """How an image of any size and depth becomes one of the source."""
        return Decoding(self.crop, self.white, self.draft, self.interpolation)

    @property
    def _num_workers(self) -> int:
        if isinstance(self.workers, str):
            return min(max(usable_cores(physical=False) - 1, 1), MOST_WORKERS)
        return self.workers

    def load(
        self,
        parts: Mapping[str, Part],
        class_names: Sequence[str],
        cache: DiskCache | None = None,
    ) -> dict[str, LabelledImages]:
        """Decode all parts, or read only their headers if they are to stay on disk.

        Args:
            cache: keeps the pixels and what is known of the images; what is there is not read.

        Raises ValueError if an image is unreadable, a class has no readable one, sizes differ and
        no image_size is given, or images of more than 8 bits a channel are all almost black.
        """
        kept = KeptImages(parts, cache)
        image_format = self._image_format(parts, kept)
        num_images = sum(len(part.labels) for part in parts.values())
        in_memory = num_images * prod(image_format[:3]) <= self.memory_gib * GIB
        read = {
            name: self._read(name, part.images, image_format, kept, in_memory)
            for name, part in parts.items()
        }
        _check_brightness(
            [(parts[name].images, status) for name, (_, status) in read.items()], self.white
        )
        return {
            name: self._without_unreadable(
                name,
                LabelledImages(images, torch.tensor(parts[name].labels, dtype=torch.int64)),
                status,
                class_names,
            )
            for name, (images, status) in read.items()
        }

    def _image_format(self, parts: Mapping[str, Part], kept: KeptImages) -> ImageFormat:
        size = (
            None
            if self.image_size is None
            else parse_image_size("dataset.source.image_size", self.image_size)
        )
        channels = self.channels
        if size is None or channels is None:
            form = ("format", size, channels, self.skip_unreadable)
            if (known := kept.read(*form)) is not None:
                height, width, channels = json.loads(known.tobytes())
                size = height, width
            else:
                size, channels = self._common_format(parts, size, channels)
                content = json.dumps([*size, channels]).encode()
                kept.keep([np.frombuffer(content, np.uint8)], *form)
        return ImageFormat(channels, *size, **self.rules._asdict())

    def _common_format(
        self, parts: Mapping[str, Part], size: Size | None, channels: int | None
    ) -> tuple[Size, int]:
        """Size and channels of all images, where they are not given."""
        headers = dict(self._headers(parts))
        if not headers:
            raise ValueError("dataset.source must give readable images, got none")
        is_grey = all(head.grey for head in headers.values())
        return size or _common_size(headers), channels or (1 if is_grey else 3)

    def _headers(self, parts: Mapping[str, Part]) -> Iterator[tuple[str, encoded.Header]]:
        """Names and headers of all readable images."""
        for images, _ in parts.values():
            read, rows = partial(encoded.read_header, images), range(len(images))
            headers = encoded.attempt_all(read, rows, "reading the sizes of images")
            for row, header in enumerate(headers):
                if not isinstance(header, UnreadableImage):
                    yield images.name(row), header
                elif not self.skip_unreadable:
                    raise header

    def _read(
        self,
        part: str,
        images: EncodedImages,
        image_format: ImageFormat,
        kept: KeptImages,
        in_memory: bool,
    ) -> tuple[Images, list[Status]]:
        if in_memory:
            return load_decoded(part, images, image_format, kept)
        stored = StoredImages(images, image_format, self._num_workers, kept.cache)
        form = ("checks", part, *image_format, self.skip_unreadable)
        content = kept.read(*form)
        if content is not None and (known := unpacked(content, images)) is not None:
            return stored, known
        status = self._check(images, image_format)
        if are_lasting(status):
            kept.keep([packed(status, images)], *form)
        return stored, status

    def _check(self, images: EncodedImages, image_format: ImageFormat) -> list[Status]:
        """What can be known of images that stay on disk without decoding all of them."""

        def check(row: int) -> Brightness | None:
            # Pixels are decoded only to skip damaged images and to measure deep ones.
            if encoded.has_deep_pixels(images, row) or self.skip_unreadable:
                return encoded.decode(images, row, image_format).brightness
            return None

        return encoded.attempt_all(check, range(len(images)), "checking images")

    def _without_unreadable(
        self, part: str, loaded: LabelledImages, status: Sequence[Status], names: Sequence[str]
    ) -> LabelledImages:
        """A part without its unreadable images; every class must keep an image."""
        errors = [error for error in status if isinstance(error, UnreadableImage)]
        if not errors:
            return loaded
        if not self.skip_unreadable:
            raise errors[0]
        for error in errors:
            logger.warning("Image left out: %s", error.cause)
        rows = [row for row, error in enumerate(status) if not isinstance(error, UnreadableImage)]
        readable = loaded.subset(torch.tensor(rows, dtype=torch.int64))
        if lost := sorted({*loaded.labels.tolist()} - {*readable.labels.tolist()}):
            raise ValueError(
                "dataset.source must give a readable image of every class, "
                f"got none of {names[lost[0]]!r} in {part}"
            )
        return readable


def _common_size(headers: Mapping[str, encoded.Header]) -> Size:
    (first, (size, _)), *others = headers.items()
    for name, (other, _) in others:
        if other != size:
            raise ValueError(
                "dataset.source.image_size must be a number of pixels or [H, W] where images "
                f"differ in size, got null for {first} ({size[0]} x {size[1]}) and "
                f"{name} ({other[0]} x {other[1]})"
            )
    return size


def _check_brightness(
    parts: Sequence[tuple[EncodedImages, Sequence[Status]]], white: float | None
) -> None:
    """Refuse a white far above all values, such as 65535 for those of 12 bits: all looks black."""
    deep = [
        (brightness, images.name(row))
        for images, status in parts
        for row, brightness in enumerate(status)
        if isinstance(brightness, Brightness)
    ]
    if not deep:
        return
    brightest, name = max(deep)
    if 0 < brightest.fraction < DARK:
        raise ValueError(
            "dataset.source.white must be such that not all images of more than 8 bits a channel "
            f"are almost black ({brightest.remedy}), got {shown(white)} with {len(deep)} such "
            f"images, the brightest value {brightest.value:g} of {brightest.white:g} in {name}"
        )
