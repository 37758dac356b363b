"""From plans to results: data, teacher, cohort, run folders, MLflow."""

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout
from torch import Tensor

from kdsweep.build import (
    build_dataset,
    build_source,
    build_splits,
    build_stream,
    build_student,
    build_teacher,
    build_unit,
    load_checkpoint,
    resolve_device,
    teacher_split,
)
from kdsweep.common.files import drop_drafts
from kdsweep.config.recipes import teachers
from kdsweep.config.schema import TrackingConfig
from kdsweep.data.pipeline.inspection import DatasetInspector
from kdsweep.data.pipeline.split import Dataset
from kdsweep.data.types import CachedSource, DataError
from kdsweep.errors import RunFailed, UserError
from kdsweep.identity import loss_name
from kdsweep.plan import (
    Plan,
    make_folder,
    online_plan,
    peer_plans,
    stage_plan,
    stages_of,
    teacher_plan,
)
from kdsweep.plotting.drawing import forgiving
from kdsweep.plotting.plots import confusion as confusion_plot
from kdsweep.plotting.plots import curves as curves_plot
from kdsweep.tracking.console import Progress
from kdsweep.tracking.disk import disk_full, full_folder, how_to_resume, is_full
from kdsweep.tracking.metadata import result_of
from kdsweep.tracking.mlflow.pending import Settling, Task, lacking
from kdsweep.tracking.mlflow.run_sync import is_shipped
from kdsweep.tracking.mlflow.store import MLflowStore
from kdsweep.tracking.mlflow.system_metrics import SystemMetrics, check_measurable
from kdsweep.tracking.mlflow.upload_queue import Shipper
from kdsweep.tracking.predictions import OF_TEACHERS, Answers, save_answers, save_once
from kdsweep.tracking.recorder import Recorder
from kdsweep.tracking.run_dir import ANSWERS, RESULT, read_rows
from kdsweep.tracking.tensorboard import check_installed
from kdsweep.training import checkpoint
from kdsweep.training.evaluation import Split, confusion
from kdsweep.training.gradients import RATIO
from kdsweep.training.latency import latency_ms
from kdsweep.training.online_teacher import OnlineTeacher
from kdsweep.training.profiling import storage_size
from kdsweep.training.student import Student
from kdsweep.training.teacher import Ensemble, Teacher
from kdsweep.training.teacher_check import chance_warning, is_near_chance, measured_accuracy
from kdsweep.training.trainer import CohortUnit, fit, student_logits, torch_state, with_teacher

# How far a stored teacher's accuracy may be from what its record claims before it is refused.
TOLERANCE = 0.005

Result = dict[str, Any]

# Asked at the end of every epoch (plan, epochs trained, metrics); a reason ends the run as PRUNED.
Watch = Callable[[Plan, int, dict[str, float]], str | None]

log = logging.getLogger(__name__)


@contextmanager
def _unreadable_data() -> Iterator[None]:
    """Images that can no longer be read are the user's to mend: one sentence, no traceback."""
    try:
        yield
    except DataError as error:
        raise UserError(str(error)) from error


class Place(NamedTuple):
    """A run and where it goes."""

    plan: Plan
    folder: Path
    parent_id: str | None  # MLflow run of its sweep, or of its trial in a search


class Home(NamedTuple):
    """The sweep or search that runs belong to, and with them those of other roles."""

    folder: Path
    parent_id: str | None  # its MLflow run


