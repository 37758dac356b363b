"""Averaged weights, accumulated batches and stochastic depth on the command line."""

from typing import Any

import numpy as np
import pytest
from commands import Command, Specs
from outcomes import digests, interrupt
from safetensors.numpy import load_file

from kdsweep.common.notices import warn_once
from kdsweep.tracking.run_dir import read_rows

AVERAGE = ["student=cnn", "student.model.width=4", "trainer.ema=0.8"]
OPTIONS: dict[str, list[str]] = {
    "average": AVERAGE,
    "accumulation": [*AVERAGE, "trainer.accumulate=2", "trainer.grad_clip=0.5"],
    "depth": [
        *("student=vit_tiny", "student.model.width=12", "student.model.depth=2"),
        *("student.drop_path=0.5", "trainer.accumulate=3", "trainer.ema=0.9"),
        *("trainer.ema_warmup=true", "trainer.decay_norms=false"),
    ],
    "peers": [*AVERAGE, "teacher=peers", "trainer.accumulate=2"],
    "online": [*AVERAGE, "teacher.online=true", "teacher.trainer.ema=0.9", "trainer.accumulate=2"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_an_interrupted_run_resumes_with_the_same_bits(
    command: Command, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    words = [*OPTIONS[name], "T=1,4", "trainer.epochs=3", "tracking.checkpoint_seconds=0"]
    whole = command(*words)
    with monkeypatch.context() as patch:
        interrupt(patch, epoch=2, seed=0)
        assert command(*words).code == 130
    resumed = command(*words, "resume=true")
    assert digests(resumed) == digests(whole)
    assert [row["val/loss"] for row in resumed.rows] == [row["val/loss"] for row in whole.rows]


@pytest.mark.ci
def test_the_averaged_network_is_the_one_of_the_run(command: Command) -> None:
    import kdsweep

    outcome = command("loss=ce", *AVERAGE)
    (row,) = outcome.rows
    assert row["status"] == "FINISHED", outcome.err
    last: dict[str, Any] = {}
    for line in read_rows(outcome.sweep / "0"):
        last |= line["metrics"]
    assert {"val/acc_raw", "val/loss_raw"} <= last.keys()
    assert row["val/loss"] == last["val/loss"] != last["val/loss_raw"]
    folder = outcome.sweep / "0"
    acc, raw_acc = last["val/acc"], last["val/acc_raw"]
    line = f"val/acc={acc:.5g} of averaged weights, {raw_acc:.5g} without averaging"
    assert line in (folder / "train.log").read_text()
    averaged, raw = (
        load_file(folder / "checkpoint" / f"{name}.safetensors") for name in ("model", "raw")
    )
    assert averaged.keys() == raw.keys()
    assert any(not np.array_equal(averaged[key], raw[key]) for key in raw)
    found = kdsweep.load(str(folder)).module.state_dict()
    assert all(np.array_equal(found[key].numpy(), value) for key, value in averaged.items())


def test_too_slow_an_average_warns_before_training(command: Command) -> None:
    warn_once.cache_clear()
    outcome = command("loss=ce", *AVERAGE[:2], "trainer.ema=0.9999", "trainer.epochs=1")
    assert (
        "trainer.ema=0.9999 of cnn: after 5 steps 100% of the average would still be the weights"
        " after the first one"
    ) in " ".join((outcome.out + outcome.err).split())


@pytest.mark.slow
def test_a_teacher_is_its_average(command: Command) -> None:
    words = ["T=1", "teacher.trainer.epochs=2"]
    plain = command(*words, "hydra.sweep.dir=multirun/plain").rows[0]
    averaged = command(*words, "teacher.trainer.ema=0.8", "hydra.sweep.dir=multirun/ema").rows[0]
    assert averaged["fingerprint"] != plain["fingerprint"]
    assert averaged["weights_sha256"] != plain["weights_sha256"]


@pytest.mark.parametrize(
    "words",
    [
        ["trainer.ema=null", "trainer.ema_warmup=false", "trainer.accumulate=1"],
        ["trainer.compile=false", "student.drop_path=null", "teacher.drop_path=null"],
    ],
)
def test_what_is_off_leaves_a_run_as_it_was(specs: Specs, words: list[str]) -> None:
    (spec,), (other,) = specs(["T=1"]), specs(["T=1", *words])
    assert spec.fingerprint == other.fingerprint
    teachers = [one.teachers[0].run for one in (spec, other)]
    assert teachers[0] is not None
    assert teachers[1] is not None
    assert teachers[0].fingerprint == teachers[1].fingerprint


@pytest.mark.parametrize(
    "word", ["trainer.ema=0.9", "trainer.accumulate=2", "trainer.compile=true"]
)
def test_what_is_on_is_another_run(specs: Specs, word: str) -> None:
    (spec,), (other,) = specs(["T=1"]), specs(["T=1", word])
    assert spec.fingerprint != other.fingerprint
    (other,) = specs(["T=1", f"teacher.{word}"])
    assert spec.fingerprint != other.fingerprint


SMALL = ["student=vit_tiny_distilled", "student.model.width=12", "student.model.depth=2"]
TRANSFORMER = [*SMALL, "loss=deit", "recipe=transformer", "schedule.warmup_epochs=1"]


@pytest.mark.slow
def test_students_are_trained_by_the_recipe_for_transformers(command: Command) -> None:
    (row,) = command(*TRANSFORMER).rows
    assert row["status"] == "FINISHED"


def test_that_recipe_is_of_the_student_alone(specs: Specs) -> None:
    (spec,), (plain,) = specs(TRANSFORMER), specs([*SMALL, "loss=deit"])
    trainer = spec.config.trainer
    assert (trainer.ema, trainer.ema_warmup, trainer.accumulate) == (0.9999, True, 4)
    assert not trainer.decay_norms
    assert spec.config.student.model["drop_path"] == spec.config.hard.label_smoothing == 0.1
    trained, other = spec.teachers[0].run, plain.teachers[0].run
    assert trained is not None
    assert other is not None
    assert trained.fingerprint == other.fingerprint


def test_it_may_be_used_together_with_one_of_a_teacher(specs: Specs) -> None:
    words = [*TRANSFORMER, "recipe=[finetune,transformer]", "teacher.trainer.epochs=2"]
    (spec,) = specs([word for word in words if word != "recipe=transformer"])
    assert spec.config.teacher.trainer.layer_decay == 0.75
    assert spec.config.trainer.accumulate == 4
