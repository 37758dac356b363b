"""What a controller makes of units that other processes train: results, retries, failures."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from commands import Targets
from worker_in_process import Instead, WorkerInProcess

from kdsweep.errors import RunFailed, UserError
from kdsweep.execution.context import TrainingContext
from kdsweep.execution.run_writer import EpochCallback
from kdsweep.execution.target import RunTarget, SweepLocation, recorded_result
from kdsweep.execution.worklist import cohorts
from kdsweep.tracking.console import Progress
from kdsweep.tracking.result import RunResult
from kdsweep.training.student import Student
from kdsweep.work import attempt, processes
from kdsweep.work.attempt import Attempt, latest
from kdsweep.work.controller import train_by
from kdsweep.work.display import UnitDisplay
from kdsweep.work.executor import Exit
from kdsweep.work.graph import UnitGraph
from kdsweep.work.inline import train
from kdsweep.work.open_training import OpenTraining
from kdsweep.work.processes import MOST_DEATHS, MOST_PARKED, Processes
from kdsweep.work.stopping import Parked
from kdsweep.work.unit_file import numbers, read_unit
from kdsweep.work.unit_specs import UnitRecorder

UNTRACKED = {"uri": None, "plots": "none", "checkpoint_seconds": 0}


@pytest.fixture
def context(tmp_path: Path) -> Iterator[TrainingContext]:
    with closing(TrainingContext(UNTRACKED, Progress())) as opened:
        opened.sweep = SweepLocation(tmp_path)
        yield opened


def train_in_units(
    runs: Sequence[RunTarget],
    context: TrainingContext,
    instead: Instead = lambda number: None,
    capacity: int | None = None,
) -> tuple[dict[str, RunResult], WorkerInProcess]:
    assert context.sweep is not None
    executor = WorkerInProcess(context.sweep.folder, instead)
    results = train_by(executor, runs, context, partial(cohorts, capacity=capacity))
    assert executor.is_closed
    return results, executor


def digests(results: dict[str, RunResult]) -> dict[str, str | None]:
    assert {result.status for result in results.values()} == {"FINISHED"}
    return {name: result.weights_sha256 for name, result in results.items()}


@pytest.mark.ci
def test_units_give_the_bits_of_this_process(
    targets: Targets, context: TrainingContext, tmp_path: Path
) -> None:
    runs = targets(["T=1"], ["T=4"], ["seed=1"])
    by_units, executor = train_in_units(runs, context, capacity=1)
    assert executor.submitted == [0, 1, 2, 3]
    assert [read_unit(tmp_path, number).role for number in numbers(tmp_path)] == [
        *["teacher", "run", "run", "run"]
    ]
    assert {latest(tmp_path, number).state for number in numbers(tmp_path)} == {  # type: ignore[union-attr]
        attempt.DONE
    }
    context.sweep = SweepLocation(tmp_path / "alone")
    alone = [run._replace(run_dir=tmp_path / "alone" / run.run_dir.name) for run in runs]
    assert digests(by_units) == digests(train(alone, context))


@pytest.mark.ci
def test_a_process_that_dies_is_replaced(
    targets: Targets, context: TrainingContext, capsys: pytest.CaptureFixture[str]
) -> None:
    deaths = iter(["killed by signal 9", "killed by signal 9"])
    instead = lambda number: next(deaths, None) if number == 1 else None  # noqa: E731
    results, executor = train_in_units(
        targets(["loss=ce"], ["loss=ce", "seed=1"]), context, instead
    )
    assert executor.submitted == [0, 1, 1, 1]
    digests(results)
    assert (
        "unit 1, ce seed=1: its process has ended (killed by signal 9)" in capsys.readouterr().err
    )


def test_a_unit_whose_processes_die_again_and_again_fails_with_the_reason(
    targets: Targets, context: TrainingContext
) -> None:
    runs = targets(["loss=ce"], ["loss=ce", "seed=1"])
    instead = lambda number: "no memory is left" if number == 1 else None  # noqa: E731
    results, executor = train_in_units(runs, context, instead)
    assert executor.submitted.count(1) == MOST_DEATHS
    first, second = (results[run.spec.fingerprint] for run in runs)
    assert first.status == "FINISHED"
    assert second.status == "FAILED"
    assert second.with_cohort  # so that it is resumed
    assert str(second.reason).endswith("3 times without a new checkpoint: no memory is left")
    assert recorded_result(runs[1]) == second


@pytest.mark.ci
def test_deaths_with_progress_do_not_count(
    targets: Targets, context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies after every epoch gets to the end."""
    runs = targets(["loss=ce", "trainer.epochs=6"])
    step, began = Student.step, set()

    def dying(self: Student, *arguments: object) -> None:
        if self.epoch and self.epoch not in began:
            began.add(self.epoch)
            raise KeyboardInterrupt
        step(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Student, "step", dying)
    monkeypatch.setattr(attempt, "PARKED", "gone")  # as if it had not come to write its state
    results, executor = train_in_units(runs, context)
    assert len(executor.submitted) == 6
    digests(results)


