"""Digests of the contents that a config only names: its data and files of weights."""

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from kdsweep.builders.instantiate import naming_key
from kdsweep.builders.sources import DataSources
from kdsweep.common.disk_cache import DiskCache
from kdsweep.config.allow import is_own
from kdsweep.config.run_config import ResolvedPeer, ResolvedTeacher, RunConfig
from kdsweep.config.schema import StudentConfig
from kdsweep.errors import UserError
from kdsweep.training.weight_match import split_selection


def content_digests(config: RunConfig, sources: DataSources | None = None) -> dict[str, str]:
    """The digest of the data, under `dataset`, and of given checkpoints, under their path.

    ``sources``: those of the command, if they are used again.

    Raises UserError if something named is not there.
    """
    kept = DiskCache(Path(config.cache.folder), config.cache.gib)
    source = config.dataset.source
    with naming_key("dataset.source", source) if is_own(source) else naming_key("dataset"):
        digests = {"dataset": (sources or DataSources()).digest(config.dataset, kept)}
    named = [*_files("student", config.student), *_teacher_files("teacher", config.teacher)]
    for key, word in named:
        if word is None:
            continue
        path, part = split_selection(word)
        if not path.is_file():
            raise UserError(f"{key} must be a file of weights, got {path}, which does not exist")
        status = path.stat()
        digests[word] = _file_digest(path, part, status.st_mtime_ns, status.st_size)
    return digests


@cache
def _file_digest(path: Path, part: str | None, mtime_ns: int, size: int) -> str:
    """Of a file and the name of its part. Cached: the trials of a search share a teacher."""
    content = path.read_bytes() + (b"" if part is None else f":{part}".encode())
    return hashlib.sha256(content).hexdigest()


def _files(
    key: str, node: StudentConfig | ResolvedPeer | ResolvedTeacher
) -> Iterator[tuple[str, str | None]]:
    yield f"{key}.checkpoint", node.checkpoint
    yield f"{key}.start", node.start


def _teacher_files(
    key: str, node: ResolvedTeacher | ResolvedPeer
) -> Iterator[tuple[str, str | None]]:
    """The files of weights of a teacher and of those below it, by their config key."""
    yield from _files(key, node)
    if isinstance(node, ResolvedPeer):
        return
    if node.teacher is not None:
        yield from _teacher_files(f"{key}.teacher", node.teacher)
    for name, member in node.members.items():
        yield from _teacher_files(f"{key}.members.{name}", member)
    for name, peer in node.peers.items():
        yield from _teacher_files(f"{key}.peers.{name}", peer)
