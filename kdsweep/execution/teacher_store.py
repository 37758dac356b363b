"""Frozen teachers: loaded from a given file or from the store, and verified before use."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from kdsweep.builders.class_order import Task
from kdsweep.builders.data import build_splits, teacher_split
from kdsweep.builders.device import resolve_device
from kdsweep.builders.models import (
    build_teacher_network,
    load_checkpoint,
    load_given_weights,
    network_label,
)
from kdsweep.common.pacing import with_lines
from kdsweep.common.types import Batch
from kdsweep.config.run_config import RunConfig
from kdsweep.data.pipeline.split import Dataset
from kdsweep.data.pipeline.stream import Stream
from kdsweep.errors import RunFailed, UserError
from kdsweep.execution.context import TrainingContext, readable_data
from kdsweep.execution.target import RunTarget, finished_result
from kdsweep.execution.teacher_logits import arithmetic_in_training, arithmetic_of, cached_teacher
from kdsweep.runs.spec import RunSpec, TeacherSpec
from kdsweep.runs.units import freeze, taught, teacher_features
from kdsweep.tracking.result import RunResult
from kdsweep.training.arithmetic import BF16, FP32
from kdsweep.training.evaluation import Split
from kdsweep.training.teacher import Ensemble, Teacher
from kdsweep.training.teacher_check import chance_warning, is_near_chance, measured_accuracy
from kdsweep.training.teacher_guard import Deviation, deviation, is_approximate
from kdsweep.training.trainer import AnyTeacher, torch_state, with_teacher

# How far a stored teacher's accuracy may be from its record before it is refused.
TOLERANCE = 0.005


@readable_data()
def load_teacher(specs: Sequence[RunSpec], context: TrainingContext) -> Teacher | Ensemble | None:
    """The frozen teacher of a cohort with every feature its runs require, loaded once.

    Raises RunFailed if the run that trains it has not finished; UserError if its weights do not
    fit, or it does not reach the accuracy in its record.
    """
    spec = taught(specs)
    if spec is None or not spec.teachers:
        return None
    features = teacher_features(specs)
    key = json.dumps([spec.teacher_identity, features, spec.config.trainer.device])
    if key not in context.teachers:
        teachers = [_load(teacher, spec.config, features, context) for teacher in spec.teachers]
        is_ensemble = bool(spec.config.teacher.members)
        context.teachers[key] = Ensemble(teachers) if is_ensemble else teachers[0]
    return context.teachers[key]


def read_teacher(specs: Sequence[RunSpec], dataset: Dataset) -> Teacher | Ensemble | None:
    """The same teacher as `load_teacher`, in a process that need not verify it again."""
    spec = taught(specs)
    if spec is None or not spec.teachers:
        return None
    features = teacher_features(specs)
    teachers = [_read(teacher, spec.config, features, dataset) for teacher in spec.teachers]
    return Ensemble(teachers) if spec.config.teacher.members else teachers[0]


def _load(
    teacher: TeacherSpec, config: RunConfig, features: Sequence[str], context: TrainingContext
) -> Teacher:
    target = None if teacher.run is None else RunTarget(teacher.run, teacher.run_dir)
    record = None if target is None else finished_result(target)
    if target is not None and record is None:
        raise RunFailed(f"{target.spec.name}: its training in {target.run_dir} is not complete")
    dataset = context.dataset(config)
    loaded = _read(teacher, config, features, dataset)
    if target is not None and record is not None:
        is_same = arithmetic_of(teacher) == arithmetic_in_training(target.spec.config)
        is_same &= context.dataset(target.spec.config) is dataset
        _verify(target, record, loaded if is_same else None, context)
    _announce(teacher, loaded, _weights(teacher), config, context)
    return loaded


def _read(
    teacher: TeacherSpec, config: RunConfig, features: Sequence[str], dataset: Dataset
) -> Teacher:
    """A frozen teacher with its weights, from the store or from the file that is given."""
    how, device = teacher.config, resolve_device(config.trainer.device)
    network = build_teacher_network(
        teacher.model, how.seed, dataset, features, teacher.key, image_size=how.image_size
    )
    if teacher.run is None:
        load_given_weights(network.model, teacher.config, teacher.key, Task.of(dataset))
    else:
        load_checkpoint(network.model, _weights(teacher), teacher.key, "store")
    return freeze(network, how.precision, how.memory_format, device, how.logits, how.fold_batchnorm)


def _weights(teacher: TeacherSpec) -> Path:
    if teacher.run is None:
        return Path(teacher.config.given or "")
    return RunTarget(teacher.run, teacher.run_dir).weights


def _announce(
    teacher: TeacherSpec,
    loaded: Teacher,
    weights: Path,
    config: RunConfig,
    context: TrainingContext,
) -> None:
    """Print a teacher's accuracy, once a process, and warn if it is near chance."""
    dataset = context.dataset(config)
    identity = f"{weights.resolve()} {dataset.digest}"
    if identity in context.announced:
        return
    context.announced.add(identity)
    if not loaded.gives_logits:  # nobody knows its accuracy
        return
    split = teacher_split(config, dataset, resolve_device(config.trainer.device))
    cached = cached_teacher(
        loaded, [arithmetic_of(teacher)], config, dataset, context.cache, config.teacher.name
    )
    with torch_state(config.trainer.threads, loaded.device):
        acc = _accuracy(teacher.key, cached, split)
    member = teacher.key.rpartition("teacher.members.")[2]
    name = network_label(teacher.config.name, teacher.model)
    label = name if member in (teacher.key, name) else f"{name} ({member})"
    context.progress.note(f"teacher {label}: {split.name} {100 * acc:.1f} %")
    if is_near_chance(acc, dataset.num_classes):
        names = tuple(dataset.class_names)
        advice = chance_warning(acc, len(split.labels), names, dataset.image_shape)
        context.progress.warning(f"teacher {label}: {advice}")


