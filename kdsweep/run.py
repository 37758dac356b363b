"""From plans to results: data, teacher, cohort, run folders, MLflow."""

import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from kdsweep.build import (
    build_dataset,
    build_splits,
    build_stream,
    build_student,
    build_teacher,
    resolve_device,
)
from kdsweep.config import TrackingConfig
from kdsweep.data.split import Dataset
from kdsweep.errors import RunFailed, UserError
from kdsweep.identity import loss_name
from kdsweep.plan import Plan, make_folder, teacher_plan
from kdsweep.tracking.files import read_json
from kdsweep.tracking.mlflow_store import MLflowStore
from kdsweep.tracking.plots import confusion as confusion_plot
from kdsweep.tracking.plots import curves as curves_plot
from kdsweep.tracking.progress import Progress
from kdsweep.tracking.recorder import Recorder, is_shipped, sync
from kdsweep.tracking.run_folder import read_rows
from kdsweep.tracking.shipper import Shipper
from kdsweep.training import checkpoint
from kdsweep.training.evaluate import Split, confusion, evaluating, predict
from kdsweep.training.lockstep import fit, isolated, student_logits, with_teacher
from kdsweep.training.student import Student
from kdsweep.training.teacher import Teacher

# How far a stored teacher's accuracy may be from what its record claims before it is refused.
TOLERANCE = 0.005

Result = dict[str, Any]

# Asked at the end of every epoch (plan, epochs trained, metrics); a reason ends the run as PRUNED.
Watch = Callable[[Plan, int, dict[str, float]], str | None]

log = logging.getLogger(__name__)


class Place(NamedTuple):
    """A run and where it goes."""

    plan: Plan
    folder: Path
    parent_id: str | None  # MLflow run of its sweep, or of its trial in a search


class Session:
    """What one process keeps while it trains: the store, the data sets, the teachers.

    Args:
        tracking: the `tracking` node; with `uri: null` only run folders are written.
        progress: where the terminal is told what happens.

    Raises:
        UserError: if the MLflow store cannot be used.
    """

    def __init__(self, tracking: TrackingConfig | dict[str, Any], progress: Progress) -> None:
        options = dict(tracking) if isinstance(tracking, dict) else vars(tracking)
        self.plots: str = options["plots"]
        self.checkpoint_seconds: float = options["checkpoint_seconds"]
        self.progress = progress
        self.store: MLflowStore | None = None
        self.shipper: Shipper | None = None
        if options["uri"] is not None:
            try:
                self.store = MLflowStore.open(
                    options["uri"], options["experiment"], options["artifacts"]
                )
            except ValueError as error:
                raise UserError(str(error)) from error
            self.shipper = Shipper()
        self._standings: dict[str, float] = {}  # val/acc of every live run's latest epoch
        self._datasets: dict[str, Dataset] = {}
        self._teachers: dict[str, Teacher] = {}

    def dataset(self, values: dict[str, Any]) -> Dataset:
        """The data set of a run, loaded once."""
        device = resolve_device(values["trainer"]["device"])
        key = json.dumps([values["dataset"], device], sort_keys=True)
        if key not in self._datasets:
            self._datasets[key] = build_dataset(values["dataset"], device)
        return self._datasets[key]

    def teacher(self, plans: Sequence[Plan]) -> Teacher | None:
        """The teacher of a cohort, trained if its store has none, with every feature asked for."""
        plan = next((plan for plan in plans if plan.teacher is not None), None)
        if plan is None:
            return None
        features = sorted({name for p in plans for name in p.asked.teacher_features})
        trainer = plan.values["trainer"]
        key = json.dumps([plan.teacher, features, trainer["precision"], trainer["device"]])
        if key not in self._teachers:
            self._teachers[key] = _teacher(plan, features, self)
        return self._teachers[key]

    def standing(self, name: str, acc: float | None) -> None:
        """Take note of a run's latest val/acc for the display; None for a run that has failed."""
        if acc is None:
            self._standings.pop(name, None)
        else:
            self._standings[name] = acc

    @property
    def best(self) -> str | None:
        """The run that stands best, in words."""
        if not self._standings:
            return None
        name, acc = max(self._standings.items(), key=lambda entry: entry[1])
        return f"{name} {acc:.2%}"

    def catch_up(self, folder: Path) -> None:
        """Ship a run that had ended when its process died, but was not in MLflow yet."""
        store = self.store
        if store is not None and self.shipper is not None and not is_shipped(folder):
            self.shipper.submit(str(folder), lambda: sync(folder, store), folder=folder)

    def flush(self) -> None:
        """Wait until everything is shipped."""
        if self.shipper is not None:
            self.shipper.flush()

    def close(self) -> None:
        """Ship the rest and end the shipping thread."""
        if self.shipper is not None:
            self.shipper.close()