class Session:
    """What one process keeps while it trains: the store, the data sets, the teachers.

    Args:
        tracking: the `tracking` node, or what differs from its defaults; with `uri: null` only run
            folders are written.
        progress: where the terminal is told what happens.

    Raises:
        UserError: if the MLflow store cannot be used.
    """

    def __init__(self, tracking: TrackingConfig | dict[str, Any], progress: Progress) -> None:
        given = tracking if isinstance(tracking, dict) else vars(tracking)
        options = vars(TrackingConfig()) | given
        self.plots: str = options["plots"]
        self.answers: bool = options["answers"]
        self.report: bool = options["report"]
        self.tensorboard: bool = options["tensorboard"]
        self.checkpoint_seconds: float = options["checkpoint_seconds"]
        self.progress = progress
        self.store: MLflowStore | None = None
        self.shipper: Shipper | None = None
        self.settling: Settling | None = None
        self.is_detached = False  # whether there should be a store, and it did not work
        self.system_metrics: SystemMetrics | None = None
        try:
            if self.tensorboard:
                check_installed()
            if options["system_metrics"]:
                check_measurable()
            if options["uri"] is not None:
                self.store = MLflowStore.open(
                    options["uri"], options["experiment"], options["artifacts"]
                )
                self.shipper = Shipper()
                self.settling = Settling(
                    self.shipper,
                    self.store,
                    options["wait"],
                    lambda count, seconds: self.progress.waiting(count, seconds),
                )
                if options["system_metrics"]:
                    self.system_metrics = SystemMetrics(self.store.uri)
        except ValueError as error:
            raise UserError(str(error)) from error
        self.home: Home | None = None  # known once the sweep is opened
        self.folders: set[Path] = set()  # of the runs that this process has opened or caught up
        # Called when a student has recorded an epoch; raises SystemExit once the time of a search
        # is over.
        self.stop_in_time: Callable[[], None] | None = None
        self._standings: dict[str, float] = {}  # val/acc of every live run's latest epoch
        self._datasets: dict[str, Dataset] = {}
        self._inspection = DatasetInspector()
        self._sources: dict[str, CachedSource] = {}
        self._teachers: dict[str, Teacher | Ensemble] = {}
        self.introduced: set[str] = set()  # teachers whose accuracy has been printed

    def dataset(self, values: dict[str, Any]) -> Dataset:
        """The data set of a run, loaded once; how it is augmented is the stream's affair."""
        device = resolve_device(values["trainer"]["device"])
        node = {key: value for key, value in values["dataset"].items() if key != "augment"}
        key = json.dumps([node, device], sort_keys=True)
        if key not in self._datasets:
            with self.progress.warnings_of("kdsweep.data"), _unreadable_data():
                dataset = self._datasets[key] = build_dataset(node, device, self._source(node))
                self._inspection.inspect(dataset, json.dumps(node["source"], sort_keys=True))
        return self._datasets[key]

    @property
    def has_data(self) -> bool:
        """Whether some data set has been loaded."""
        return bool(self._datasets)

    def _source(self, dataset: dict[str, Any]) -> CachedSource:
        """Where a data set comes from, its images read once for all that are cut from them."""
        key = json.dumps(dataset["source"], sort_keys=True)
        if key not in self._sources:
            self._sources[key] = CachedSource(build_source(dataset))
        return self._sources[key]

    def forget_sources(self) -> None:
        """Free the images that no data set has taken; another one would read them again."""
        self._sources.clear()
        self._inspection.clear_digests()

    @_unreadable_data()
    def teacher(self, plans: Sequence[Plan]) -> Teacher | Ensemble | None:
        """The teacher of a cohort, trained if its store has none, with every feature asked for."""
        plan = next((plan for plan in plans if plan.teacher is not None), None)
        if plan is None or not teachers(plan.values):
            return None
        features = sorted({name for p in plans for name in p.asked.teacher_features})
        trainer = plan.values["trainer"]
        key = json.dumps([plan.teacher, features, trainer["precision"], trainer["device"]])
        if key not in self._teachers:
            self._teachers[key] = _teacher(plan, features, self)
        return self._teachers[key]

    def monitor(self, run_id: str | None) -> None:
        """Log how busy the machine is to a run of MLflow, where that is asked for."""
        monitor = self.system_metrics
        if monitor is not None and run_id is not None and self.shipper is not None:
            self.shipper.submit("the machine's load", lambda: monitor.start(run_id))

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
        self.folders.add(folder)
        if not is_shipped(folder):
            drop_drafts(folder)
        if self.shipper is not None:
            for task in self.lacking([folder]):
                self.shipper.submit(str(folder), task.ship, folder=folder)

    def lacking(self, folders: Sequence[Path] | None = None) -> list[Task]:
        """What has ended in these folders, or of this process's runs, and MLflow has not whole."""
        if self.store is None:
            return []
        return lacking(sorted(self.folders) if folders is None else folders, self.store)

    def flush(self) -> None:
        """Wait until everything is shipped that was submitted, at most `tracking.wait` seconds."""
        if self.settling is not None:
            self.settling.drain()

    def settle(self, lacking: Callable[[], Sequence[Task]] | None = None) -> bool:
        """Try once more to ship what MLflow lacks; False if it still lacks something.

        All waiting of a session together takes at most `tracking.wait` seconds.
        """
        return self.settling is None or self.settling.settle(lacking or self.lacking)

    def close(self) -> None:
        """Ship the rest and end the threads; a sentence names what MLflow still lacks."""
        if self.shipper is not None:
            self.settle()
            self.shipper.close()
        if self.system_metrics is not None:
            self.system_metrics.close()


