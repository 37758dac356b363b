"""Records one run: its directory, MLflow, checkpoints and the display."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from kdsweep.builders.device import resolve_device
from kdsweep.common.files import drop_drafts
from kdsweep.common.nested import leaves
from kdsweep.config.run_config import to_values
from kdsweep.data.pipeline.split import Dataset
from kdsweep.deploy.manifest import write_manifest
from kdsweep.deploy.of_run import manifest_of_run
from kdsweep.execution.context import TrainingContext
from kdsweep.execution.provenance import provenance, teacher_arithmetic
from kdsweep.execution.target import RunTarget, described_by
from kdsweep.plotting.confusion import draw_confusion as confusion_plot
from kdsweep.plotting.curves import draw_curves as curves_plot
from kdsweep.plotting.drawing import warn_on_failure
from kdsweep.runs.spec import RunSpec
from kdsweep.tracking.recorder import Recorder, RunInfo
from kdsweep.tracking.result import RESULT_KEYS, RunResult
from kdsweep.tracking.run_dir import read_rows
from kdsweep.training import checkpoint
from kdsweep.training.gradients import RATIO
from kdsweep.training.profiling import storage_size
from kdsweep.training.student import Student

# Called after each epoch with (spec, epochs trained, metrics); a reason stops the run as PRUNED.
EpochCallback = Callable[[RunSpec, int, dict[str, float]], str | None]


class CheckpointThrottle:
    """Limits checkpoints to one per `checkpoint_seconds`, so that they do not dominate the time.

    All students of a unit share it, because they can only be resumed together. Which epochs are
    kept never alters a number: resuming from any of them gives the same bits.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds, self._last = seconds, time.monotonic()
        self._epoch, self._due = 0, False

    def is_due(self, epoch: int) -> bool:
        """Whether a checkpoint of this epoch is to be written."""
        if epoch != self._epoch:
            now = time.monotonic()
            self._epoch, self._due = epoch, now - self._last >= self._seconds
            self._last = now if self._due else self._last
        return self._due


