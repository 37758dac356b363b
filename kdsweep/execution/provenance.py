"""What a finished run was trained from and with, so that it can be trained again and compared."""

from typing import Any

from kdsweep.builders.device import resolve_device
from kdsweep.builders.own_source import own_sources
from kdsweep.config.run_config import derived_values, to_values
from kdsweep.execution.target import RunTarget, finished_result
from kdsweep.runs.fingerprint import NUMERICS
from kdsweep.runs.spec import RunSpec, TeacherSpec
from kdsweep.tracking.environment import environment

SOURCE = "source"  # of a module of the user's


def provenance(spec: RunSpec) -> dict[str, Any]:
    """What `result.json` holds of it: `environment`, `inputs`, and `derived` (`derived_values`)."""
    return {
        "environment": run_environment(spec),
        "inputs": input_digests(spec),
        "derived": derived_values(spec.config),
    }


def run_environment(spec: RunSpec) -> dict[str, str]:
    """The software and the machine of a run by name, and what its networks are computed in."""
    trainer = spec.config.trainer
    return {
        **environment(resolve_device(trainer.device)),
        "threads": str(trainer.threads),
        "numerics": str(NUMERICS),
        "precision": trainer.precision,
        "memory_format": trainer.memory_format,
        **teacher_arithmetic(spec),
    }


def teacher_arithmetic(spec: RunSpec) -> dict[str, str]:
    """How the logits of each frozen teacher of a run are computed, by config key."""
    return {
        f"{teacher.key}.{option}": str(getattr(teacher.config, option))
        for teacher in spec.teachers
        for option in ("precision", "memory_format", "logits", "fold_batchnorm")
    }


def input_digests(spec: RunSpec) -> dict[str, str]:
    """The digests of the data and of all weights that a run is given, by config key.

    A teacher that is not trained yet has none. Also of the user's own modules, `source mynet`.
    """
    own = {
        "student.checkpoint": spec.config.student.checkpoint,
        "student.start": spec.config.student.start,
    }
    given = {key: spec.digests[file] for key, file in own.items() if file is not None}
    teachers = {teacher.key: _digest(teacher, spec) for teacher in spec.teachers}
    sources = own_sources(to_values(spec.config))
    return {
        "dataset": spec.digests["dataset"],
        **given,
        **{key: digest for key, digest in teachers.items() if digest is not None},
        **{f"{SOURCE} {module}": digest for module, digest in sources.items()},
    }


def _digest(teacher: TeacherSpec, spec: RunSpec) -> str | None:
    if teacher.run is None:
        return spec.digests[str(teacher.config.given)]
    result = finished_result(RunTarget(teacher.run, teacher.run_dir))
    return None if result is None else result.weights_sha256
