"""Before a teacher teaches: its weights are finite, and its accuracy is printed."""

import shutil
from contextlib import closing
from pathlib import Path

import pytest
import torch
from commands import Command, Compose, Refusal
from outcomes import digests
from safetensors.torch import load_file, save_file

from kdsweep.builders.data import build_stream
from kdsweep.common.files import read_json, write_json_atomic
from kdsweep.execution import teacher_store
from kdsweep.execution.context import TrainingContext
from kdsweep.models.cnn import CNN
from kdsweep.runs.build_specs import build_specs
from kdsweep.runs.units import build_untrained_teacher
from kdsweep.tracking.console import Progress
from kdsweep.training.checkpoint import save_weights
from kdsweep.training.teacher import Teacher
from kdsweep.training.teacher_guard import Deviation, deviation

QUICK = ["trainer.epochs=1", "T=1"]
ENSEMBLE = [
    "teacher=ensemble",
    *(f"teacher.members.{n}.model.width=4" for n in ("first", "second")),
]
SHORT = [f"teacher.members.{name}.trainer.epochs=1" for name in ("first", "second")]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file of weights for the teacher of the tests."""
    torch.manual_seed(0)
    path = tmp_path / "weights.safetensors"
    save_weights(path, CNN(in_shape=(1, 8, 8), num_classes=10, width=4))
    return path


def changed(weights: Path, name: str, change: object) -> Path:
    """A copy of the file with one tensor changed."""
    tensors = load_file(weights)
    tensors[name] = change(tensors[name])  # type: ignore[operator]
    path = weights.parent / "changed.safetensors"
    save_file(tensors, path)
    return path


def classifier(weights: Path, kind: str) -> str:
    """The name of the last layer's weight or bias: the only ones with a row for each class."""
    (name,) = [n for n, t in load_file(weights).items() if t.shape[:1] == (10,) and kind in n]
    return name


def lines(err: str, word: str) -> list[str]:
    return [line for line in err.splitlines() if word in line]


@pytest.mark.slow
def test_the_accuracy_of_a_teacher_is_printed_once_new_or_stored(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*QUICK, f"teacher.store={tmp_path}/own"]
    first = command(*words, "seed=0,1")
    with monkeypatch.context() as patch:  # what was computed before is read
        patch.setattr(Teacher, "logits", None)
        patch.setattr(Teacher, "targets", None)
        again = command(*words)
    for outcome in (first, again):
        (line,) = lines(outcome.err, "teacher cnn: val ")
        assert line.endswith(" %")
        assert "test/acc" not in outcome.err
    assert lines(again.err, "teacher cnn: val ") == lines(first.err, "teacher cnn: val ")


@pytest.mark.slow
def test_a_given_teacher_with_its_classes_in_another_order(
    command: Command, tmp_path: Path
) -> None:
    learned = ["teacher.trainer.epochs=12", f"teacher.store={tmp_path}/own"]
    assert command(*QUICK, *learned).code == 0
    (trained,) = (tmp_path / "own").glob("*/checkpoint/model.safetensors")
    good = command(*QUICK, f"teacher.checkpoint={trained}")
    assert lines(good.err, "teacher cnn: val ")
    assert "near chance" not in good.err
    mixed = changed(trained, classifier(trained, "weight"), lambda rows: rows.roll(3, 0).clone())
    bad = command(*QUICK, f"teacher.checkpoint={mixed}")
    assert bad.code == 0
    (warning,) = lines(bad.err, "warning: teacher cnn: ")
    for message in (
        "near chance",
        "order of the classes",
        "dataset.mean",
        "input size (here 1 x 8",
    ):
        assert message in warning


def test_a_given_teacher_at_chance(command: Command, weights: Path) -> None:
    outcome = command(*QUICK, f"teacher.checkpoint={weights}")
    assert outcome.code == 0, outcome.err
    assert len(lines(outcome.err, "teacher cnn: val ")) == 1
    (warning,) = lines(outcome.err, "warning: teacher cnn: ")
    assert " (of 16 images) is near chance" in warning


@pytest.mark.ci
def test_how_a_file_of_another_program_was_read_is_one_line(
    command: Command, weights: Path
) -> None:
    state = {f"module.{name}": tensor for name, tensor in load_file(weights).items()}
    torch.save({"epoch": 3, "model_state_dict": state}, weights.with_name("other.pth"))
    outcome = command(*QUICK, "seed=0,1", f"teacher.checkpoint={weights.with_name('other.pth')}")
    assert outcome.code == 0, outcome.err
    (line,) = lines(outcome.out + outcome.err, "model_state_dict")
    assert line == (
        f"teacher.checkpoint: read 'model_state_dict' of {weights.with_name('other.pth')},"
        " prefix 'module.' removed"
    )


@pytest.mark.slow
def test_every_member_of_an_ensemble(command: Command) -> None:
    outcome = command(*ENSEMBLE, *SHORT, *QUICK)
    assert outcome.code == 0, outcome.err
    assert len(lines(outcome.err, "teacher cnn (first): val ")) == 1
    assert len(lines(outcome.err, "teacher cnn (second): val ")) == 1


@pytest.mark.slow
def test_an_assistant_and_its_own_teacher(command: Command, tmp_path: Path) -> None:
    words = ["teacher=assistant", "teacher.trainer.epochs=1", "teacher.teacher.trainer.epochs=1"]
    widths = ["teacher.model.width=4", "teacher.teacher.model.width=6"]
    stores = [f"teacher.store={tmp_path}/own", f"teacher.teacher.store={tmp_path}/own"]
    outcome = command(*words, *widths, *stores, *QUICK)
    assert outcome.code == 0, outcome.err
    assert len(lines(outcome.err, ": val ")) == 2