@readable_data()
def guard_teacher(
    teacher: AnyTeacher | None, spec: RunSpec, stream: Stream, context: TrainingContext
) -> dict[str, str]:
    """What compares a cohort's teachers in bf16 or folded with fp32, by MLflow tag; printed.

    It is measured on the first batch of epoch 0, so it follows from the config of each run.
    ``spec`` is a run that learns from them. Raises UserError if a teacher is too far from fp32.
    """
    if not isinstance(teacher, Teacher | Ensemble):
        return {}
    if not any(is_approximate(one) for one in teacher.teachers):
        return {}
    key = spec.cohort_key  # all that the first batch and the teachers depend on
    if key not in context.guarded:
        context.guarded[key] = _deviations(teacher, spec, stream, context)
    return context.guarded[key]


def _deviations(
    teacher: Teacher | Ensemble, spec: RunSpec, stream: Stream, context: TrainingContext
) -> dict[str, str]:
    tags: dict[str, str] = {}
    with torch_state(spec.config.trainer.threads, stream.device):
        images = next(iter(stream.epoch(0))).as_seen_by_teacher().images
        for one, network in zip(spec.teachers, teacher.teachers, strict=True):
            if (difference := deviation(network, images)) is None:
                continue
            if difference.is_too_large:
                raise UserError(_too_far(one, difference))
            kind = BF16 if network.precision == BF16 else "folded"
            tags[f"{one.key}.{kind}_agreement"] = f"{difference.agreement:.4f}"
            tags[f"{one.key}.{kind}_difference"] = f"{difference.largest:.4g}"
            if (name := f"guarded {one.key} {spec.teacher_identity}") not in context.announced:
                context.announced.add(name)
                folded = f", {len(network.folding)} BatchNorms folded" if network.folding else ""
                how = f"{one.key} in {network.precision}{folded}"
                context.progress.note(f"{how}, first batch: {difference}")
    return tags


def _too_far(teacher: TeacherSpec, difference: Deviation) -> str:
    """The sentence about a teacher that is too far from fp32."""
    config, key = teacher.config, teacher.key
    changed = [
        *([("precision", FP32, config.precision)] if config.precision == BF16 else []),
        *([("fold_batchnorm", "false", "true")] if config.fold_batchnorm else []),
    ]
    allowed = " and ".join(f"{key}.{option} must be {plain}" for option, plain, _ in changed)
    given = " and ".join(str(value) for _, _, value in changed)
    return f"{allowed} with this teacher, got {given}: {difference}"


def _accuracy(key: str, teacher: AnyTeacher, split: Split) -> float:
    """A teacher's accuracy on a split, by its logits in the cache if there are."""

    def batches() -> Iterator[Batch]:
        return with_lines(split.batches(), f"evaluating {key} on {split.name}, batches")

    try:
        return measured_accuracy(with_teacher(replace(split, batches=batches), teacher))
    except ValueError as error:
        raise UserError(f"{key} {error}") from error


def _verify(
    target: RunTarget, record: RunResult, loaded: Teacher | None, context: TrainingContext
) -> None:
    """Evaluate a stored teacher as its own run did, and compare with its record.

    ``loaded``: the teacher, where it is computed as in its own run.
    """
    config, folder = target.spec.config, target.run_dir
    dataset, device = context.dataset(config), resolve_device(config.trainer.device)
    splits = build_splits(config, dataset, device)
    split = splits.get("val", splits["test"])
    teacher = loaded or _as_trained(target, dataset, device)
    how, name = arithmetic_in_training(config), target.spec.name
    cached = cached_teacher(teacher, [how], config, dataset, context.cache, name)
    with torch_state(config.trainer.threads, device):
        measured = _accuracy(f"teacher.store: {folder}", cached, split)
    key = f"{split.name}/acc"
    claimed = record.to_json()[key]
    if claimed is None or abs(measured - claimed) > TOLERANCE:
        raise UserError(
            f"teacher.store: the teacher in {folder} reaches {key} {measured:.4f}, its record"
            f" claims {claimed}; remove the folder to train it again"
        )


def _as_trained(target: RunTarget, dataset: Dataset, device: str) -> Teacher:
    """A stored teacher as it was evaluated at the end of its own run."""
    config = target.spec.config
    student = config.student
    network = build_teacher_network(
        student.model, config.seed, dataset, image_size=student.image_size
    )
    load_checkpoint(network.model, target.weights, "teacher", "store")
    return freeze(network, config.trainer.precision, config.trainer.memory_format, device)
