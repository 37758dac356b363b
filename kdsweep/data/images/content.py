"""Digests of encoded images: what identifies the content of a data set on every machine."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kdsweep.common.disk_cache import DiskCache
from kdsweep.data.images.encoded import EncodedImages, content_sha256, in_threads
from kdsweep.data.images.file_digests import SHA256, Digests, FileDigests

GIB = 2**30
DIGEST_GIB = 8  # larger sets of encoded images are identified by their sizes, not their content


class Part(NamedTuple):
    """The encoded images of train, val or test, and the class number of each."""

    images: EncodedImages
    labels: Sequence[int]


def content_digest(parts: Mapping[str, Part], cache: DiskCache | None = None) -> str:
    """sha256 over names, labels and bytes of all images, in hex.

    Above 8 GiB it is over names, labels and sizes: reading hundreds of gigabytes before every
    sweep would cost more than the mistakes it prevents.

    Args:
        cache: keeps the digests of files; one that has not changed is not read.
    """
    digest = hashlib.sha256()
    images = {name: part.images for name, part in parts.items()}
    sizes = {name: some.num_bytes() for name, some in images.items()}
    if sum(map(sum, sizes.values())) <= DIGEST_GIB * GIB:
        contents = {name: _in_hex(found) for name, found in file_digests(images, cache).items()}
    else:
        contents = {name: list(map(str, of_part)) for name, of_part in sizes.items()}
    for name, (of_part, labels) in parts.items():
        digest.update(f"{name}\0{len(labels)}\0".encode())
        for row, (label, content) in enumerate(zip(labels, contents[name], strict=True)):
            line = f"{of_part.key(row)}\0{label}\0{content}\0"
            digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def file_digests(
    parts: Mapping[str, EncodedImages], cache: DiskCache | None = None
) -> dict[str, Digests]:
    """The sha256 of each encoded image of each part, (N, 32).

    Raises OSError if one cannot be read.
    """
    known: dict[Path, FileDigests] = {}
    digests = {name: _digests(name, images, cache, known) for name, images in parts.items()}
    for of_root in known.values():
        of_root.save()
    return digests


def _digests(
    name: str, images: EncodedImages, cache: DiskCache | None, known: dict[Path, FileDigests]
) -> Digests:
    what = f"hashing {name} images"
    now, root = time.time_ns(), images.root
    files = None if cache is None or root is None else images.stamps()
    if files is None or root is None:
        return _hashed(images, range(len(images)), what)
    of_root = known[root] = known.get(root) or FileDigests(cache, root)
    digests, is_known = of_root.find(files)
    digests[~is_known] = _hashed(images, np.flatnonzero(~is_known).tolist(), what)
    of_root.note(files, digests, is_known, now)
    return digests


def _hashed(images: EncodedImages, rows: Sequence[int], what: str) -> Digests:
    read = in_threads(lambda row: content_sha256(images, row), rows, what)
    content = b"".join(bytes.fromhex(digest) for digest in read)
    return np.frombuffer(content, np.uint8).reshape(-1, SHA256)


def _in_hex(digests: Digests) -> list[str]:
    content = digests.tobytes().hex()
    return [content[start : start + 2 * SHA256] for start in range(0, len(content), 2 * SHA256)]
