"""What has been computed of encoded images already, kept between commands."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import __version__ as pillow
from PIL import features

from kdsweep.common.disk_cache import DiskCache
from kdsweep.data.images.content import Part, content_digest, is_hashed, read_stamps
from kdsweep.data.images.encoded import Stamps

KIND = "images"
DECODING = 1  # raised whenever equal files give other pixels, or other messages about them

Bytes = NDArray[np.uint8]  # (number of bytes,)


def decoder() -> list[Any]:
    """What decides the pixels of an image apart from its bytes and the format that is asked for."""
    return [DECODING, pillow, features.version("libjpeg_turbo")]  # Pillow may be built with another


class KeptImages:
    """Bytes about the images of one data set, found again as long as its content is the same.

    Args:
        cache: where they are kept; None, or one that is off: nowhere, and nothing is hashed.
    """

    def __init__(self, parts: Mapping[str, Part], cache: DiskCache | None) -> None:
        self._parts = parts
        self.cache = cache if cache is not None and cache.limit > 0 else None
        self._stamps: dict[str, Stamps | None] = {}
        self._content: str | None = None
        if self.cache is not None:
            with suppress(OSError):  # an image cannot be read, which is reported when it is decoded
                self._stamps = read_stamps(parts)
                self._content = _content(parts, self.cache, self._stamps)

    def read(self, *form: Any) -> Bytes | None:
        """What was kept in this form, read-only; None if nothing was."""
        if self.cache is None or self._content is None:
            return None
        return self.cache.read(KIND, self._key(form))

    def keep(self, content: Sequence[Bytes], *form: Any) -> None:
        """Keep these bytes, one after the other, unless a file has changed in the meantime."""
        if self.cache is None or self._content is None or not self._is_unchanged():
            return
        size, key = sum(map(len, content)), self._key(form)
        self.cache.discard(KIND, key)  # one that could not be used
        with self.cache.write(KIND, key, (size,), np.uint8, self._about()) as kept:
            if kept is not None:
                np.concatenate(content, out=kept)

    def _key(self, form: Sequence[Any]) -> str:
        words = [*decoder(), self._content, *form]
        return hashlib.sha256(json.dumps(words).encode()).hexdigest()

    def _is_unchanged(self) -> bool:
        try:
            now = read_stamps(self._parts, anew=True)
        except OSError:  # a file is gone
            return False
        return all(_is_equal(now[name], before) for name, before in self._stamps.items())

    def _about(self) -> str:
        roots = {str(part.images.root or "a table") for part in self._parts.values()}
        return f"decoded images of {' and '.join(sorted(roots))}"


def _is_equal(one: Stamps | None, other: Stamps | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one.marks, other.marks)


def _content(
    parts: Mapping[str, Part], cache: DiskCache, stamps: Mapping[str, Stamps | None]
) -> str | None:
    """Identifies the content of images; None if that would take as long as reading them."""
    digest = content_digest(parts, cache, stamps)
    if is_hashed(parts, stamps):
        return digest
    known = hashlib.sha256(digest.encode())  # of names and sizes only
    for name, of_part in stamps.items():
        if of_part is None:
            return None
        known.update(f"\0{parts[name].images.root}\0".encode(errors="surrogateescape"))
        known.update(of_part.marks.tobytes())
    return known.hexdigest()