def train_cohort(
    places: Sequence[Place],
    session: Session,
    *,
    resume: bool = False,
    watch: Watch | None = None,
) -> list[Result]:
    """Train runs in lockstep, each into its own folder.

    Args:
        places: runs that may share a cohort; with `resume`, a folder's checkpoint and MLflow run
            are continued.
        watch: may end single runs early.

    Returns:
        Each run's `result.json`, in order. A run that failed or was pruned alone has the status
        FAILED or PRUNED; an exception of the teacher or the stream fails all and is raised.
    """
    plans = [place.plan for place in places]
    values = plans[0].values
    dataset, device = session.dataset(values), resolve_device(values["trainer"]["device"])
    stream = build_stream(values, dataset, device)
    teacher = session.teacher(plans)
    network = teacher.network if teacher else None
    students = [build_student(p.values, dataset, network, stream.steps_per_epoch) for p in plans]
    runs = [
        _Run(place, student, session, dataset, watch)
        for place, student in zip(places, students, strict=True)
    ]
    by_student = {run.student: run for run in runs}
    splits = build_splits(values, dataset, device)
    try:
        for run in runs:
            run.start(resume)
        fit(
            students,
            stream,
            teacher=teacher,
            splits=_measured_every_epoch(values, splits),
            epochs=values["trainer"]["epochs"],
            threads=values["trainer"]["threads"],
            record=lambda student, metrics: by_student[student].epoch(metrics),
        )
        with isolated(values["trainer"]["threads"]):
            _test(runs, with_teacher(splits["test"], teacher))
    except BaseException as error:
        _end_all(runs, error)
        if isinstance(error, OSError):  # a full disk, a folder taken away
            raise RunFailed(
                f"cannot go on in {error.filename or runs[0].folder}: {error}"
            ) from error
        raise
    return [run.result() for run in runs]


def _measured_every_epoch(values: dict[str, Any], splits: dict[str, Split]) -> list[Split]:
    """Validation; and the test set only where its curve was asked for, under a name of its own."""
    measured = [splits["val"]] if "val" in splits else []
    if values["trainer"]["test_curve"]:
        test = splits["test"]
        measured.append(Split("test_curve", test.batches, test.labels))
    return measured


def _test(runs: Sequence["_Run"], test: Split) -> None:
    """Evaluate the test set, once, for every run that got to its end."""
    alive = [run for run in runs if run.student.failure is None]
    for run in runs:
        if run.student.failure is not None:
            run.end("PRUNED" if run.pruned else "FAILED", run.student.failure)
    answers = student_logits([run.student for run in alive], test)
    for run, logits in zip(alive, answers, strict=True):
        taught = run.student.objective.needs_teacher
        run.finish(test.metrics(logits, agreement=taught), confusion(logits, test.labels).tolist())


def _end_all(runs: Sequence["_Run"], error: BaseException) -> None:
    """End every run that is still open, whatever can still be written."""
    killed = isinstance(error, KeyboardInterrupt | SystemExit)
    reason = "interrupted" if killed else f"{type(error).__name__}: {error}"
    for run in runs:
        try:
            run.end("KILLED" if killed else "FAILED", reason)
        except OSError as another:
            log.warning("the end of %s could not be written: %s", run.folder, another)


