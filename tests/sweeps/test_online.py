"""`teacher.online=true`: one teacher a cohort, trained with its students, is a run of the sweep."""

from pathlib import Path
from typing import Any

import pytest
from commands import Command, Outcome, Refusal
from mlflow import MlflowClient
from outcomes import both, digests, interrupt, parent_of, runs

from kdsweep.common.files import read_json
from kdsweep.execution.run_writer import RunWriter
from kdsweep.tracking.run_dir import read_rows
from kdsweep.training.student import Student

ONLINE = ["teacher.online=true"]


def teacher_of(outcome: Outcome) -> Path:
    """The folder of the one online teacher of the sweep."""
    (folder,) = (note.parent for note in outcome.sweep.glob("teacher-*/run.json"))
    return folder


def bits_of_teacher(outcome: Outcome) -> str:
    return str(read_json(teacher_of(outcome) / "result.json")["weights_sha256"])


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["loss=kl,[kl,fitnet]", "teacher.model.dropout=0.5"], marks=pytest.mark.ci),
        pytest.param(["T=1,4"], marks=pytest.mark.slow),
        pytest.param(["loss=ce,[kl,fitnet]", "teacher.model.dropout=0.5"], marks=pytest.mark.slow),
        pytest.param(["T=1,4", "seed=0,1"], marks=pytest.mark.slow),
    ],
)
def test_lockstep_gives_the_bits_of_separate_runs(command: Command, words: list[str]) -> None:
    together, alone = both(command, *ONLINE, *words)
    assert len(together) >= 2
    assert together == alone


@pytest.mark.slow
def test_any_neighbour_leaves_the_bits_of_student_and_teacher(command: Command) -> None:
    one = command(*ONLINE, "T=4,1")
    other = command(*ONLINE, "T=16,4", "alpha=0.5,0.9")
    name = "kl T=4 alpha=0.5 seed=0"
    assert digests(one)[name] == digests(other)[name]
    assert bits_of_teacher(one) == bits_of_teacher(other)


@pytest.mark.ci
def test_the_teacher_is_a_run_of_the_sweep_and_in_no_store(
    command: Command, tmp_path: Path
) -> None:
    outcome = command(*ONLINE, f"teacher.store={tmp_path}/mine", tracking=True)
    assert outcome.code == 0, outcome.err
    assert not (tmp_path / "mine").exists()
    found = runs(outcome)
    assert {role: len(them) for role, them in found.items()} == {"sweep": 1, "run": 1, "teacher": 1}
    (parent,), (teacher,) = found["sweep"], found["teacher"]
    assert parent_of(teacher) == parent_of(found["run"][0]) == parent.info.run_id
    assert teacher.info.run_name == "teacher cnn fake seed=0"
    assert teacher.info.status == "FINISHED"
    assert {"train/ce", "val/acc", "test/acc"} <= set(teacher.data.metrics)
    assert outcome.rows[0]["val/agreement"] is not None
    assert [row["role"] for row in outcome.rows] == ["run"]
    objective = (teacher_of(outcome) / "train.log").read_text()
    assert "objective: 1 ce" in objective


@pytest.mark.slow
def test_each_seed_has_a_teacher_and_a_second_cohort_replays_it(command: Command) -> None:
    words = [*ONLINE, "T=1,2,4", "seed=0,1"]
    whole = command(*words)
    assert len([*whole.sweep.glob("teacher-*/result.json")]) == 2
    assert digests(command(*words, "hydra.launcher.cohort_size=2")) == digests(whole)


def rows_once(outcome: Outcome, epochs: int) -> None:
    """Every epoch of the teacher is recorded once, in its folder and in MLflow."""
    rows = [row["epoch"] for row in read_rows(teacher_of(outcome)) if "lr" in row["metrics"]]
    assert rows == list(range(epochs))
    client = MlflowClient(tracking_uri=f"sqlite:///{outcome.folder}/mlflow.db")
    (teacher,) = runs(outcome)["teacher"]
    steps = [point.step for point in client.get_metric_history(teacher.info.run_id, "val/acc")]
    assert steps == list(range(epochs))


