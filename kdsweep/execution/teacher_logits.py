"""The logit cache of a cohort: what identifies the logits of its teacher."""

from collections.abc import Sequence
from typing import Any

import torch

from kdsweep.builders.device import resolve_device
from kdsweep.config.run_config import RunConfig, to_values
from kdsweep.data.pipeline.split import Dataset
from kdsweep.execution.context import TrainingContext
from kdsweep.runs.fingerprint import NUMERICS
from kdsweep.runs.spec import RunSpec, TeacherSpec
from kdsweep.runs.units import taught, teacher_features
from kdsweep.training.arithmetic import computes_bf16
from kdsweep.training.checkpoint import sha256
from kdsweep.training.logit_cache import CachedTeacher
from kdsweep.training.teacher import Ensemble, Teacher


def with_logit_cache(
    teacher: Teacher | Ensemble | None,
    specs: Sequence[RunSpec],
    dataset: Dataset,
    context: TrainingContext,
) -> CachedTeacher | Teacher | Ensemble | None:
    """The frozen teacher of a cohort, with a cache for its logits if no run reads its features."""
    spec = taught(specs)
    if teacher is None or spec is None or context.cache.limit <= 0 or teacher_features(specs):
        return teacher
    config = spec.config
    return CachedTeacher(
        teacher,
        context.cache,
        identity=_identity(teacher, spec, dataset),
        num_classes=dataset.num_classes,
        description=(
            f"{config.teacher.name} on {dataset.name}, seed {config.seed}, batches of"
            f" {config.trainer.batch_size}"
        ),
    )


def _identity(teacher: Teacher | Ensemble, spec: RunSpec, dataset: Dataset) -> dict[str, Any]:
    """All that decides the bits of a teacher's logits in every epoch of a stream."""
    config = spec.config
    parts = (dataset.train, dataset.val, dataset.test)
    return {
        "numerics": NUMERICS,
        # A store may hold other weights by now, trained by another machine or version.
        "teachers": [
            _teacher_identity(one, network.model)
            for one, network in zip(spec.teachers, teacher.networks, strict=True)
        ],
        "is_ensemble": isinstance(teacher, Ensemble),
        "computed_by": _machine(config),
        "data": [dataset.digest, dataset.image_shape, dataset.mean, dataset.std],
        "sizes": [None if part is None else len(part.labels) for part in parts],
        "seed": config.seed,
        "batch_size": config.trainer.batch_size,  # kernels round by the size of a batch
        "augment": to_values(config.dataset.augment),  # mixup and cutmix among it
    }


def _teacher_identity(teacher: TeacherSpec, network: torch.nn.Module) -> dict[str, Any]:
    keys = ("precision", "memory_format", "logits")
    how = {key: getattr(teacher.config, key) for key in keys}
    return {"model": teacher.model, "weights": sha256(network), **how}


def _machine(config: RunConfig) -> dict[str, Any]:
    """What chooses the kernels of a forward pass, and so its last bits."""
    device = torch.device(resolve_device(config.trainer.device))
    return {
        "torch": torch.__version__,
        "threads": config.trainer.threads,
        "device": device.type,
        "cuda": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "cpu": [torch.backends.cpu.get_cpu_capability(), computes_bf16("cpu")],
    }
