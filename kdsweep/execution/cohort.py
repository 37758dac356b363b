"""Trains a cohort: one stream, one teacher, N students in lockstep, each recorded as a run."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field

from filelock import Timeout

from kdsweep.builders.data import build_splits, build_stream
from kdsweep.builders.device import resolve_device
from kdsweep.builders.models import load_checkpoint
from kdsweep.common.pacing import with_lines
from kdsweep.data.pipeline.split import Dataset
from kdsweep.errors import RunFailed
from kdsweep.execution.cohort_watcher import CohortWatcher, watched
from kdsweep.execution.context import TrainingContext, readable_data
from kdsweep.execution.distributed import device_group, lost_process_named, trained_students
from kdsweep.execution.evaluation import (
    evaluate_trained,
    measured_every_epoch,
    save_run_predictions,
    with_frozen_teacher,
)
from kdsweep.execution.run_writer import CheckpointThrottle, EpochCallback, RunWriter
from kdsweep.execution.target import (
    RunTarget,
    SweepLocation,
    finished_result,
    recorded_result,
    stage_target,
)
from kdsweep.execution.teacher_logits import with_logit_cache
from kdsweep.execution.teacher_store import guard_teacher, load_teacher
from kdsweep.execution.trained_part import trained_part
from kdsweep.runs.units import build_online_teacher, build_unit, taught, view_of_teacher
from kdsweep.tracking.disk import disk_full, full_folder, how_to_resume, is_full
from kdsweep.tracking.result import RunResult
from kdsweep.training import checkpoint
from kdsweep.training.checkpoint import share_state
from kdsweep.training.device_group import DeviceGroup
from kdsweep.training.evaluation import Split
from kdsweep.training.latency import latency_ms
from kdsweep.training.online_teacher import OnlineTeacher
from kdsweep.training.student import Student
from kdsweep.training.trainer import AnyTeacher, CohortUnit, fit, torch_state
from kdsweep.training.weight_files import read_weight_file

log = logging.getLogger(__name__)


@dataclass
class _Cohort:
    """The writers of a cohort: one group a unit, whose runs can only be resumed together."""

    groups: list[list[RunWriter]] = field(default_factory=list)
    online_teacher: RunWriter | None = None

    @property
    def writers(self) -> list[RunWriter]:
        return [writer for group in self.all_groups for writer in group]

    @property
    def all_groups(self) -> list[list[RunWriter]]:
        """The groups, with that of a recorded online teacher first.

        They end in this order: once all runs of a sweep have ended, nothing resumes their teacher.
        """
        return [*([[self.online_teacher]] if self.online_teacher else []), *self.groups]


@readable_data()
def train_cohort(
    targets: Sequence[RunTarget],
    context: TrainingContext,
    *,
    resume: bool = False,
    on_epoch: EpochCallback | None = None,
) -> list[RunResult]:
    """Train runs in lockstep, each into its own directory.

    Args:
        targets: runs that may share a cohort, their teachers and stages trained; with `resume`, the
            checkpoints and MLflow runs in their directories are resumed.
        on_epoch: may stop single runs early.

    Returns:
        Each run's result, in order. A run that failed or was pruned alone has the status
        FAILED or PRUNED; an exception of the teacher or the stream fails all and is raised.
    """
    specs = [target.spec for target in targets]
    config = specs[0].config
    dataset = context.dataset(config)
    context.forget_sources()  # the preflight has cut every data set by now
    with closing(dataset), device_group(specs, config.cache) as devices:
        return _train_on(devices, targets, dataset, context, resume=resume, on_epoch=on_epoch)


def _train_on(
    devices: DeviceGroup,
    targets: Sequence[RunTarget],
    dataset: Dataset,
    context: TrainingContext,
    *,
    resume: bool,
    on_epoch: EpochCallback | None,
) -> list[RunResult]:
    """Train a cohort in the first of the processes that do so."""
    specs = [target.spec for target in targets]
    config = specs[0].config
    device = resolve_device(config.trainer.device)
    stream = build_stream(
        config, dataset, device, devices.rows, teacher_view=view_of_teacher(specs)
    )
    splits = watched(build_splits(config, dataset, device), context.progress)
    with _online_teacher(targets, context, dataset, stream.steps_per_epoch) as (online, writer):
        frozen = None if online else load_teacher(specs, context)
        learner = taught(specs)
        guarded = {} if learner is None else guard_teacher(frozen, learner, stream, context)
        teacher = online or with_logit_cache(frozen, specs, dataset, context)
        networks = teacher.networks if teacher else ()
        units = [
            build_unit(spec, dataset, networks, stream.steps_per_epoch)
            for spec in with_lines(specs, "building students")
        ]
        groups = [
            _group(target, unit, context, dataset, on_epoch)
            for target, unit in zip(targets, units, strict=True)
        ]
        for own, *_ in groups:
            if own.spec.requirements.needs_teacher:
                own.tags |= guarded
        cohort = _Cohort(groups, writer)
        with _ended_on_error(cohort), lost_process_named(devices):
            for target, unit in zip(targets, units, strict=True):
                _load_stage_weights(target, unit.students[0], context)
            with trained_part(units, stream, config, dataset, context) as (batches, view):
                _start(cohort, resume)
                share_state(trained_students(units, teacher), devices)
                with torch_state(config.trainer.threads, device):
                    splits = with_frozen_teacher(splits, teacher, test=config.trainer.test_curve)
                measured = measured_every_epoch(splits, test_curve=config.trainer.test_curve)
                fit(
                    units,
                    batches,
                    teacher=teacher,
                    splits=view(measured),
                    epochs=config.trainer.epochs,
                    threads=config.trainer.threads,
                    record=EpochRecorder({w.student: w for w in cohort.writers}, context),
                    watcher=CohortWatcher([group[0] for group in groups], context),
                    group=devices,
                )
            _prune_idle_teacher(writer, config.trainer.epochs)
            with torch_state(config.trainer.threads, device):
                _finish(cohort, list(splits.values()), teacher, context)
    return [group[0].result for group in groups]


@contextmanager
def _online_teacher(
    targets: Sequence[RunTarget], context: TrainingContext, dataset: Dataset, steps: int
) -> Iterator[tuple[OnlineTeacher | None, RunWriter | None]]:
    """Yield the online teacher of a cohort and its writer.

    It is recorded once per sweep: if its run has finished or is locked by another process, the
    teacher is trained again without a record, to the same bits.
    """
    specs = [target.spec for target in targets]
    spec = taught(specs)
    if spec is None or (run := spec.online_teacher) is None:
        yield None, None
        return
    teacher = build_online_teacher(run, specs, dataset, steps)
    sweep = context.sweep or SweepLocation(targets[0].run_dir)
    target = RunTarget(run, sweep.folder / f"teacher-{run.fingerprint}", sweep.parent_run_id)
    throttle = CheckpointThrottle(context.options.checkpoint_seconds)
    writer = RunWriter(target, teacher.student, context, dataset, throttle)
    with ExitStack() as held:
        try:
            held.enter_context(target.lock().acquire(blocking=False))
            is_recorded = finished_result(target) is not None
        except Timeout:
            is_recorded = True
        yield teacher, None if is_recorded else writer


def _group(
    target: RunTarget,
    unit: CohortUnit,
    context: TrainingContext,
    dataset: Dataset,
    on_epoch: EpochCallback | None,
) -> list[RunWriter]:
    """The writer of a unit's run, and those of its peers in directories inside of the run's own."""
    throttle = CheckpointThrottle(context.options.checkpoint_seconds)
    own, *others = unit.students
    group = [RunWriter(target, own, context, dataset, throttle, on_epoch)]
    for (name, spec), student in zip(target.spec.peers.items(), others, strict=True):
        peer = RunTarget(spec, target.run_dir / "peers" / name, target.parent_run_id)
        group.append(RunWriter(peer, student, context, dataset, throttle))
    return group


def _load_stage_weights(target: RunTarget, student: Student, context: TrainingContext) -> None:
    """Load the weights of the stage before; a stage that stopped early fails the run."""
    if (stage := stage_target(target, context.sweep)) is None:
        return
    if finished_result(stage) is None:
        result = recorded_result(stage)
        reason = "not there" if result is None else result.reason
        student.fail(f"its {stage.spec.cell.name}: {reason}")
        return
    load_checkpoint(student.model, stage.weights, "stages")
    terms = stage.checkpoints / checkpoint.TERMS
    if terms.is_file():  # else no term has parameters of its own
        student.objective.load_stage_state(read_weight_file(terms).tree)


def _start(cohort: _Cohort, resume: bool) -> None:
    """Open every run's directory, each at the epoch it resumes from."""
    for group in cohort.groups if resume else ():
        checkpoint.load_latest([writer.saved for writer in group])
    first = min(writer.student.epoch for group in cohort.groups for writer in group)
    if (teacher := cohort.online_teacher) is not None:  # its targets are needed from there on
        checkpoint.load_latest([teacher.saved], at_most=first)
    for writer in cohort.writers:
        writer.start()