@_unreadable_data()
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
    session.forget_sources()  # the sweep's check has cut every data set by now
    stream = build_stream(values, dataset, device)
    splits = build_splits(values, dataset, device)
    with _beside(places, session, dataset, stream.steps_per_epoch) as company:
        teacher = company.teacher or session.teacher(plans)
        networks = teacher.networks if teacher else ()
        units = [build_unit(p.values, dataset, networks, stream.steps_per_epoch) for p in plans]
        teams = [
            _team(place, unit, session, dataset, watch)
            for place, unit in zip(places, units, strict=True)
        ]
        runs = [run for team in [*teams, company.runs] for run in team]
        by_student = {run.student: run for run in runs}

        def record(student: Student, metrics: dict[str, float]) -> None:
            if student in by_student:  # a teacher that is only replayed has no run
                by_student[student].epoch(metrics)
                _stop_in_time(student.epoch, runs, session)

        try:
            for place, unit in zip(places, units, strict=True):
                _begin(place, unit.students[0], session)
            _start(teams, company, resume)
            fit(
                units,
                stream,
                teacher=teacher,
                splits=_measured_every_epoch(values, splits),
                epochs=values["trainer"]["epochs"],
                threads=values["trainer"]["threads"],
                record=record,
            )
            company.dismiss(values["trainer"]["epochs"])
            with torch_state(values["trainer"]["threads"]):
                measured = [with_teacher(split, teacher) for split in splits.values()]
                _test([*teams, company.runs], measured, session)
        except BaseException as error:
            _end_all(runs, error)
            if is_full(error):
                advice = how_to_resume(sum(run.bytes_left for run in runs))
                folder = full_folder(error, runs[0].folder) or runs[0].folder
                raise disk_full(folder, advice) from error
            if isinstance(error, OSError):
                raise _cannot_go_on(error) from error
            raise
    return [team[0].result() for team in teams]


def _cannot_go_on(error: OSError) -> RunFailed:
    """Names the file only where the error does: a broken connection is no fault of a folder."""
    if error.filename is not None:  # of a folder that was taken away, for one
        return RunFailed(f"cannot go on in {error.filename}: {error}")
    return RunFailed(f"cannot go on: {error!r} (debug=true shows where it was raised)")


def _stop_in_time(epochs: int, runs: Sequence["_Run"], session: Session) -> None:
    """Once the time is over, end a cohort when all its students have recorded so many epochs.

    A checkpoint of each is written, so that nothing that was learned is lost.
    """
    if session.stop_in_time is None:
        return
    try:
        session.stop_in_time()
    except SystemExit:
        alive = [run for run in runs if run.student.failure is None]
        if any(run.recorded < epochs for run in alive):
            return  # the last one to record this epoch stops them
        for run in alive:
            checkpoint.save(*run.saved)
        raise


class _Company(NamedTuple):
    """A teacher that trains beside a cohort, and its run, if it is to be recorded."""

    teacher: OnlineTeacher | None
    runs: list["_Run"]

    def dismiss(self, epochs: int) -> None:
        """End a teacher whose students have all ended before it."""
        for run in self.runs:
            if run.student.failure is None and run.student.epoch < epochs:
                run.pruned = True
                run.student.fail("no student was left to teach")


@contextmanager
def _beside(
    places: Sequence[Place], session: Session, dataset: Dataset, steps_per_epoch: int
) -> Iterator[_Company]:
    """The teacher that trains beside a cohort, if its runs ask for one.

    It is a run of the sweep's once: where that has finished, or is another process's just now, the
    teacher is trained again, to the same bits, without a word.
    """
    plans = [place.plan for place in places]
    plan = next((found for found in map(online_plan, plans) if found is not None), None)
    if plan is None:
        yield _Company(None, [])
        return
    features = sorted({name for p in plans for name in p.asked.teacher_features})
    student = build_student(plan.values, dataset, (), steps_per_epoch, features=features)
    home = session.home or Home(places[0].folder, None)
    place = Place(plan, home.folder / f"teacher-{plan.fingerprint}", home.parent_id)
    run = _Run(place, student, session, dataset, _Pace(session.checkpoint_seconds))
    home.folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home.folder / f".{place.folder.name}.lock")
    with ExitStack() as held:
        try:
            held.enter_context(lock.acquire(blocking=False))
            is_told = finished(place) is not None
        except Timeout:
            is_told = True
        yield _Company(OnlineTeacher(student), [] if is_told else [run])


