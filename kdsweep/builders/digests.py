"""Digests of the contents that a config only names: its data and files of weights."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from kdsweep.builders.class_order import known_labels, positions
from kdsweep.builders.instantiate import naming_key
from kdsweep.builders.sources import DataSources
from kdsweep.common.disk_cache import DiskCache
from kdsweep.config.allow import is_own
from kdsweep.config.run_config import ResolvedPeer, ResolvedTeacher, RunConfig
from kdsweep.config.schema import StudentConfig
from kdsweep.errors import UserError
from kdsweep.models.offered_features import TRANSFORMERS
from kdsweep.training.weight_match import split_selection


def content_digests(config: RunConfig, sources: DataSources | None = None) -> dict[str, str]:
    """The digest of the data, under `dataset`, and of given checkpoints, under their path.

    Where the logits of a network are put in the order of the data set's classes, by their names,
    the digest of its weights is of these names, too.

    ``sources``: those of the command, if they are used again.

    Raises UserError if something named is not there.
    """
    kept = DiskCache(Path(config.cache.folder), config.cache.gib)
    known, source = sources or DataSources(), config.dataset.source
    with naming_key("dataset.source", source) if is_own(source) else naming_key("dataset"):
        digests = {"dataset": known.digest(config.dataset, kept)}
    named = [*_files("student", config.student), *_teacher_files("teacher", config.teacher)]
    for key, word, model in named:
        path, part = split_selection(word)
        if not path.is_file():
            raise UserError(f"{key} must be a file of weights, got {path}, which does not exist")
        status = path.stat()
        digest = _file_digest(path, part, status.st_mtime_ns, status.st_size)
        labels = known_labels(word) or ()
        if _is_zero_shot(model) or labels:
            with naming_key("dataset"):
                classes = known.class_names(config.dataset, kept)
            if _is_zero_shot(model) or positions(labels, classes) is not None:
                digest = _digest_in_order(digest, classes)
        digests[word] = digest
    return digests


def _is_zero_shot(model: Mapping[str, Any] | None) -> bool:
    """Whether a network classifies by embeddings of texts, which its folder or a file has."""
    node = model or {}
    is_of_texts = any(node.get(key) is not None for key in ("texts", "classes"))
    return node.get("_target_") == TRANSFORMERS and is_of_texts


def _digest_in_order(digest: str, classes: Sequence[str]) -> str:
    """Of weights from which a network gets its logits in the order of these names."""
    return hashlib.sha256(json.dumps([digest, *classes]).encode()).hexdigest()


@cache
def _file_digest(path: Path, part: str | None, mtime_ns: int, size: int) -> str:
    """Of a file and the name of its part. Cached: the trials of a search share a teacher."""
    content = path.read_bytes() + (b"" if part is None else f":{part}".encode())
    return hashlib.sha256(content).hexdigest()


def _files(
    key: str, node: StudentConfig | ResolvedPeer | ResolvedTeacher
) -> Iterator[tuple[str, str, dict[str, Any] | None]]:
    """The files of weights of a network, by their config key, and its config node."""
    for option in ("checkpoint", "start"):
        if (word := getattr(node, option)) is not None:
            yield f"{key}.{option}", word, node.model


def _teacher_files(
    key: str, node: ResolvedTeacher | ResolvedPeer
) -> Iterator[tuple[str, str, dict[str, Any] | None]]:
    """The same of a teacher and of those below it."""
    yield from _files(key, node)
    if isinstance(node, ResolvedPeer):
        return
    if node.teacher is not None:
        yield from _teacher_files(f"{key}.teacher", node.teacher)
    for name, member in node.members.items():
        yield from _teacher_files(f"{key}.members.{name}", member)
    for name, peer in node.peers.items():
        yield from _teacher_files(f"{key}.peers.{name}", peer)