class EpochRecorder:
    """Records the metrics of a student's epoch, and stops a cohort when the time is over."""

    def __init__(self, writers: Mapping[Student, RunWriter], context: TrainingContext) -> None:
        self._writers, self._context = writers, context

    def __call__(self, student: Student, metrics: dict[str, float]) -> None:
        if student not in self._writers:  # an online teacher may have no record
            return
        self._writers[student].epoch(metrics)
        if self._context.stop_in_time is None:
            return
        try:
            self._context.stop_in_time()
        except SystemExit:
            alive = [w for w in self._writers.values() if w.student.failure is None]
            if any(writer.recorded < student.epoch for writer in alive):
                return  # the last one to record this epoch stops them
            for writer in alive:  # a checkpoint of each, so that no training is lost
                checkpoint.save(*writer.saved)
            raise


def _prune_idle_teacher(writer: RunWriter | None, epochs: int) -> None:
    """End the run of an online teacher whose students have all ended before it."""
    if writer is not None and writer.student.failure is None and writer.student.epoch < epochs:
        writer.pruned = True
        writer.student.fail("no student was left to teach")


def _finish(
    cohort: _Cohort,
    splits: Sequence[Split],
    teacher: AnyTeacher | None,
    context: TrainingContext,
) -> None:
    """Evaluate the test set (the last split), once, for every run that was trained to its end."""
    for group in cohort.all_groups:
        status = "PRUNED" if any(writer.pruned for writer in group) else "FAILED"
        for writer in group:
            if writer.student.failure is not None:
                writer.end(status, writer.student.failure, with_cohort=False)
    # A run itself comes after its peers: when it has finished nothing is left to do for them.
    alive = [w for group in cohort.all_groups for w in reversed(group) if w.student.failure is None]
    if not alive:
        return
    students = [writer.student for writer in alive]
    keep_predictions = context.options.answers
    kept = splits if keep_predictions else splits[-1:]
    evaluated = [evaluate_trained(students, split, teacher) for split in kept]
    measured = evaluated[-1].metrics(students)
    image = next(iter(splits[-1].batches())).images[:1]
    for place, writer in enumerate(with_lines(alive, "writing the results of the runs")):
        if keep_predictions:
            save_run_predictions(writer, place, evaluated, context)
        counts = evaluated[-1].confusion(place) if context.options.plots == "run" else None
        latency = latency_ms(writer.student, image)
        writer.finish({**measured[place], "latency_ms": latency}, counts)