class _Run:
    """One student on its way into its folder."""

    def __init__(
        self,
        place: Place,
        student: Student,
        session: Session,
        dataset: Dataset,
        watch: Watch | None,
    ) -> None:
        self.plan, self.folder, self.parent_id = place
        self.student, self.session, self.dataset = student, session, dataset
        self.watch, self.pruned = watch, False
        self.recorder = Recorder(self.folder, store=session.store, shipper=session.shipper)
        self.metrics: dict[str, float] = {}
        self._saved = time.monotonic()
        self.ended: Result | None = None

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoint"

    def start(self, resume: bool) -> None:
        if resume:
            checkpoint.load_latest(self.checkpoints, self.student, self.plan.fingerprint)
        plan, values = self.plan, self.plan.values
        identity = {
            "name": plan.name if plan.role == "run" else plan.cell,
            "role": plan.role,
            "fingerprint": plan.fingerprint,
            "cell": plan.cell,
            "seed": values["seed"],
        }
        self.recorder.start(
            identity,
            config_yaml=plan.config_yaml,
            overrides=list(plan.overrides),
            params=self.params(),
            tags={
                "kdsweep.role": plan.role,
                "kdsweep.cell": plan.cell,
            },
            parent_id=self.parent_id,
            dataset={
                "name": values["dataset"]["name"],
                "digest": self.dataset.digest[:16],
                "context": "training",
                "profile": {
                    "train": len(self.dataset.train.labels),
                    "val": len(self.dataset.val.labels) if self.dataset.val else 0,
                    "test": len(self.dataset.test.labels),
                    "classes": self.dataset.num_classes,
                },
            },
            resume_epoch=self.student.epoch,
        )
        # A run that had only its test set to go finds its last epoch's metrics in the folder.
        self.metrics = _last_metrics(self.folder)
        self.recorder.log(f"objective: {self.student.objective.formula}")

    def params(self) -> dict[str, object]:
        """What MLflow shows as columns: flat, readable, complete."""
        values = self.plan.values
        asked = self.plan.teacher is not None
        chosen: dict[str, object] = {
            "loss": loss_name(values),
            **plan_settings(self.plan),
            "seed": values["seed"],
            "student": values["student"]["name"],
            "teacher": values["teacher"]["name"] if asked else "none",
            "dataset": values["dataset"]["name"],
        }
        weights = {f"weight.{k}": v for k, v in self.student.objective.weights.items()}
        nodes = ("dataset", "student", "loss", "optimizer", "schedule", "trainer", "hard")
        flat = {k: v for key in nodes for k, v in _flat(key, values[key])}
        flat["trainer.device"] = resolve_device(values["trainer"]["device"])
        return {**chosen, **weights, **flat, "num_params": self.student.num_params}

    def epoch(self, metrics: dict[str, float]) -> None:
        self.metrics = metrics
        number = self.student.epoch - 1
        self.recorder.epoch(number, metrics)
        line = " ".join(f"{key}={value:.5g}" for key, value in metrics.items())
        self.recorder.log(f"epoch {number}: {line}")
        self._ask_watch(metrics)
        self._save()
        if self.plan.role == "run":
            alive = self.student.failure is None
            self.session.standing(self.plan.name, metrics.get("val/acc") if alive else None)
        self.session.progress.epoch(self.student.epoch, self.session.best)

    def _ask_watch(self, metrics: dict[str, float]) -> None:
        # Before the checkpoint is written: what was decided about an epoch is never asked twice.
        if self.watch is None or self.student.failure is not None:
            return
        if (reason := self.watch(self.plan, self.student.epoch, metrics)) is not None:
            self.pruned = True
            self.student.fail(reason)

    def _save(self) -> None:
        """Write a checkpoint, unless the last is so young that it would cost more than it saves.

        Which epochs are kept never alters a number: going on from any of them gives the same bits.
        """
        now = time.monotonic()
        if self.student.failure is None and now - self._saved >= self.session.checkpoint_seconds:
            checkpoint.save(self.checkpoints, self.student, self.plan.fingerprint)
            self._saved = now

    def finish(self, test: dict[str, float], confusion: list[list[int]]) -> None:
        """The run got to its end: test metrics, final weights, pictures, result."""
        self.metrics |= test
        self.recorder.test(self.student.epoch - 1, test)
        metadata = {
            "fingerprint": self.plan.fingerprint,
            "cell": self.plan.cell,
            "seed": str(self.plan.values["seed"]),
            "model": json.dumps(self.plan.values["student"]["model"]),
            "classes": json.dumps(list(self.dataset.class_names)),
        }
        checkpoint.finish(self.checkpoints, self.student, metadata)
        pictures = []
        if self.session.plots == "run":
            pictures = [self.folder / "curves.png", self.folder / "confusion.png"]
            curves_plot(read_rows(self.folder), pictures[0])
            confusion_plot(confusion, self.dataset.class_names, pictures[1])
        self._close("FINISHED", None, checkpoint.sha256(self.student.model), pictures)

    def end(self, status: str, reason: str | None) -> None:
        """The run ended before its end, unless it had got there already."""
        if self.ended is None:
            self._close(status, reason, None, [])

    def _close(
        self, status: str, reason: str | None, digest: str | None, pictures: list[Path]
    ) -> None:
        measured = ("val/acc", "val/loss", "val/agreement")
        tested = ("test/acc", "test/loss", "test/ece", "test/agreement")
        values = self.plan.values
        self.ended = {
            "status": status,
            "reason": reason,
            "name": self.plan.name if self.plan.role == "run" else self.plan.cell,
            "role": self.plan.role,
            "fingerprint": self.plan.fingerprint,
            "cell": self.plan.cell,
            "seed": values["seed"],
            "mlflow_run_id": self.recorder.run_id,
            **{key: self.metrics.get(key) for key in (*measured, *tested)},
            "val/acc_best": self.student.best_acc,
            "epochs": self.student.epoch,
            "seconds": round(self.student.seconds, 3),
            "num_params": self.student.num_params,
            "weights_sha256": digest,
            "same_as": None,
            "T": None,
            "alpha": None,
            **plan_settings(self.plan),
            "loss": loss_name(values),
            "student": values["student"]["name"],
            "teacher": values["teacher"]["name"] if self.plan.teacher is not None else None,
        }
        if reason is not None:
            self.recorder.log(f"{status}: {reason}")
        self.recorder.finish(self.ended, pictures)

    def result(self) -> Result:
        assert self.ended is not None
        return self.ended