@pytest.mark.slow
def test_an_interrupted_sweep_resumes_with_the_same_bits(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*ONLINE, "T=1,4", "trainer.epochs=3", "tracking.checkpoint_seconds=0"]
    uninterrupted = command(*words)
    whole = digests(uninterrupted), bits_of_teacher(uninterrupted)
    with monkeypatch.context() as patch:
        interrupt(patch, epoch=2, seed=0)
        stopped = command(*words, tracking=True)
    assert stopped.code == 130
    assert [run.info.status for run in runs(stopped)["teacher"]] == ["KILLED"]
    resumed = command(*words, "resume=true", tracking=True)
    assert (digests(resumed), bits_of_teacher(resumed)) == whole
    rows_once(resumed, epochs=3)


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 3])
def test_a_sweep_stopped_between_the_ends_of_its_runs_has_its_teacher(
    command: Command, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    whole = command(*ONLINE, "T=1,4")
    finish, calls = RunWriter.finish, []

    def stopped(self: RunWriter, *arguments: Any) -> None:
        calls.append(self.folder.name)
        if len(calls) == number:
            raise KeyboardInterrupt
        finish(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(RunWriter, "finish", stopped)
        assert command(*ONLINE, "T=1,4").code == 130
    again = command(*ONLINE, "T=1,4", "resume=true")
    assert again.code == 0, again.err
    assert read_json(teacher_of(again) / "result.json")["status"] == "FINISHED"
    assert digests(again) == digests(whole)
    assert bits_of_teacher(again) == bits_of_teacher(whole)


@pytest.mark.slow
def test_a_run_that_lost_its_checkpoints_is_taught_again_from_the_start(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*ONLINE, "T=1,4", "trainer.epochs=3", "tracking.checkpoint_seconds=0"]
    whole = digests(command(*words))
    with monkeypatch.context() as patch:
        interrupt(patch, epoch=2, seed=0)
        stopped = command(*words, tracking=True)
    for file in (stopped.sweep / "0/checkpoint").iterdir():
        file.unlink()
    resumed = command(*words, "resume=true", tracking=True)
    assert digests(resumed) == whole
    rows_once(resumed, epochs=3)


@pytest.mark.slow
def test_a_run_that_is_missing_next_to_a_finished_teacher_is_taught_by_a_silent_replay(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*ONLINE, "T=1,4"]
    whole = command(*words, tracking=True)
    before = digests(whole)
    (whole.sweep / "1/result.json").unlink()
    for file in (whole.sweep / "1/checkpoint").iterdir():
        file.unlink()
    resumed = command(*words, "resume=true", tracking=True)
    assert digests(resumed) == before
    rows_once(resumed, epochs=2)


def test_a_teacher_whose_students_all_diverged_is_not_trained_to_its_end(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(self: Student, *arguments: object) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(Student, "step", diverge)
    outcome = command(*ONLINE)
    assert outcome.code == 1
    ended = read_json(teacher_of(outcome) / "result.json")
    assert (ended["status"], ended["reason"]) == ("PRUNED", "no student was left to teach")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["teacher.checkpoint=some.pt"],
            "teacher.checkpoint must be empty with teacher.online=true, got some.pt",
        ),
        (
            ["teacher=assistant"],
            "teacher.teacher must be empty with teacher.online=true, got cnn",
        ),
        (["teacher=assistant"], "teacher.loss must be empty with teacher.online=true, got kl"),
        (["teacher=ensemble"], "teacher.members must be empty with teacher.online=true, got first"),
        (["teacher=peers"], "teacher.peers must be empty with teacher.online=true, got second"),
        (["teacher=none"], "teacher must be a model for these loss terms, got none"),
        (["teacher.model.width=0"], "teacher.model.width must be"),
        (["teacher.schedule.warmup_epochs=9"], "teacher.schedule.warmup_epochs must be less than"),
        (
            ["teacher=assistant", "teacher.online=false", "+teacher.teacher.online=true"],
            "teacher.teacher.online must be false below the root, got true",
        ),
    ],
)
def test_bad_input(refusal: Refusal, words: list[str], sentence: str) -> None:
    message = {word.partition("=")[0] for word in words}
    base = [word for word in ONLINE if word.partition("=")[0] not in message]
    assert sentence in refusal(*base, *words)