@contextmanager
def _ended_on_error(cohort: _Cohort) -> Iterator[None]:
    """End every run that is still open when the cohort is stopped, then raise what stopped it."""
    try:
        yield
    except BaseException as error:
        writers = cohort.writers
        _end_all(writers, error)
        if is_full(error):
            advice = how_to_resume(sum(writer.bytes_left for writer in writers))
            folder = full_folder(error, writers[0].folder) or writers[0].folder
            raise disk_full(folder, advice) from error
        if isinstance(error, OSError):
            # The file is named only if the error does (of a folder that was taken away, for one):
            # a broken connection is no fault of a folder.
            if error.filename is not None:
                raise RunFailed(f"cannot continue in {error.filename}: {error}") from error
            advice = "debug=true shows where it was raised"
            raise RunFailed(f"cannot continue: {error!r} ({advice})") from error
        raise


def _end_all(writers: Sequence[RunWriter], error: BaseException) -> None:
    """End every run that is still open, as far as it can still be written."""
    killed, is_disk_full = isinstance(error, KeyboardInterrupt | SystemExit), is_full(error)
    reason = "interrupted" if killed else f"{type(error).__name__}: {error}"
    if is_disk_full:
        reason = "the disk is full"
    for writer in writers:
        try:
            writer.end("KILLED" if killed else "FAILED", reason, with_cohort=True)
        except OSError as another:
            level = logging.DEBUG if is_disk_full else logging.WARNING
            log.log(level, "the end of %s could not be written: %s", writer.folder, another)