def stage_of(place: Place, session: Session) -> Place | None:
    """The run that a run begins with, in the folder of its sweep; None if there is none."""
    if (plan := stage_plan(place.plan)) is None:
        return None
    home = session.home or Home(place.folder, None)
    return Place(plan, home.folder / f"stage-{plan.fingerprint}", home.parent_id)


def _begin(place: Place, student: Student, session: Session) -> None:
    """Give a student the weights of the stage before; one that has ended early ends the run."""
    if (stage := stage_of(place, session)) is None:
        return
    if finished(stage) is None:
        result = result_of(stage.folder, stage.plan.fingerprint)
        student.fail(f"its {stage.plan.cell}: {result['reason'] if result else 'not there'}")
        return
    kept = stage.folder / "checkpoint"
    load_checkpoint(student.model, str(kept / "model.safetensors"), "stages")
    if (kept / checkpoint.TERMS).is_file():  # else no term has anything of its own
        student.objective.begin_with(checkpoint.load_weights(kept / checkpoint.TERMS))


def _start(teams: Sequence[Sequence["_Run"]], company: _Company, resume: bool) -> None:
    """Open every run's folder, each at the epoch it goes on from."""
    for team in teams:
        if resume:
            checkpoint.load_latest([run.saved for run in team])
    first = min(run.student.epoch for team in teams for run in team)
    for run in company.runs:  # what it has said to the last of its students it must say again
        checkpoint.load_latest([run.saved], at_most=first)
    for run in (run for team in [*teams, company.runs] for run in team):
        run.start()


def _measured_every_epoch(values: dict[str, Any], splits: dict[str, Split]) -> list[Split]:
    """Validation; and the test set only where its curve was asked for, under a name of its own."""
    measured = [splits["val"]] if "val" in splits else []
    if values["trainer"]["test_curve"]:
        test = splits["test"]
        measured.append(Split("test_curve", test.batches, test.labels))
    return measured


def _team(
    place: Place, unit: CohortUnit, session: Session, dataset: Dataset, watch: Watch | None
) -> list["_Run"]:
    """The run of a unit, and those of its other peers in folders inside of the run's own."""
    pace = _Pace(session.checkpoint_seconds)
    plan, folder, parent_id = place
    own, *others = unit.students
    team = [_Run(place, own, session, dataset, pace, watch)]
    for (name, peer), student in zip(peer_plans(plan).items(), others, strict=True):
        beside = Place(peer, folder / "peers" / name, parent_id)
        team.append(_Run(beside, student, session, dataset, pace))
    return team


def _test(teams: Sequence[Sequence["_Run"]], splits: Sequence[Split], session: Session) -> None:
    """Evaluate the test set (the last split), once, for every run that got to its end."""
    for team in teams:
        status = "PRUNED" if any(run.pruned for run in team) else "FAILED"
        for run in team:
            if run.student.failure is not None:
                run.end(status, run.student.failure, with_cohort=False)
    # A run itself comes last: when it is finished nothing is left to do for its peers.
    alive = [run for team in teams for run in reversed(team) if run.student.failure is None]
    students = [run.student for run in alive]
    asked = splits if session.answers else splits[-1:]
    said = {split.name: student_logits(students, split) for split in asked}
    test = splits[-1]
    image = next(iter(test.batches())).images[:1]
    for place, run in enumerate(alive):
        logits = {name: found[place] for name, found in said.items()}
        if session.answers:
            _keep_answers(run, logits, splits, session)
        measured = test.metrics(logits[test.name], agreement=run.student.objective.needs_teacher)
        measured["latency_ms"] = latency_ms(run.student, image)
        run.finish(measured, confusion(logits[test.name], test.labels).tolist())


