"""What a sweep would take: the arithmetic, and what `dry_run=true` and `kdsweep plan` print."""

import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Command, Outcome
from outcomes import interrupt
from rich.console import Console
from typer.testing import CliRunner

from kdsweep.cli import app
from kdsweep.common.types import Batch, Output
from kdsweep.sweeps import batch
from kdsweep.sweeps.estimate import probing
from kdsweep.sweeps.estimate.cost_model import (
    CohortGroup,
    TimeEstimate,
    disk,
    format_duration,
    lines,
    lockstep,
    one_by_one,
    show,
)
from kdsweep.training import profiling
from kdsweep.training.profiling import CohortProfile, StepTiming, StorageSize
from kdsweep.training.student import Student

STEP = StepTiming(data=1.0, teacher=10.0, units=(100.0, 200.0))
EVALUATION = StepTiming(data=0.1, teacher=0.2, units=(0.3, 0.4))
SIZES = (StorageSize(1, 1000, 3000), StorageSize(1, 2000, 6000))


def cohorts(**options: Any) -> CohortGroup:
    """Two runs of 5 epochs of 7 steps, side by side, that are measured on nothing."""
    made = CohortProfile((STEP,) * 3, (EVALUATION,) * 3, 10, SIZES, None, None)
    made = replace(made, **{key: options.pop(key) for key in made.__dict__ if key in options})
    given = {
        "name": "kl T=1, ...",
        "role": "run",
        "left": ((5, 5),),
        **{"epochs": 5, "steps_per_epoch": 7, "measured": 0},
        "tested": 0,
        "prediction_bytes": 0,
        "needs_teacher": (True, True),
        "probe": made,
    }
    return CohortGroup(**{**given, **options})  # type: ignore[arg-type]


def test_numbers_are_whole_whatever_the_width() -> None:
    file = StringIO()
    show([cohorts()], Console(file=file, width=30), copied=False)
    table = file.getvalue().partition("time ")[0]
    assert "…" not in table
    assert format_duration(one_by_one(cohorts()).middle) in table
    assert "kl T=1, ..." in table


def test_lockstep_reads_and_computes_once_and_separate_runs_each_for_itself() -> None:
    assert lockstep(cohorts()).middle == 5 * 7 * (1 + 10 + 100 + 200)
    assert one_by_one(cohorts()).middle == 5 * 7 * ((1 + 10 + 100) + (1 + 10 + 200))


def test_a_cohort_of_one_takes_what_the_run_takes() -> None:
    alone = replace(STEP, units=(100.0,))
    one = cohorts(left=((5,),), needs_teacher=(True,), steps=(alone,), evaluations=(alone,))
    assert lockstep(one) == one_by_one(one)


def test_twice_the_epochs_train_for_twice_the_time() -> None:
    twice = cohorts(left=((10, 10),))
    assert lockstep(twice).middle == 2 * lockstep(cohorts()).middle
    assert one_by_one(twice).middle == 2 * one_by_one(cohorts()).middle


def test_cohorts_of_one_kind_follow_each_other() -> None:
    assert lockstep(cohorts(left=((5, 5),) * 3)).middle == 3 * lockstep(cohorts()).middle
    teachers = lines([cohorts(role="teacher", left=((5, 5),) * 3)], copied=False)
    assert any(line.startswith("teachers   6 to train first") for line in teachers)


def test_epochs_that_are_there_cost_nothing() -> None:
    resumed = cohorts(left=((2, 4),))
    assert lockstep(resumed).middle == 7 * (4 * (1 + 10) + 2 * 100 + 4 * 200)


def test_a_run_that_needs_no_teacher_would_not_pay_for_one_alone() -> None:
    one_asks = cohorts(needs_teacher=(False, True))
    assert lockstep(one_asks) == lockstep(cohorts())
    assert one_by_one(one_asks).middle == one_by_one(cohorts()).middle - 5 * 7 * 10


