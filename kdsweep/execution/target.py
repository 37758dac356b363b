"""Where runs are recorded, and whether they have finished there."""

from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from kdsweep.common.notices import warn_once
from kdsweep.runs.spec import RunSpec
from kdsweep.tracking.metadata import find_result
from kdsweep.tracking.result import RunResult
from kdsweep.tracking.run_dir import WEIGHTS
from kdsweep.training import checkpoint


class RunTarget(NamedTuple):
    """A run and where it is recorded."""

    spec: RunSpec
    run_dir: Path
    parent_run_id: str | None = None  # MLflow run of its sweep, or of its trial in a search

    @property
    def weights(self) -> Path:
        return self.run_dir / WEIGHTS

    @property
    def checkpoints(self) -> Path:
        return self.run_dir / "checkpoint"

    def lock(self) -> FileLock:
        """A lock in the directory above the run's, held while the run is trained."""
        self.run_dir.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.run_dir.parent / f".{self.run_dir.name}.lock")


class SweepLocation(NamedTuple):
    """The sweep or search that runs belong to, and their teachers and stages with them."""

    folder: Path
    parent_run_id: str | None = None  # its MLflow run


def stage_target(target: RunTarget, sweep: SweepLocation | None) -> RunTarget | None:
    """The stage that a run starts from, in the directory of its sweep; None if there is none."""
    if (stage := target.spec.stage) is None:
        return None
    folder, parent = sweep or SweepLocation(target.run_dir)
    return RunTarget(stage, folder / f"stage-{stage.fingerprint}", parent)


def described_by(spec: RunSpec) -> dict[str, Any]:
    """The fields of a run's `RunResult` that are known before it is trained."""
    return {
        "name": spec.name,
        "role": spec.role,
        "fingerprint": spec.fingerprint,
        "cell": spec.cell.name,
        "seed": spec.config.seed,
        "T": spec.cell.T,
        "alpha": spec.cell.alpha,
        "loss": spec.cell.loss,
        "student": spec.config.student.name,
        "teacher": spec.teacher_name,
    }


def recorded_result(target: RunTarget) -> RunResult | None:
    """The result of this very run in its directory, whatever its status; None if there is none."""
    return find_result(target.run_dir, target.spec.fingerprint)


def finished_result(target: RunTarget) -> RunResult | None:
    """The result of a run that has finished and has its final weights, else None.

    Weights that are not those of the result are damaged; they are logged and count as missing.
    """
    result = recorded_result(target)
    if result is None or result.status != "FINISHED" or not target.weights.is_file():
        return None
    if not checkpoint.has_digest(target.weights, result.weights_sha256):
        text = f"{target.weights} is passed over: it is not what was trained"
        warn_once(text, target.weights.absolute())
        return None
    return result


def has_ended(target: RunTarget) -> bool:
    """Whether a run has finished, or has failed on its own, which it would again."""
    if finished_result(target) is not None:
        return True
    result = recorded_result(target)
    return result is not None and result.status == "FAILED" and not result.with_cohort