class RunWriter:
    """Writes what happens to one student into its run's directory, and to MLflow."""

    def __init__(
        self,
        target: RunTarget,
        student: Student,
        context: TrainingContext,
        dataset: Dataset,
        throttle: CheckpointThrottle,
        on_epoch: EpochCallback | None = None,
    ) -> None:
        self.target, self.student, self.context, self.dataset = target, student, context, dataset
        self.spec, self.folder = target.spec, target.run_dir
        self.throttle, self.on_epoch, self.pruned = throttle, on_epoch, False
        self.recorded = 0  # epochs whose metrics are written
        self.metrics: dict[str, float] = {}
        self.tags: dict[str, str] = {}  # of MLflow, about its teacher
        self.ended: RunResult | None = None
        self.recorder = Recorder(
            target.run_dir,
            store=context.store,
            uploads=context.uploads,
            tensorboard=context.options.tensorboard,
        )

    @property
    def bytes_left(self) -> int:
        """What it would still write: two checkpoints, and its final weights."""
        if self.ended is not None and self.ended.status == "FINISHED":
            return 0
        own = storage_size([self.student])
        final = len(self.student.models) * own.weights
        return checkpoint.KEPT * (own.weights + own.rest) + final

    @property
    def saved(self) -> checkpoint.Saved:
        """The student and the directory of its checkpoints."""
        return checkpoint.Saved(self.target.checkpoints, self.student, self.spec.fingerprint)

    def start(self) -> None:
        """Open the run at its student's epoch."""
        self.context.run_dirs.add(self.folder)
        for folder in (self.folder, self.target.checkpoints):
            drop_drafts(folder)
        spec, dataset = self.spec, self.dataset
        info = RunInfo(
            name=spec.name,
            role=spec.role,
            fingerprint=spec.fingerprint,
            cell=spec.cell.name,
            seed=spec.config.seed,
            config_yaml=spec.config_yaml,
            overrides=list(spec.overrides),
            params=mlflow_params(spec, self.student),
            tags={"kdsweep.role": spec.role, "kdsweep.cell": spec.cell.name, **self.tags},
            parent_run_id=self.target.parent_run_id,
            log_model=self.context.options.models,
            dataset={
                "name": spec.config.dataset.name,
                "digest": dataset.digest[:16],
                "context": "training",
                "profile": {
                    "train": len(dataset.train.labels),
                    "val": len(dataset.val.labels) if dataset.val else 0,
                    "test": len(dataset.test.labels),
                    "classes": dataset.num_classes,
                },
            },
        )
        monitor = None  # its MLflow run is opened with its first upload
        if self.context.system_metrics is not None:
            monitor = partial(self.context.monitor, role=spec.role)
        self.recorder.start(info, resume_epoch=self.student.epoch, on_open=monitor)
        self.recorded = self.student.epoch
        # If only the test set is left, the last epoch's metrics are in the directory.
        for row in read_rows(self.folder)[-1:]:
            self.metrics = {k: math.nan if v is None else v for k, v in row["metrics"].items()}
        for name, value in self.tags.items():
            self.recorder.log(f"{name}: {value}")
        self.recorder.log(f"objective: {self.student.objective.formula}")

    def epoch(self, metrics: dict[str, float]) -> None:
        """Record the metrics of the epoch that the student has just trained."""
        self.metrics = metrics
        number = self.student.epoch - 1
        self.recorder.epoch(number, metrics)
        self.recorded = self.student.epoch
        # The size of each soft term's gradient relative to the hard term's, measured once.
        ratios = {k.removeprefix(RATIO): v for k, v in metrics.items() if k.startswith(RATIO)}
        if ratios:
            terms = ", ".join(f"|{name}| = {ratio:.3g} |ce|" for name, ratio in ratios.items())
            self.recorder.log(f"weighted gradients of the first batch: {terms}")
        line = " ".join(f"{key}={value:.5g}" for key, value in metrics.items())
        self.recorder.log(f"epoch {number}: {line}")
        # Before the checkpoint is written: no epoch is decided about twice.
        if self.on_epoch is not None and self.student.failure is None:
            reason = self.on_epoch(self.spec, self.student.epoch, metrics)
            if reason is not None:
                self.pruned = True
                self.student.fail(reason)
        alive = self.student.failure is None
        if alive and self.throttle.is_due(self.student.epoch):
            checkpoint.save(*self.saved)
        if self.spec.role == "run":
            self.context.update_leader(self.spec.name, metrics.get("val/acc") if alive else None)

    def finish(self, test: dict[str, float], confusion: list[list[int]] | None) -> None:
        """Record the end of a whole run: test metrics, final weights, pictures, result.

        With ``confusion``, the counts (C, C) of the test set, pictures of the run are drawn.
        """
        spec = self.spec
        self.metrics |= test
        self.recorder.epoch(self.student.epoch - 1, test)
        if (raw := self.metrics.get("val/acc_raw")) is not None:
            averaged = self.metrics["val/acc"]
            self.recorder.log(
                f"val/acc={averaged:.5g} of averaged weights, {raw:.5g} without averaging"
            )
        metadata = {
            "fingerprint": spec.fingerprint,
            "cell": spec.cell.name,
            "seed": str(spec.config.seed),
            "model": json.dumps(spec.config.student.model),
            "classes": json.dumps(list(self.dataset.class_names)),
        }
        is_stage = spec.role == "stage"
        checkpoint.finish(self.target.checkpoints, self.student, metadata, terms=is_stage)
        digest = checkpoint.sha256(self.student.reported)
        about = manifest_of_run(spec, self.dataset, self.student.reported, self.metrics, digest)
        write_manifest(self.target.checkpoints, about)
        pictures = [] if confusion is None else self._draw(confusion)
        self.end("FINISHED", with_cohort=False, digest=digest, pictures=pictures)

    def _draw(self, confusion: list[list[int]]) -> list[Path]:
        """The pictures of a run, as far as they can be drawn."""
        curves, matrix = self.folder / "curves.png", self.folder / "confusion.png"
        with warn_on_failure(str(curves)):
            curves_plot(read_rows(self.folder), curves)
        with warn_on_failure(str(matrix)):
            confusion_plot(confusion, self.dataset.class_names, matrix)
        return [path for path in (curves, matrix) if path.is_file()]

    def end(
        self,
        status: str,
        reason: str | None = None,
        *,
        with_cohort: bool,
        digest: str | None = None,
        pictures: Sequence[Path] = (),
    ) -> None:
        """Record how the run has ended; nothing if that is recorded already.

        Args:
            reason: why it has stopped before its end.
            with_cohort: whether the whole cohort was stopped, so that the run can be resumed.
            digest: of its final weights.
        """
        if self.ended is not None:
            return
        spec, student = self.spec, self.student
        measured = {key: value for key, value in self.metrics.items() if key in RESULT_KEYS}
        self.ended = replace(
            RunResult.from_json({"status": status, **measured}),
            **described_by(spec),
            reason=reason,
            mlflow_run_id=self.recorder.run_id,
            val_acc_best=student.best_acc,
            epochs=student.epoch,
            seconds=round(student.seconds, 3),
            num_params=student.num_params,
            weights_sha256=digest,
            with_cohort=with_cohort,
            provenance=provenance(spec) if status == "FINISHED" else None,
        )
        try:
            if reason is not None:
                self.recorder.log(f"{status}: {reason}")
        finally:
            self.recorder.finish(self.ended, pictures)

    @property
    def result(self) -> RunResult:
        """The result of a run that has ended."""
        assert self.ended is not None, "its cohort has ended"
        return self.ended


def mlflow_params(spec: RunSpec, student: Student) -> dict[str, object]:
    """What MLflow shows as columns: flat, readable, complete."""
    config, values = spec.config, to_values(spec.config)
    chosen: dict[str, object] = {
        "loss": spec.cell.loss,
        **spec.cell.settings,
        "seed": config.seed,
        "student": config.student.name,
        "teacher": spec.teacher_name or "none",
        "dataset": config.dataset.name,
    }
    weights = {f"weight.{k}": v for k, v in student.objective.weights.items()}
    nodes = ("dataset", "student", "loss", "optimizer", "schedule", "trainer", "hard")
    flat = {k: v for key in nodes for k, v in leaves(values[key], key) if v is not None}
    flat["trainer.device"] = resolve_device(config.trainer.device)
    flat |= teacher_arithmetic(spec)
    return {**chosen, **weights, **flat, "num_params": student.num_params}