def _keep_answers(
    run: "_Run", logits: Mapping[str, Tensor], splits: Sequence[Split], session: Session
) -> None:
    """Write what a run says of every image, and what its teacher says, once a sweep."""
    classes = tuple(run.dataset.class_names)
    labels = {split.name: split.labels.cpu() for split in splits}
    taught = {s.name: s.teacher_logits.cpu() for s in splits if s.teacher_logits is not None}
    teacher = None
    if taught and run.student.objective.needs_teacher:
        home = session.home.folder if session.home else run.folder
        teacher = save_once(home / OF_TEACHERS, Answers(taught, labels, classes))
    own = {name: found.cpu() for name, found in logits.items()}
    save_answers(run.folder / ANSWERS, Answers(own, labels, classes, teacher))


def _end_all(runs: Sequence["_Run"], error: BaseException) -> None:
    """End every run that is still open, whatever can still be written."""
    killed = isinstance(error, KeyboardInterrupt | SystemExit)
    reason = "interrupted" if killed else f"{type(error).__name__}: {error}"
    if is_full(error):
        reason = "the disk is full"
    for run in runs:
        try:
            run.end("KILLED" if killed else "FAILED", reason, with_cohort=True)
        except OSError as another:
            level = logging.DEBUG if is_full(error) else logging.WARNING
            log.log(level, "the end of %s could not be written: %s", run.folder, another)


