"""The manifest of a run that has just finished."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from kdsweep.data.pipeline.split import Dataset
from kdsweep.deploy.architecture import described, expectation
from kdsweep.deploy.manifest import Manifest
from kdsweep.deploy.preprocessing import Preprocessing
from kdsweep.runs.spec import RunSpec, TeacherSpec
from kdsweep.tracking.result import RESULT_KEYS

LATENCY = "latency_ms"  # a timing: of the machine, not of the weights


def manifest_of(
    spec: RunSpec,
    dataset: Dataset,
    model: nn.Module,
    metrics: Mapping[str, float],
    weights_sha256: str | None = None,
) -> Manifest:
    """What is needed to load the weights of a run.

    Args:
        spec: of the run.
        dataset: that it was trained and evaluated on.
        model: its network.
        metrics: by their names, `test/acc`; those that `result.json` has are kept.
    """
    config = spec.config
    return Manifest(
        model=described(config.student.model, dataset.image_shape, dataset.num_classes),
        classes=dataset.class_names,
        preprocessing=Preprocessing.of(dataset),
        precision=config.trainer.precision,
        weights_sha256=weights_sha256,
        run={
            "name": spec.name,
            "role": spec.role,
            "cell": spec.cell.name,
            "seed": config.seed,
            "fingerprint": spec.fingerprint,
            "student": config.student.name,
            "dataset": config.dataset.name,
            "metrics": {k: v for k, v in metrics.items() if k in RESULT_KEYS and k != LATENCY},
        },
        teachers=tuple(map(_teacher, spec.teachers)) + _online(spec),
        **expectation(model),
    )


def _teacher(teacher: TeacherSpec) -> dict[str, Any]:
    name = teacher.config.name
    if teacher.run is not None:
        return {"name": name, "fingerprint": teacher.run.fingerprint}
    return {"name": name, "model": teacher.model, "weights": teacher.config.checkpoint}


def _online(spec: RunSpec) -> tuple[dict[str, Any], ...]:
    online = spec.online_teacher
    if online is None:
        return ()
    return ({"name": online.config.student.name, "fingerprint": online.fingerprint},)