def plan_settings(plan: Plan) -> dict[str, float]:
    """T and alpha, where they have an effect on the run."""
    return {key: plan.values[key] for key in plan.follows}


def _last_metrics(folder: Path) -> dict[str, float]:
    rows = read_rows(folder)
    if not rows:
        return {}
    return {k: math.nan if v is None else v for k, v in rows[-1]["metrics"].items()}


def _flat(prefix: str, value: Any) -> list[tuple[str, object]]:
    """`student.model.width: 64` from nested mappings; empty ones vanish."""
    if isinstance(value, dict):
        return [pair for key, child in value.items() for pair in _flat(f"{prefix}.{key}", child)]
    return [] if value is None else [(prefix, value)]


def _teacher(plan: Plan, features: Sequence[str], session: Session) -> Teacher:
    """The teacher of a plan: a given file, or the store's, or trained now."""
    given = plan.values["teacher"]["checkpoint"]
    dataset = session.dataset(plan.values)
    if given is not None:
        return build_teacher(plan.values, dataset, features, Path(given), "teacher")
    recipe = teacher_plan(plan)
    store = Path(plan.values["teacher"]["store"])
    folder = store / recipe.fingerprint
    make_folder(store, "teacher.store")
    with FileLock(store / f"{recipe.fingerprint}.lock"):
        record = _record(folder)
        if record is None:
            record = _train_teacher(recipe, folder, session)
        else:
            session.catch_up(folder)
    teacher = build_teacher(
        plan.values, dataset, features, folder / "checkpoint" / "model.safetensors", "teacher"
    )
    _verify(recipe, folder, record, session)
    return teacher


def _record(folder: Path) -> Result | None:
    """The result of a finished teacher, None if there is none."""
    weights = folder / "checkpoint" / "model.safetensors"
    if not weights.is_file() or not (folder / "result.json").is_file():
        return None
    result = read_json(folder / "result.json")
    return result if result["status"] == "FINISHED" else None


def _train_teacher(plan: Plan, folder: Path, session: Session) -> Result:
    """Train a teacher as a run of its own. Its folder is its identity, so it is always resumed."""
    session.progress.teacher(plan.values["student"]["name"], plan.values["trainer"]["epochs"])
    (result,) = train_cohort([Place(plan, folder, None)], session, resume=True)
    if result["status"] != "FINISHED":
        raise UserError(f"teacher {plan.values['student']['name']}: {result['reason']}")
    session.progress.note(
        f"teacher {plan.values['student']['name']}: test/acc {result['test/acc']:.2%},"
        f" kept in {folder}"
    )
    return result


def _verify(recipe: Plan, folder: Path, record: Result, session: Session) -> None:
    """Measure a stored teacher again, as its own recipe would, against what its record claims."""
    values = recipe.values
    dataset = session.dataset(values)
    device = resolve_device(values["trainer"]["device"])
    splits = build_splits(values, dataset, device)
    split = splits.get("val", splits["test"])
    as_recipe = {**values, "teacher": {**values["teacher"], "model": values["student"]["model"]}}
    weights = folder / "checkpoint" / "model.safetensors"
    teacher = build_teacher(as_recipe, dataset, (), weights, "teacher")
    with isolated(values["trainer"]["threads"]), evaluating([]):
        (logits,) = predict(split.batches(), [lambda images: teacher(images).logits])
    key = f"{split.name}/acc"
    measured, claimed = split.metrics(logits, agreement=False)[key], record[key]
    if claimed is None or abs(measured - claimed) > TOLERANCE:
        raise UserError(
            f"teacher.store: the teacher in {folder} reaches {key} {measured:.4f}, its record"
            f" claims {claimed}; remove the folder to train it again"
        )
