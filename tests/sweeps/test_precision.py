"""Precision and memory format in whole commands: equality, and the guard of a teacher in bf16."""

import pytest
from commands import Command
from outcomes import both, digests, interrupt

from kdsweep.training import teacher_guard
from kdsweep.training.teacher import Teacher

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
        [*BOTH, "student=cnn", "teacher.precision=fp32", "teacher.fold_batchnorm=true"],
        ["T=1,4", "trainer.precision=auto", "trainer.memory_format=auto", "student=cnn"],
    ],
    ids=["features", "sgd", "online", "peers", "folded", "auto"],
)
def test_mixed_cohorts_have_the_bits_of_separate_runs(command: Command, words: list[str]) -> None:
    together, alone = both(command, *words)
    assert together == alone


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_folded_teacher_has_the_same_bits_from_the_cache(
    command: Command, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    words = ["T=1,4", "student=cnn", "teacher.fold_batchnorm=true"]
    words += [f"trainer.precision={precision}", f"teacher.precision={precision}"]
    words += ["trainer.memory_format=channels_last", "tracking.checkpoint_seconds=0"]
    plain = digests(command(*words, "cache.gib=0"))
    assert digests(command(*words)) == plain
    monkeypatch.setattr(Teacher, "targets", None)  # from here on, they cannot be computed
    assert digests(command(*words)) == plain
    with monkeypatch.context() as patch:
        interrupt(patch, epoch=1, seed=0)
        assert command(*words).code == 130
    assert digests(command(*words, "resume=true")) == plain


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
