"""A run's fingerprint: a hash of everything that decides its numbers."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from kdsweep.builders.own_source import with_sources
from kdsweep.config.added_keys import (
    is_of_kdsweep,
    without_added,
    without_added_augmentations,
    without_added_data,
    without_added_of_model,
)
from kdsweep.config.run_config import MEMBER_NAME, RunConfig, to_values

# Raised whenever a change of kdsweep alters the numbers that a config produces.
NUMERICS = 5

# Keys of a student that count in another form, or only with others: the model has `drop_path`.
ELSEWHERE = ("features", "start", "start_match", "drop_path", "image_size")

# Options of a data source that locate its files or set how they are read: no pixel depends on them,
# and labels are part of the digest.
READING = ("root", "path", "csv", "nested", "memory_gib", "workers")
ADDED_READING = ("draft",)  # later, and without effect if false


def fingerprint(
    config: RunConfig,
    *,
    digests: Mapping[str, str],
    device: str,
    teacher: Any = None,
    stage: str | None = None,
) -> str:
    """16 hexadecimal digits that depend on all that decides a run's numbers.

    Equal values have equal fingerprints, however they are written: `T=4` and `T=4.0`. The source of
    the user's own parts counts, too (`with_sources`).

    Args:
        digests: of the contents that the config only names: `dataset`, and paths of checkpoints.
        device: what `trainer.device` resolves to; only its kind counts.
        teacher: the identity of the teacher (`teacher_identity`); None if no loss term requires
            one, so that it does not count.
        stage: the fingerprint of the stage whose weights the run starts from.
    """
    keys = ("loss", "optimizer", "schedule", "hard", "hard_weight", "seed")
    values = to_values(config)
    identity: dict[str, Any] = {key: values[key] for key in keys}
    data = without_added_data(values["dataset"])
    source = source_identity(data["source"])
    augment = augment_identity(data["augment"])
    identity["dataset"] = {**data, "source": source, "root": None, "augment": augment}
    identity["trainer"] = {**without_added(values["trainer"]), "device": device.split(":")[0]}
    identity["alpha"] = config.alpha if config.alpha_weighted else None
    identity["digests"] = {"dataset": digests["dataset"]}
    identity["student"] = student_identity(values["student"], digests)
    identity["numerics"] = NUMERICS
    if config.member_name is not None:
        identity[MEMBER_NAME] = config.member_name
    if teacher is not None:
        identity["teacher"] = teacher
    if stage is not None:
        identity["begins_with"] = stage
    return _digest(json.dumps(_canonical(with_sources(identity)), sort_keys=True))


def source_identity(source: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a data source that its pixels depend on."""
    added = ADDED_READING if is_of_kdsweep(source) else ()
    left_out = {*READING} | {key for key in added if source.get(key) is False}
    return {key: value for key, value in source.items() if key not in left_out}


def augment_identity(augment: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an augmentation, those of the user's with their order, in which they follow."""
    values = without_added_augmentations(augment)
    return {**values, "own": list(values["own"].items())} if "own" in values else values


def peer_fingerprint(run: str, name: str) -> str:
    """The fingerprint of a peer of the run with fingerprint `run`."""
    return _digest(f"{run} peer {name}")


def student_identity(student: Mapping[str, Any], digests: Mapping[str, str]) -> dict[str, Any]:
    """A student with the content of its weights; its features count where a term names them."""
    path, start = student["checkpoint"], student["start"]
    rest = {k: v for k, v in student.items() if k not in ELSEWHERE}
    rest["model"] = without_added_of_model(student["model"])
    identity = {**rest, "checkpoint": None if path is None else digests[path]}
    if start is not None:  # so that an earlier run is the same without the key
        identity |= {"start": digests[start], "start_match": student["start_match"]}
    if student["image_size"] is not None:
        identity["image_size"] = student["image_size"]
    return identity


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _canonical(value: Any) -> Any:
    """Numbers in one form, so that 4, 4.0 and 4e0 are the same."""
    if isinstance(value, dict):
        return {str(key): _canonical(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(child) for child in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
