"""Digests of encoded images: what identifies the content of a data set on every machine."""

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kdsweep.common.disk_cache import DiskCache
from kdsweep.common.pacing import with_lines
from kdsweep.data.images.encoded import EncodedImages, Stamps, content_sha256, in_threads
from kdsweep.data.images.file_digests import KIND, SHA256, Digests, FileDigests, are_settled

GIB = 2**30
WHOLE = "contents"  # the kind of entries of the cache
DIGEST_GIB = 8  # larger sets of encoded images are identified by their sizes, not their content


class Part(NamedTuple):
    """The encoded images of train, val or test, and the class number of each."""

    images: EncodedImages
    labels: Sequence[int]


def read_stamps(parts: Mapping[str, Part], *, anew: bool = False) -> dict[str, Stamps | None]:
    """What changes when a file of a part does; None for parts that are in no files.

    As they were when they were first read, or ``anew``. Raises OSError if a file is missing.
    """
    return {name: part.images.stamps(anew=anew) for name, part in parts.items()}


def is_hashed(parts: Mapping[str, Part], stamps: Mapping[str, Stamps | None]) -> bool:
    """Whether `content_digest` is over the bytes of all images."""
    return sum(map(sum, _sizes(parts, stamps).values())) <= DIGEST_GIB * GIB


def content_digest(
    parts: Mapping[str, Part],
    cache: DiskCache | None = None,
    stamps: Mapping[str, Stamps | None] | None = None,
) -> str:
    """sha256 over names, labels and bytes of all images, in hex.

    Above 8 GiB it is over names, labels and sizes: reading hundreds of gigabytes before every
    sweep would cost more than the mistakes it prevents.

    Args:
        cache: keeps the digest until a file changes, and then those of the files that have not.
        stamps: those of the parts, if they have just been read.
    """
    stamps = read_stamps(parts) if stamps is None else stamps
    state = None if cache is None else _state(parts, stamps)
    if cache is None or state is None:
        return _content_digest(parts, cache, stamps)
    kept = cache.read(WHOLE, state)
    if kept is not None and kept.shape == (SHA256,):
        return kept.tobytes().hex()
    now = time.time_ns()
    digest = _content_digest(parts, cache, stamps)
    marks = [files.marks for files in stamps.values() if files is not None]
    if all(are_settled(of_part, now).all() for of_part in marks):
        with cache.write(WHOLE, state, (SHA256,), np.uint8, "digest of a data set") as array:
            if array is not None:
                array[:] = np.frombuffer(bytes.fromhex(digest), np.uint8)
    return digest


def _state(parts: Mapping[str, Part], stamps: Mapping[str, Stamps | None]) -> str | None:
    """Changes whenever the digest does, and is computed faster; None if not all are in files."""
    state = hashlib.sha256(str(DIGEST_GIB).encode())
    for name, part in parts.items():
        if (files := stamps[name]) is None:
            return None
        labels = np.array(part.labels, np.int64)
        head = (
            name,
            files.paths.shape,
            files.paths.dtype.str,
            os.path.realpath(part.images.root or ""),
        )
        state.update(repr(head).encode(errors="surrogateescape"))
        for array in (files.paths, files.marks, labels):
            state.update(np.ascontiguousarray(array).data)
    return state.hexdigest()


def _content_digest(
    parts: Mapping[str, Part], cache: DiskCache | None, stamps: Mapping[str, Stamps | None]
) -> str:
    digest = hashlib.sha256()
    if is_hashed(parts, stamps):
        images = {name: part.images for name, part in parts.items()}
        digests = file_digests(images, cache, stamps)
        contents = {name: _in_hex(of_part) for name, of_part in digests.items()}
    else:
        contents = {name: [*map(str, some)] for name, some in _sizes(parts, stamps).items()}
    for name, (of_part, labels) in parts.items():
        digest.update(f"{name}\0{len(labels)}\0".encode())
        rows = with_lines(range(len(labels)), f"digest of the list of {name} images")
        for row, label, content in zip(rows, labels, contents[name], strict=True):
            line = f"{of_part.key(row)}\0{label}\0{content}\0"
            digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def _sizes(
    parts: Mapping[str, Part], stamps: Mapping[str, Stamps | None]
) -> dict[str, Sequence[int]]:
    """The encoded size of each image of each part."""
    return {
        name: part.images.num_bytes() if files is None else files.marks[:, 0].tolist()
        for (name, part), files in zip(parts.items(), stamps.values(), strict=True)
    }


def file_digests(
    parts: Mapping[str, EncodedImages],
    cache: DiskCache | None = None,
    stamps: Mapping[str, Stamps | None] | None = None,
) -> dict[str, Digests]:
    """The sha256 of each encoded image of each part, (N, 32).

    Raises OSError if one cannot be read.
    """
    if stamps is None:
        stamps = {name: images.stamps() for name, images in parts.items()}
    known: dict[Path, FileDigests] = {}
    digests = {
        name: _digests(name, images, None if cache is None else stamps[name], cache, known)
        for name, images in parts.items()
    }
    for of_root in known.values():
        of_root.save()
    return digests


def _digests(
    name: str,
    images: EncodedImages,
    files: Stamps | None,
    cache: DiskCache | None,
    known: dict[Path, FileDigests],
) -> Digests:
    what = f"hashing {name} images"
    now, root = time.time_ns(), images.root
    if files is None or root is None:
        return _of_table(images, cache, what)
    of_root = known[root] = known.get(root) or FileDigests(cache, root)
    digests, is_known = of_root.find(files)
    digests[~is_known] = _hashed(images, np.flatnonzero(~is_known).tolist(), what)
    of_root.note(files, digests, is_known, now)
    return digests


def _of_table(images: EncodedImages, cache: DiskCache | None, what: str) -> Digests:
    """The digests of images in a table, kept until one of its files changes."""
    state = None if cache is None else images.table_state()
    if cache is None or state is None:
        return _hashed(images, range(len(images)), what)
    key, shape = hashlib.sha256(state.encode()).hexdigest(), (len(images), SHA256)
    kept = cache.read(KIND, key)
    if kept is not None and kept.shape == shape:
        return np.array(kept)
    digests = _hashed(images, range(len(images)), what)
    if images.table_state() == state:
        with cache.write(KIND, key, shape, np.uint8, "digests of images in a table") as array:
            if array is not None:
                array[:] = digests
    return digests


def _hashed(images: EncodedImages, rows: Sequence[int], what: str) -> Digests:
    read = in_threads(lambda row: content_sha256(images, row), rows, what)
    content = b"".join(bytes.fromhex(digest) for digest in read)
    return np.frombuffer(content, np.uint8).reshape(-1, SHA256)


def _in_hex(digests: Digests) -> list[str]:
    content = digests.tobytes().hex()
    return [content[start : start + 2 * SHA256] for start in range(0, len(content), 2 * SHA256)]