@pytest.mark.slow
def test_without_validation_training_images_are_measured_and_named(command: Command) -> None:
    outcome = command("dataset.val_fraction=0", *QUICK)
    assert outcome.code == 0, outcome.err
    (line,) = lines(outcome.err, "teacher cnn: no validation split, 160 training images ")
    assert line.endswith(" %")


@pytest.mark.slow
def test_measuring_changes_no_bit(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["T=1", "student.model.dropout=0.5", "trainer.epochs=1"]
    measured = digests(command(*words))
    monkeypatch.setattr(teacher_store, "_announce", lambda *_: None)
    assert digests(command(*words)) == measured


def test_the_cohorts_of_a_stream_compare_its_first_batch_with_fp32_once(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["dataset=fake", "dataset.source.shape=[1,8,8]", "dataset.source.num_train=160"]
    words += ["teacher.precision=bf16", "teacher.model.width=4"]
    jobs = [[*words, *more] for more in (["T=1"], ["T=4"], ["T=1", "seed=1"])]
    specs = build_specs([compose(*job) for job in jobs], jobs, 0, [])
    compared: list[int] = []

    def noted(teacher: Teacher, images: torch.Tensor) -> Deviation | None:
        compared.append(len(images))
        return deviation(teacher, images)

    monkeypatch.setattr(teacher_store, "deviation", noted)
    with closing(TrainingContext({"uri": None}, Progress())) as context:
        dataset = context.dataset(specs[0].config)
        teacher = build_untrained_teacher(specs[:1], dataset, 1)
        tags = []
        for number, spec in enumerate(specs):
            stream = build_stream(spec.config, dataset, "cpu")
            tags.append(teacher_store.guard_teacher(teacher, spec, stream, context))
            assert len(compared) == (1, 1, 2)[number]
    assert tags[0] == tags[1] != tags[2]
    assert set(tags[0]) == {"teacher.bf16_agreement", "teacher.bf16_difference"}


@pytest.mark.ci
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_with_key_and_file(
    refusal: Refusal, weights: Path, bad: float
) -> None:
    name = classifier(weights, "weight")
    path = changed(weights, name, lambda rows: torch.full_like(rows, bad))
    sentence = f"{path} must hold finite weights, got nan or inf in {name!r}"
    assert f"teacher.checkpoint {sentence}" in refusal(f"teacher.checkpoint={path}")
    student = ["student=cnn", "student.model.width=4", f"student.checkpoint={path}"]
    assert f"student.checkpoint {sentence}" in refusal(*student)
    member = f"teacher.members.first.checkpoint={path}"
    assert f"teacher.members.first.checkpoint {sentence}" in refusal(*ENSEMBLE, member)


@pytest.mark.ci
def test_damaged_weights_of_the_store_are_not_blamed_on_a_checkpoint(
    command: Command, tmp_path: Path
) -> None:
    words = [*QUICK, f"teacher.store={tmp_path}/own"]
    assert command(*words).code == 0
    (weights,) = (tmp_path / "own").glob("*/checkpoint/model.safetensors")
    name = classifier(weights, "weight")
    changed(weights, name, lambda rows: rows * torch.nan).replace(weights)
    (record,) = (tmp_path / "own").glob("*/result.json")
    write_json_atomic(record, {**read_json(record), "weights_sha256": None})  # of an old version
    again = command(*words)
    assert again.code == 1
    assert f"teacher.store {weights} must hold finite weights, got nan or inf in" in again.err
    assert "teacher.checkpoint" not in again.err


@pytest.mark.ci
def test_a_stored_teacher_that_was_replaced_is_evaluated_and_refused(
    command: Command, tmp_path: Path
) -> None:
    words = [*QUICK, f"teacher.store={tmp_path}/own", "teacher.trainer.epochs=12"]
    assert command(*words).code == 0
    (weights,) = (tmp_path / "own").glob("*/checkpoint/model.safetensors")
    mixed = changed(weights, classifier(weights, "weight"), lambda rows: rows.roll(3, 0).clone())
    mixed.replace(weights)
    (record,) = (tmp_path / "own").glob("*/result.json")
    write_json_atomic(record, {**read_json(record), "weights_sha256": None})  # of an old version
    again = command(*words)
    assert again.code == 1
    assert "reaches val/acc" in again.err
    assert "its record claims" in again.err


@pytest.mark.slow
def test_weights_of_a_stage_that_are_not_finite(command: Command) -> None:
    words = ["stages=hints", "stages.hints.epochs=1", "student=cnn", "student.model.width=4"]
    first = command(*words, *QUICK)
    (weights,) = first.sweep.glob("stage-*/checkpoint/model.safetensors")
    whole = first.rows[0]["weights_sha256"]
    changed(weights, classifier(weights, "weight"), lambda rows: rows * torch.nan).replace(weights)
    shutil.rmtree(first.sweep / "0")
    again = command(*words, *QUICK, "resume=true")
    assert again.code == 0, again.err  # they are not what was trained, so it is trained again
    warning = f"{weights.relative_to(first.folder)} is passed over: it is not what"
    assert again.out.count(warning) == 1
    assert again.rows[0]["weights_sha256"] == whole


def test_a_teacher_whose_logits_overflow_is_named_and_not_its_student(
    command: Command, weights: Path
) -> None:
    huge = changed(weights, classifier(weights, "weight"), lambda rows: rows.sign() * 3e38)
    outcome = command(*QUICK, f"teacher.checkpoint={huge}")
    assert outcome.code == 1
    assert "teacher must give finite logits, got nan or inf (val)" in outcome.err
    assert "Traceback" not in outcome.err