def test_a_frozen_teacher_is_evaluated_once_and_one_that_learns_every_epoch() -> None:
    options: dict[str, Any] = {"steps_per_epoch": 0, "measured": 20, "tested": 30}
    students = (5 * 20 + 30) / 10 * (0.1 + 0.3 + 0.4)
    frozen = lockstep(cohorts(**options)).middle
    assert frozen == pytest.approx(students + (20 + 30) / 10 * 0.2)
    together = lockstep(cohorts(**options, teacher_size=SIZES[0])).middle
    assert together == pytest.approx(students + (5 * 20 + 30) / 10 * 0.2)


def test_separate_runs_take_no_less_whatever_was_measured() -> None:
    draw = torch.Generator().manual_seed(0)
    for _ in range(50):
        numbers = torch.rand(20, 4, generator=draw).tolist()
        laps = tuple(StepTiming(data, taught, (a, b)) for data, taught, a, b in numbers)
        left = tuple(torch.randint(0, 9, (2,), generator=draw).tolist())
        one = cohorts(steps=laps, evaluations=laps, left=(left,), tested=5)
        together, apart = lockstep(one), one_by_one(one)
        for bound in ("low", "middle", "high"):
            assert getattr(apart, bound) >= getattr(together, bound) - 1e-9


def test_a_time_is_a_median_between_two_of_the_measurements() -> None:
    found = TimeEstimate.of([float(number) for number in range(20)])
    assert found == TimeEstimate(
        5.0, 9.5, 14.0
    )  # the 6th and the 15th: 95.9 % of all medians of 20
    assert TimeEstimate.of([3.0, 1.0, 2.0]) == TimeEstimate(1.0, 2.0, 3.0)
    assert found + found == TimeEstimate(10.0, 19.0, 28.0)


def test_disk_holds_all_weights_and_the_checkpoints_of_one_cohort() -> None:
    needed = disk(
        [cohorts(left=((5, 5),) * 3, prediction_bytes=50), cohorts(teacher_size=SIZES[0])]
    )
    assert needed.weights == 3 * 3000 + 4000
    assert needed.predictions == 3 * 2 * 50
    assert needed.checkpoints == 2 * (12_000 + 4000)


def test_teachers_that_are_missing_are_named_with_their_share() -> None:
    (printed,) = [
        line
        for line in lines([cohorts(role="teacher", left=((5, 5),)), cohorts()], copied=False)
        if line.startswith("teachers")
    ]
    assert printed.split(maxsplit=1)[1] == "2 to train first, 3 h 01 min of that time"


@pytest.mark.parametrize(
    ("seconds", "printed"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (94, "1 min 34 s"),
        (11_100, "3 h 05 min"),
        (187_300, "2 d 4 h"),
    ],
)
def test_durations_are_readable(seconds: float, printed: str) -> None:
    assert format_duration(seconds) == printed


def plan(command: Command, *words: str) -> Outcome:
    outcome = command(*words, "dry_run=true")
    assert outcome.code == 0, outcome.err
    return outcome


def rows(outcome: Outcome) -> list[list[str]]:
    """The cells of the printed table."""
    return [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in outcome.out.splitlines()
        if line.startswith("│")
    ]