class _Pace:
    """Says after which epochs a checkpoint is written: it must not cost more than it saves.

    All students of a unit keep the same epochs, because they can only go on together. Which epochs
    are kept never alters a number: going on from any of them gives the same bits.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds, self._last = seconds, time.monotonic()
        self._epoch, self._due = 0, False

    def is_due(self, epoch: int) -> bool:
        if epoch != self._epoch:
            now = time.monotonic()
            self._epoch, self._due = epoch, now - self._last >= self._seconds
            self._last = now if self._due else self._last
        return self._due


class _Run:
    """One student on its way into its folder."""

    def __init__(
        self,
        place: Place,
        student: Student,
        session: Session,
        dataset: Dataset,
        pace: _Pace,
        watch: Watch | None = None,
    ) -> None:
        self.plan, self.folder, self.parent_id = place
        self.student, self.session, self.dataset = student, session, dataset
        self.pace, self.watch, self.pruned = pace, watch, False
        self.recorded = 0  # epochs whose metrics are written
        self.recorder = Recorder(
            self.folder,
            store=session.store,
            shipper=session.shipper,
            tensorboard=session.tensorboard,
        )
        self.metrics: dict[str, float] = {}
        self.ended: Result | None = None

    @property
    def bytes_left(self) -> int:
        """What it would still write: two checkpoints, and in the end its weights."""
        found = storage_size([self.student])
        is_over = self.ended is not None and self.ended["status"] == "FINISHED"
        return 0 if is_over else checkpoint.KEPT * (found.weights + found.rest) + found.weights

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoint"

    @property
    def saved(self) -> checkpoint.Saved:
        """Where its checkpoints are."""
        return checkpoint.Saved(self.checkpoints, self.student, self.plan.fingerprint)

    def start(self) -> None:
        plan, values = self.plan, self.plan.values
        self.session.folders.add(self.folder)
        for folder in (self.folder, self.checkpoints):
            drop_drafts(folder)
        identity = {
            "name": plan.name,
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
            opened=self._monitor,
        )
        self.recorded = self.student.epoch
        # A run that had only its test set to go finds its last epoch's metrics in the folder.
        self.metrics = _last_metrics(self.folder)
        self.recorder.log(f"objective: {self.student.objective.formula}")

    def _monitor(self, run_id: str) -> None:
        home = self.session.home
        own = run_id if self.plan.role == "run" else None
        self.session.monitor((home and home.parent_id) or own)

    def params(self) -> dict[str, object]:
        """What MLflow shows as columns: flat, readable, complete."""
        values = self.plan.values
        chosen: dict[str, object] = {
            "loss": loss_name(values),
            **plan_settings(self.plan),
            "seed": values["seed"],
            "student": values["student"]["name"],
            "teacher": teacher_name(self.plan) or "none",
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
        self.recorded = self.student.epoch
        self._log_ratios(metrics)
        line = " ".join(f"{key}={value:.5g}" for key, value in metrics.items())
        self.recorder.log(f"epoch {number}: {line}")
        self._ask_watch(metrics)
        self._save()
        if self.plan.role == "run":
            alive = self.student.failure is None
            self.session.standing(self.plan.name, metrics.get("val/acc") if alive else None)
        self.session.progress.epoch(self.student.epoch, self.session.best)

    def _log_ratios(self, metrics: dict[str, float]) -> None:
        """Said once, under the objective: how hard each soft term pulls at the student."""
        ratios = {k.removeprefix(RATIO): v for k, v in metrics.items() if k.startswith(RATIO)}
        if ratios:
            told = ", ".join(f"|{name}| = {ratio:.3g} |ce|" for name, ratio in ratios.items())
            self.recorder.log(f"weighted gradients of the first batch: {told}")

    def _ask_watch(self, metrics: dict[str, float]) -> None:
        # Before the checkpoint is written: what was decided about an epoch is never asked twice.
        if self.watch is None or self.student.failure is not None:
            return
        if (reason := self.watch(self.plan, self.student.epoch, metrics)) is not None:
            self.pruned = True
            self.student.fail(reason)

    def _save(self) -> None:
        if self.student.failure is None and self.pace.is_due(self.student.epoch):
            checkpoint.save(*self.saved)

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
        is_stage = self.plan.role == "stage"
        checkpoint.finish(self.checkpoints, self.student, metadata, terms=is_stage)
        pictures: list[Path] = []
        if self.session.plots == "run":
            pictures = self._draw(confusion)
        self._close("FINISHED", None, checkpoint.sha256(self.student.model), pictures)

    def _draw(self, confusion: list[list[int]]) -> list[Path]:
        """The pictures of a run, as far as they can be drawn."""
        curves, matrix = self.folder / "curves.png", self.folder / "confusion.png"
        with forgiving(str(curves)):
            curves_plot(read_rows(self.folder), curves)
        with forgiving(str(matrix)):
            confusion_plot(confusion, self.dataset.class_names, matrix)
        return [path for path in (curves, matrix) if path.is_file()]

    def end(self, status: str, reason: str | None, *, with_cohort: bool) -> None:
        """The run ended before its end, unless it had got there already.

        Args:
            with_cohort: whether it could go on, for not the run but its whole cohort was ended.
        """
        if self.ended is None:
            self._close(status, reason, None, [], with_cohort=with_cohort)

    def _close(
        self,
        status: str,
        reason: str | None,
        digest: str | None,
        pictures: list[Path],
        *,
        with_cohort: bool = False,
    ) -> None:
        measured = ("val/acc", "val/loss", "val/agreement")
        tested = ("test/acc", "test/loss", "test/ece", "test/agreement", "latency_ms")
        values = self.plan.values
        self.ended = {
            "status": status,
            "reason": reason,
            "name": self.plan.name,
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
            "with_cohort": with_cohort,
            "T": None,
            "alpha": None,
            **plan_settings(self.plan),
            "loss": loss_name(values),
            "student": values["student"]["name"],
            "teacher": teacher_name(self.plan),
        }
        try:
            if reason is not None:
                self.recorder.log(f"{status}: {reason}")
        finally:
            self.recorder.finish(self.ended, pictures)

    def result(self) -> Result:
        assert self.ended is not None
        return self.ended


def plan_settings(plan: Plan) -> dict[str, float]:
    """T and alpha, where they have an effect on the run."""
    return {key: plan.values[key] for key in plan.follows}


def teacher_name(plan: Plan) -> str | None:
    """The teacher of a run or of a stage that it begins with; None if nobody taught it."""
    taught = any(one.teacher is not None for one in (plan, *stages_of(plan)))
    return plan.values["teacher"]["name"] if taught else None


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


def _teacher(plan: Plan, features: Sequence[str], session: Session) -> Teacher | Ensemble:
    """The teacher of a plan, or those of an ensemble."""
    found = [
        _trained(key, replace(plan, values=one), features, session)
        for key, one in teachers(plan.values).items()
    ]
    return Ensemble(found) if plan.values["teacher"]["members"] else found[0]


def _trained(key: str, plan: Plan, features: Sequence[str], session: Session) -> Teacher:
    """The one teacher of a plan: a given file, or the store's, or trained now."""
    given = plan.values["teacher"]["checkpoint"]
    dataset = session.dataset(plan.values)
    if given is not None:
        teacher = build_teacher(plan.values, dataset, features, Path(given), key)
        _introduce(key, plan, teacher, Path(given), session)
        return teacher
    recipe = teacher_plan(plan.values, plan.digests)
    store = Path(plan.values["teacher"]["store"])
    folder = store / recipe.fingerprint
    make_folder(store, f"{key}.store")
    with FileLock(store / f"{recipe.fingerprint}.lock"):
        record = finished(Place(recipe, folder, None))
        if record is None:
            if (folder / RESULT).exists():
                session.progress.note(f"{recipe.name}: trained again, {folder} holds no whole one")
            # A frozen teacher is shared between sweeps; assistants belong to the one they are for.
            nested = "assistant" in (plan.role, recipe.role)
            parent = session.home.parent_id if session.home and nested else None
            record = _train_teacher(Place(recipe, folder, parent), session)
        else:
            session.catch_up(folder)
    weights = folder / "checkpoint" / "model.safetensors"
    teacher = build_teacher(plan.values, dataset, features, weights, key)
    _verify(recipe, folder, record, session)
    _introduce(key, plan, teacher, weights, session)
    return teacher