def test_a_unit_that_is_parked_before_it_gets_anywhere_fails_in_the_end(
    targets: Targets, context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in jobs whose time limit is shorter than an epoch."""

    def park(*arguments: object) -> None:
        raise Parked

    monkeypatch.setattr(Student, "step", park)
    results, executor = train_in_units(targets(["loss=ce"]), context)
    assert len(executor.submitted) == MOST_PARKED
    (result,) = results.values()
    assert result.status == "FAILED"
    assert result.with_cohort  # so that it is resumed
    assert "10 times without a new checkpoint" in str(result.reason)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143)])
def test_only_a_signal_leaves_the_jobs_that_an_earlier_controller_has_submitted(
    targets: Targets,
    context: TrainingContext,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    error: BaseException,
) -> None:
    """Also while the units are planned, which takes a while for thousands of them."""

    def stopped(*arguments: object) -> None:
        raise error

    monkeypatch.setattr("kdsweep.work.controller.plan_units", stopped)
    executor = WorkerInProcess(tmp_path)
    with pytest.raises(type(error)):
        train_by(executor, targets(["loss=ce"]), context, partial(cohorts, capacity=None))
    assert (executor.is_closed, executor.is_left) == (True, isinstance(error, SystemExit))


@pytest.mark.ci
def test_a_failed_teacher_fails_what_needs_it_with_its_reason(
    targets: Targets, context: TrainingContext
) -> None:
    diverges = ["teacher.optimizer.lr=1e9", "teacher.trainer.epochs=2"]
    runs = targets([*diverges, "T=1"], ["loss=ce"], ["seed=1"])
    results, _ = train_in_units(runs, context)
    first, second, third = (results[run.spec.fingerprint] for run in runs)
    assert (first.status, second.status, third.status) == ("FAILED", "FINISHED", "FINISHED")
    assert str(first.reason).startswith("teacher cnn: ")


@pytest.mark.ci
def test_the_same_in_this_process(targets: Targets, context: TrainingContext) -> None:
    diverges = ["teacher.optimizer.lr=1e9", "teacher.trainer.epochs=2"]
    runs = targets([*diverges, "T=1"], ["loss=ce"], ["seed=1"])
    results = train(runs, context)
    assert [results[run.spec.fingerprint].status for run in runs] == [
        *["FAILED", "FINISHED", "FINISHED"]
    ]


def test_a_teacher_that_all_need_ends_the_sweep(targets: Targets, context: TrainingContext) -> None:
    diverges = ["teacher.optimizer.lr=1e9", "teacher.trainer.epochs=2"]
    with pytest.raises(UserError, match=r"^teacher cnn: "):
        train_in_units(targets([*diverges, "T=1"], [*diverges, "T=4"]), context)


@pytest.mark.ci
def test_what_a_unit_raises_fails_it_alone(
    targets: Targets, context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kdsweep.execution import cohort

    build, runs = cohort.build_stream, targets(["loss=ce"], ["loss=ce", "seed=1"])

    def broken(config: object, *rest: object, **named: object) -> object:
        if config is not None and getattr(config, "seed", 0) == 1:
            raise UserError("dataset.root must hold images that can be read, got a broken one")
        return build(config, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(cohort, "build_stream", broken)
    results, executor = train_in_units(runs, context)
    assert executor.submitted == [0, 1]
    assert results[runs[0].spec.fingerprint].status == "FINISHED"
    assert results[runs[1].spec.fingerprint].reason == (
        "dataset.root must hold images that can be read, got a broken one"
    )


def test_in_a_search_what_a_unit_raises_ends_it_to_be_resumed(
    targets: Targets, context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that is away for a moment is no fault of the trials."""
    from kdsweep.execution import cohort

    (run,) = targets(["loss=ce"])

    def away(*rest: object, **named: object) -> object:
        raise OSError("the file system is away")

    def training() -> OpenTraining:
        assert context.sweep is not None
        executor = WorkerInProcess(context.sweep.folder, lambda number: None)
        return OpenTraining(executor, context, capacity=None, at_a_time=1, on_epoch=lambda *_: None)

    with monkeypatch.context() as patch:
        patch.setattr(cohort, "build_stream", away)
        stopped = training()
        stopped.add([run])
        with pytest.raises(RunFailed, match="the file system is away"):
            stopped.step()
        stopped.close()
    again, results = training(), {}
    again.add([run])
    while not results:
        results = again.step().results
    again.close()
    assert results[run.spec.fingerprint].status == "FINISHED"


def test_a_unit_that_another_process_has_is_waited_for(
    targets: Targets, context: TrainingContext, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A controller that starts again trains nothing twice, and keeps the units that there are."""
    runs = targets(["loss=ce"], ["loss=ce", "seed=1"])
    with pytest.raises(KeyboardInterrupt):
        train_in_units(runs, context, _interrupt)
    held = Attempt.make(tmp_path, 0, 1)
    assert held is not None

    def park_the_other(number: int) -> None:
        if number == 1:
            held.end(attempt.PARKED)

    results, executor = train_in_units(runs, context, park_the_other)
    assert executor.submitted == [1, 0]
    assert numbers(tmp_path) == [0, 1]
    digests(results)
    assert "unit 0, ce seed=0: still trained by process" in capsys.readouterr().err


@pytest.mark.ci
def test_what_is_tried_again_is_submitted_together_and_as_there_is_room(
    targets: Targets, context: TrainingContext, tmp_path: Path
) -> None:
    """As jobs that are all cancelled, or a unit that is left while all workers are busy."""

    class Queue(WorkerInProcess):
        submissions: list[Sequence[int]] = []  # noqa: RUF012
        room = 3

        def free(self) -> int:
            return self.room - len(self._waiting)

        def submit(self, numbers: Sequence[int]) -> None:
            assert len(numbers) <= self.free()
            self.submissions.append([*numbers])
            super().submit(numbers)

        def poll(self, seconds: float) -> Sequence[Exit]:
            if len(self.submissions) > 1:
                return super().poll(seconds)
            self.room = 2
            return [Exit(self._waiting.popleft(), "cancelled") for _ in range(3)]

    runs = targets(*(["loss=ce", f"seed={seed}"] for seed in range(4)))
    queue = Queue(tmp_path)
    digests(train_by(queue, runs, context, partial(cohorts, capacity=1)))
    assert queue.submissions == [[0, 1, 2], [0, 1], [2], [3]]


def test_runs_are_planned_anew_where_units_do_not_fit(
    targets: Targets, context: TrainingContext, tmp_path: Path
) -> None:
    """As where another controller has ended one of its runs meanwhile."""
    runs = targets(["loss=ce"], ["loss=ce", "student.model.width=4"])
    with pytest.raises(KeyboardInterrupt):
        train_in_units(runs, context, _interrupt)
    results, executor = train_in_units(runs[1:], context)
    assert executor.submitted == [1]
    digests(results)
    assert latest(tmp_path, 0).state == attempt.WITHDRAWN  # type: ignore[union-attr]


def test_this_process_leaves_no_unit_to_others(
    targets: Targets, context: TrainingContext, tmp_path: Path
) -> None:
    runs = targets(["loss=ce"])
    with pytest.raises(KeyboardInterrupt):
        train_in_units(runs, context, _interrupt)
    digests(train(runs, context, resume=True))
    assert latest(tmp_path, 0).state == attempt.WITHDRAWN  # type: ignore[union-attr]


def processes_without_units(
    context: TrainingContext, folder: Path, on_epoch: EpochCallback | None = None
) -> Processes:
    assert context.sweep is not None
    return Processes(
        WorkerInProcess(folder, lambda number: None),
        context,
        UnitGraph(context.sweep),
        UnitRecorder(context.sweep, folder),
        UnitDisplay(context.progress),
        on_epoch=on_epoch,
    )


def test_looking_at_many_units_takes_a_small_part_of_the_time(
    context: TrainingContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, looks = [0.0], []

    def look(self: Processes) -> list[None]:
        looks.append(now[0])
        now[0] += 0.02 if now[0] < 10 else 5.0
        return []

    monkeypatch.setattr(processes, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(Processes, "_look", look)
    placed = processes_without_units(context, tmp_path)
    while now[0] < 100:
        placed.poll(0)
        now[0] += 0.25
    assert np.diff(looks[:9]).max() < 1.3  # of a few units: every second
    assert np.diff([look for look in looks if look > 10]).min() >= 50.0


def test_epochs_are_reported_every_second_however_long_the_looks_take(
    context: TrainingContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial that is to be pruned would else be at its end by then."""
    now, reports = [0.0], []

    def slow_look(self: Processes) -> list[None]:
        now[0] += 5.0
        return []

    monkeypatch.setattr(processes, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(Processes, "_look", slow_look)
    monkeypatch.setattr(processes.EpochReports, "look", lambda self: reports.append(now[0]))
    placed = processes_without_units(context, tmp_path, on_epoch=lambda *_: None)
    while now[0] < 100:
        placed.poll(0)
        now[0] += 0.25
    assert np.diff(reports).max() <= 5.0 + 1.0  # the longest gap is one slow look


def _interrupt(number: int) -> str:
    raise KeyboardInterrupt