def files(folder: Path) -> dict[Path, float]:
    return {path: path.stat().st_mtime for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def hurried(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are slow enough that no more of them are timed than must be."""
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr(profiling, "SECONDS", 0.0)


@pytest.fixture
def own_store(tmp_path: Path) -> str:
    """A store of teachers that nobody else fills."""
    return f"teacher.store={tmp_path / 'own'}"


@pytest.mark.ci
def test_nothing_is_written_and_no_teacher_is_trained(command: Command, own_store: str) -> None:
    outcome = command("T=1,4", own_store, "dry_run=true", tracking=True)
    assert outcome.code == 0, outcome.err
    assert "as much again in MLflow" in outcome.out
    assert set(files(outcome.folder)) == {outcome.folder / "mlflow.db"}


@pytest.mark.ci
def test_a_plan_does_not_even_make_a_store(command: Command, own_store: str) -> None:
    outcome = plan(command, "tracking=mlflow", own_store)
    assert not files(outcome.folder)


@pytest.mark.ci
def test_runs_cohorts_and_teachers_are_counted(command: Command, own_store: str) -> None:
    outcome = plan(command, "loss=ce,kl", "T=1,4", "seed=0,1", own_store)
    assert "6 runs in 2 cohorts; nothing was trained" in outcome.out
    assert "teachers   1 to train first" in outcome.out
    teacher, runs = rows(outcome)
    assert teacher[:3] == ["teacher cnn fake", "1", "1"]
    assert runs[:3] == ["ce, ...", "2 x 3", "2"]
    assert outcome.err.count("timing 20 steps") == 2  # cohorts that differ in their seed: once


@pytest.mark.slow
def test_cohorts_of_another_kind_are_timed_on_their_own(command: Command) -> None:
    outcome = plan(command, "trainer.batch_size=16,32", "T=1,4")
    assert [row[1] for row in rows(outcome)][-2:] == ["2", "2"]
    assert outcome.err.count("timing 20 steps of 2 runs side by side") == 2


def test_a_step_on_several_devices_is_that_of_one_with_its_part_of_a_batch(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    profile = probing.profile_cohort

    def noting(units: Any, stream: Any, **options: Any) -> Any:
        sizes.append(stream.batch_size)
        return profile(units, stream, **options)

    monkeypatch.setattr(probing, "profile_cohort", noting)
    outcome = plan(command, "loss=ce", "trainer.batch_size=17", "trainer.devices=2")
    assert sizes == [9]
    assert "the part of a batch of one device" in outcome.out


@pytest.mark.slow
def test_a_teacher_that_is_there_is_not_counted(command: Command, trained: Command) -> None:
    assert (
        trained("T=1,4", "hydra.sweep.dir=mine").code == 0
    )  # leaves its teacher in the store of all tests
    outcome = plan(command, "T=1,4")
    assert "to train first" not in outcome.out
    assert [row[0] for row in rows(outcome)] == ["kl T=1 alpha=0.5, ..."]


@pytest.mark.slow
def test_each_teacher_of_a_chain_is_counted(command: Command, own_store: str) -> None:
    # The assistant's own teacher has a store of its own key.
    below = own_store.replace("teacher.", "teacher.teacher.")
    outcome = plan(command, "teacher=assistant", own_store, below, "teacher.teacher.model.width=4")
    assert [row[0].split()[0] for row in rows(outcome)] == ["teacher", "assistant", "kl"]
    assert "teachers   2 to train first" in outcome.out


@pytest.mark.slow
def test_teachers_of_an_ensemble_are_one_kind_where_they_differ_in_their_seed(
    command: Command, tmp_path: Path
) -> None:
    names = ("first", "second")
    words = [f"teacher.members.{name}.store={tmp_path / 'own'}" for name in names]
    words += [f"teacher.members.{name}.model.width=4" for name in names]
    outcome = plan(command, "teacher=ensemble", *words)
    teachers = [row for row in rows(outcome) if row[0].startswith("teacher")]
    assert sum(len(row[1].split(" x ")) for row in teachers) == 2


@pytest.mark.slow
@pytest.mark.parametrize("words", [["teacher=peers"], ["teacher.online=true"]])
def test_the_teachers_of_a_run_are_part_of_the_cohort(command: Command, words: list[str]) -> None:
    outcome = plan(command, *words, "T=1,4")
    assert [row[1] for row in rows(outcome)] == ["2"]
    assert "to train first" not in outcome.out


@pytest.mark.ci
def test_stages_are_trained_first(command: Command) -> None:
    outcome = plan(command, "stages=hints", "stages.hints.epochs=1", "T=1,4")
    assert "before them 1 stage" in outcome.out
    assert "2 runs in 1 cohort; nothing was trained" in outcome.out
    printed = [row[:3] for row in rows(outcome)]
    assert printed[-2:] == [["stage hints fitnet", "1", "1"], ["kl T=1 alpha=0.5, ...", "2", "2"]]


@pytest.mark.slow
def test_what_has_finished_costs_nothing(command: Command) -> None:
    assert command("T=1,4").code == 0
    assert "nothing is left to train" in plan(command, "T=1,4", "resume=true").out
    afresh = plan(command, "T=1,4")
    assert "resume=true continues in multirun/" in " ".join(afresh.out.split())
    assert [row[1] for row in rows(afresh)] == ["2"]


@pytest.mark.slow
def test_epochs_that_a_checkpoint_has_are_subtracted(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed: list[list[CohortGroup]] = []
    original = probing.show
    monkeypatch.setattr(
        probing,
        "show",
        lambda all, *rest, **more: (printed.append(all), original(all, *rest, **more)),
    )
    words = ["T=1,4", "trainer.epochs=4", "tracking.checkpoint_seconds=0"]
    with pytest.MonkeyPatch.context() as pressed:
        interrupt(pressed, epoch=3, seed=0)
        assert command(*words).code == 130
    plan(command, *words, "resume=true")
    plan(command, *words)
    assert [one.left for one in (printed[0][-1], printed[1][-1])] == [((1, 1),), ((4, 4),)]


@pytest.mark.slow
def test_the_word_plan_is_a_dry_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # the command sets another one
    words = ["dataset=fake", "dataset.source.num_train=100", "dataset.source.num_test=32"]
    words += ["student.model.width=8", "trainer.epochs=2", "loss=ce", "tracking=none"]
    result = CliRunner().invoke(app, ["plan", "-m", *words, "seed=0,1"])
    assert result.exit_code == 0, result.output
    assert "2 runs in 2 cohorts; nothing was trained" in result.output
    assert "in lockstep" in result.output
    assert not list(tmp_path.rglob("result.json"))


def test_a_run_that_fails_in_its_first_steps_is_reported(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(self: Student, *rest: object) -> None:
        raise RuntimeError("no kernel for this")

    monkeypatch.setattr(Student, "update", raises)
    outcome = command("loss=ce", "dry_run=true")
    assert outcome.code == 1
    assert (
        "ce seed=0 fails in its first steps: RuntimeError in epoch 0: no kernel for this"
        in outcome.err
    )
    assert "Traceback" not in outcome.err


def test_a_cohort_that_does_not_fit_into_memory_is_reported(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_full(self: Student, batch: Batch, step: int) -> Output:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(Student, "forward", is_full)
    outcome = command("loss=ce", "optimizer.lr=0.01,0.02", "dry_run=true")
    assert outcome.code == 1
    assert "hydra.launcher.cohort_size must be less than 2, for ce" in outcome.err


@pytest.mark.slow
def test_the_estimate_is_about_what_the_sweep_takes(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimated: list[float] = []
    took: list[float] = []
    train = batch.train

    def noted(everything: Sequence[CohortGroup], *rest: object, **more: object) -> None:
        estimated.append(sum(lockstep(one).middle for one in everything))

    def timed(*rest: Any, **more: Any) -> Any:
        began = time.perf_counter()
        results = train(*rest, **more)
        took.append(time.perf_counter() - began)
        return results

    monkeypatch.setattr(probing, "show", noted)
    monkeypatch.setattr(batch, "train", timed)
    words = ["dataset=digits", "tracking=none", "tracking.plots=none", "T=1,4,16"]
    words += ["trainer.epochs=20", "teacher.trainer.epochs=8"]
    for place in range(3):  # in turn: what disturbs the machine disturbs both
        store = f"teacher.store=store-{place}"
        plan(command, *words, store)
        assert command(*words, store).code == 0
    ratios = [guess / real for guess, real in zip(estimated, took, strict=True)]
    assert 0.5 < statistics.median(ratios) < 2, ratios
