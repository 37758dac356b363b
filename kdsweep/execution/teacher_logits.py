"""The cache of a teacher's logits: what identifies them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdsweep.builders.data import evaluation_batch
from kdsweep.builders.device import resolve_device
from kdsweep.builders.own_source import with_sources
from kdsweep.common.disk_cache import DiskCache
from kdsweep.common.machine import cpu_model, kernel_variables
from kdsweep.config.run_config import RunConfig, to_values
from kdsweep.data.images.kept import decoder
from kdsweep.data.pipeline.split import Dataset
from kdsweep.execution.context import TrainingContext
from kdsweep.models.components.source_code import source_digest
from kdsweep.runs.fingerprint import NUMERICS, augment_identity, source_identity
from kdsweep.runs.spec import RunSpec, TeacherSpec
from kdsweep.runs.units import taught, teacher_features
from kdsweep.training.arithmetic import computes_bf16
from kdsweep.training.logit_cache import CachedTeacher
from kdsweep.training.teacher import Ensemble, Teacher

Arithmetic = Mapping[str, Any]  # what a network is, and how it is computed, as plain values


def with_logit_cache(
    teacher: Teacher | Ensemble | None,
    specs: Sequence[RunSpec],
    dataset: Dataset,
    context: TrainingContext,
) -> CachedTeacher | Teacher | Ensemble | None:
    """The frozen teacher of a cohort, with a cache for its logits if no run reads its features."""
    spec = taught(specs)
    if teacher is None or spec is None or teacher_features(specs):
        return teacher
    how = [arithmetic_of(one) for one in spec.teachers]
    name = spec.config.teacher.name
    return cached_teacher(teacher, how, spec.config, dataset, context.cache, name)


def cached_teacher(
    teacher: Teacher | Ensemble,
    how: Sequence[Arithmetic],
    config: RunConfig,
    dataset: Dataset,
    cache: DiskCache,
    name: str,
    width: int | None = None,
) -> CachedTeacher | Teacher | Ensemble:
    """A teacher with a cache for its logits in the stream and on the splits of a run, if it is on.

    Args:
        how: of the teacher, or of each member of an ensemble.
        width: of its logits; None: one for each class.
    """
    if cache.limit <= 0:
        return teacher
    return CachedTeacher(
        teacher,
        cache,
        identity=_identity(teacher, how, config, dataset),
        stream=_stream_identity(config),
        num_classes=width or dataset.num_classes,
        description=(
            f"{name} on {dataset.name}, seed {config.seed}, batches of {config.trainer.batch_size}"
        ),
    )


def arithmetic_of(teacher: TeacherSpec) -> Arithmetic:
    """What a teacher of a run is, and how its logits are computed."""
    keys = ("precision", "memory_format", "logits", "fold_batchnorm", "image_size")
    return {"model": teacher.model, **{key: getattr(teacher.config, key) for key in keys}}


def arithmetic_in_training(config: RunConfig) -> Arithmetic:
    """The same of the network that a run trains, as it is evaluated in that run."""
    trainer = config.trainer
    how = {"precision": trainer.precision, "memory_format": trainer.memory_format}
    how |= {"logits": "fp32", "image_size": config.student.image_size}
    return {"model": config.student.model, **how, "fold_batchnorm": False}


def _identity(
    teacher: Teacher | Ensemble, how: Sequence[Arithmetic], config: RunConfig, dataset: Dataset
) -> dict[str, Any]:
    """All that decides the bits of a teacher's logits on the splits of a run's data."""
    parts = [one for one in (dataset.train, dataset.val, dataset.test) if one is not None]
    return {
        "numerics": NUMERICS,
        # A store may hold other weights by now, trained by another machine or version.
        "teachers": [
            {
                "weights": one.weights_sha256,
                "code": source_digest(one.network.model),
                **with_sources(arithmetic),
            }
            for one, arithmetic in zip(teacher.teachers, how, strict=True)
        ],
        "is_ensemble": isinstance(teacher, Ensemble),
        "computed_by": _machine(config),
        "data": [dataset.digest, dataset.image_shape, dataset.mean, dataset.std],
        "view": repr(dataset.view),
        # Zero-shot teachers have their logits in the order of these names.
        "classes": list(dataset.class_names),
        # The digest of images that stay on disk is that of their files, of many of their sizes.
        "decoded": [source_identity(config.dataset.source), *decoder()],
        "files": [part.images.state for part in parts if not isinstance(part.images, Tensor)],
        "sizes": [len(part.labels) for part in parts],
        "batch_size": evaluation_batch(config),  # kernels round by the size of a batch
    }


def _stream_identity(config: RunConfig) -> dict[str, Any]:
    """What else decides them in every epoch of a run's stream."""
    return {
        "seed": config.seed,
        "batch_size": config.trainer.batch_size,
        "view": config.teacher.view,
        "interpolation": config.dataset.interpolation,
        "augment": with_sources(augment_identity(to_values(config.dataset.augment))),
        "numpy": np.__version__,  # draws how mixup and cutmix mix
    }


def _machine(config: RunConfig) -> dict[str, Any]:
    """What chooses the kernels of a forward pass, and so its last bits."""
    device = torch.device(resolve_device(config.trainer.device))
    on_cuda = device.type == "cuda"
    return {
        "torch": torch.__version__,
        "threads": config.trainer.threads,
        "device": device.type,
        "cuda": [torch.cuda.get_device_name(device), torch.backends.cudnn.version()]
        if on_cuda
        else None,
        "cpu": [cpu_model(), torch.backends.cpu.get_cpu_capability(), computes_bf16("cpu")],
        "variables": kernel_variables(),
    }
