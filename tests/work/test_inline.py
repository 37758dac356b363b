"""What is trained in this process, and what it does when the memory does not suffice."""

import gc
import weakref
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from commands import Command
from outcomes import interrupt, runs
from safetensors.torch import load_file

from kdsweep.training.student import Student
from kdsweep.work import inline


@pytest.mark.slow
def test_a_second_sweep_trains_no_teacher(command: Command, own_teachers: str) -> None:
    command("T=1,4", own_teachers, tracking=True)
    outcome = command("T=2,8", own_teachers, tracking=True)
    assert len(runs(outcome)["teacher"]) == 1


@pytest.mark.slow
def test_an_interrupted_teacher_resumes_from_its_last_epoch(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recipe = ["teacher.trainer.epochs=3", "tracking.checkpoint_seconds=0"]
    uninterrupted = command(*recipe, f"teacher.store={tmp_path}/whole")
    assert uninterrupted.code == 0, uninterrupted.err
    mine = [*recipe, f"teacher.store={tmp_path}/mine"]
    with monkeypatch.context() as patch:
        interrupt(patch, epoch=2, seed=0)
        assert command(*mine).code == 130
    assert command(*mine, "resume=true").code == 0
    (one,) = (tmp_path / "whole").glob("*/checkpoint/model.safetensors")
    (other,) = (tmp_path / "mine").glob("*/checkpoint/model.safetensors")
    weights, again = load_file(one), load_file(other)
    assert all(torch.equal(weights[name], again[name]) for name in weights | again)


@pytest.mark.slow
def test_a_sweep_that_does_not_fit_into_memory_is_split_and_ends_with_the_same_bits(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["T=1,2,4,8", "tracking.checkpoint_seconds=0"]
    whole = {row["name"]: row["weights_sha256"] for row in command(*words).rows}
    step = Student.step
    seen: list[Student] = []

    def hungry(self: Student, *arguments: object) -> None:
        if self.epoch == 1 and not seen:
            seen.append(self)
            raise torch.OutOfMemoryError("no memory left")
        step(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Student, "step", hungry)
    outcome = command(*words, tracking=True)
    assert outcome.code == 0, outcome.err
    assert "4 students do not fit into memory, 2 at a time now" in outcome.err
    assert {row["name"]: row["weights_sha256"] for row in outcome.rows} == whole
    assert {run.info.status for run in runs(outcome)["run"]} == {"FINISHED"}


@pytest.mark.ci
def test_a_cohort_that_does_not_fit_is_gone_before_its_halves_begin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Networks and their hooks refer to each other: only the garbage collector frees them."""
    whole: list[weakref.ref[list[object]]] = []

    class Network(list[object]):
        pass

    def train_cohort(targets: list[str], *rest: object, **options: object) -> list[str]:
        if len(targets) == 4:
            network = Network()
            network.append(network)
            whole.append(weakref.ref(network))
            raise MemoryError
        assert whole[0]() is None
        return targets

    monkeypatch.setattr(inline, "train_cohort", train_cohort)
    monkeypatch.setattr(inline, "recorded_result", lambda target: None)
    gc.disable()
    try:
        ended = inline._train_or_split(list("abcd"), Mock(), False, None)
    finally:
        gc.enable()
    assert ended == list("abcd")