def _introduce(key: str, plan: Plan, teacher: Teacher, weights: Path, session: Session) -> None:
    """Print how good a teacher is, once a process, and warn if it is near chance."""
    values, dataset = plan.values, session.dataset(plan.values)
    mark = f"{weights.resolve()} {dataset.digest}"
    if mark in session.introduced:
        return
    session.introduced.add(mark)
    split = teacher_split(values, dataset, resolve_device(values["trainer"]["device"]))
    with torch_state(values["trainer"]["threads"]):
        acc = _accuracy(key, teacher, split)
    member, name = key.rpartition("teacher.members.")[2], values["teacher"]["name"]
    label = name if member in (key, name) else f"{name} ({member})"
    measured = f"{split.name} {100 * acc:.1f} %"
    session.progress.note(f"teacher {label}: {measured}")
    if is_near_chance(acc, dataset.num_classes):
        number, names = len(split.labels), tuple(dataset.class_names)
        advice = chance_warning(acc, number, names, dataset.image_shape)
        session.progress.warning(f"teacher {label}: {advice}")


def _accuracy(key: str, teacher: Teacher, split: Split) -> float:
    try:
        return measured_accuracy(teacher, split)
    except ValueError as error:
        raise UserError(f"{key} {error}") from error


def finished(place: Place) -> Result | None:
    """The result of a run that has its final weights in its folder, None if there is none.

    Weights that are not those of the result are damaged: that is a warning, and there is none.
    """
    result = result_of(place.folder, place.plan.fingerprint)
    if result is None or result["status"] != "FINISHED":
        return None
    weights = place.folder / "checkpoint" / "model.safetensors"
    if not weights.is_file():
        return None
    if not checkpoint.has_digest(weights, result["weights_sha256"]):
        log.warning("%s is passed over: it is not what was trained", weights)
        return None
    return result


def _train_teacher(place: Place, session: Session) -> Result:
    """Train a teacher as a run of its own. Its folder is its identity, so it is always resumed."""
    values = place.plan.values
    name = values["student"]["name"]
    session.teacher([place.plan])  # an assistant's own is trained first
    session.progress.teacher(name, values["trainer"]["epochs"])
    (result,) = train_cohort([place], session, resume=True)
    if result["status"] != "FINISHED":
        raise UserError(f"teacher {name}: {result['reason']}")
    session.progress.note(f"teacher {name}: kept in {place.folder}")
    return result


def _verify(recipe: Plan, folder: Path, record: Result, session: Session) -> None:
    """Measure a stored teacher again, as its own recipe would, against what its record claims."""
    values = recipe.values
    dataset = session.dataset(values)
    device = resolve_device(values["trainer"]["device"])
    splits = build_splits(values, dataset, device)
    split = splits.get("val", splits["test"])
    itself = {"model": values["student"]["model"], "seed": values["seed"]}
    as_recipe = {**values, "teacher": {**values["teacher"], **itself}}
    weights = folder / "checkpoint" / "model.safetensors"
    teacher = build_teacher(as_recipe, dataset, (), weights, "teacher")
    with torch_state(values["trainer"]["threads"]):
        measured = _accuracy(f"teacher.store: {folder}", teacher, split)
    key = f"{split.name}/acc"
    claimed = record[key]
    if claimed is None or abs(measured - claimed) > TOLERANCE:
        raise UserError(
            f"teacher.store: the teacher in {folder} reaches {key} {measured:.4f}, its record"
            f" claims {claimed}; remove the folder to train it again"
        )
