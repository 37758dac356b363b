"""Precision and memory format in whole commands: equality, and the guard of a teacher in bf16."""

import pytest
from commands import Command
from outcomes import both

from kdsweep.training import teacher_guard

# Not auto: it stands for one of these, and runs that are equal are trained once in lockstep.
BOTH = ["trainer.precision=fp32,bf16", "trainer.memory_format=contiguous,channels_last"]
GUARD = "teacher in bf16, first batch: argmax agreement "
BF16 = ["teacher.precision=bf16", "teacher.trainer.epochs=1"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        [*BOTH, "student=cnn", "loss=[kl,fitnet]", "teacher.precision=fp32"],
        [*BOTH, "student=cnn", "optimizer=sgd", "trainer.grad_clip=0.1", "teacher.precision=bf16"],
        [*BOTH, "student=cnn", "teacher.online=true"],
        [*BOTH, "student=cnn", "teacher=peers"],
    ],
    ids=["features", "sgd", "online", "peers"],
)
def test_mixed_cohorts_have_the_bits_of_separate_runs(command: Command, words: list[str]) -> None:
    together, alone = both(command, *words)
    assert together == alone


@pytest.mark.slow
def test_a_teacher_in_bf16_is_announced_once(command: Command) -> None:
    outcome = command(*BF16, "T=1,4", "seed=0,1")
    assert outcome.code == 0, outcome.err
    assert outcome.err.count(GUARD) == 1


@pytest.mark.slow
def test_a_teacher_too_far_from_fp32_is_refused(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher_guard, "MOST", 1e-9)
    outcome = command(*BF16, "T=1,4")
    assert outcome.code != 0
    assert "teacher.precision must be fp32 with this teacher, got bf16: argmax" in outcome.err
