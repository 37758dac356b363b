"""Teachers that start from given weights: fine-tuned, with a new head alone, or as they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from commands import Command, Outcome
from safetensors.torch import load_file

from kdsweep.common.files import read_json
from kdsweep.common.notices import note_once
from kdsweep.execution.run_writer import RunWriter
from kdsweep.models.cnn import CNN
from kdsweep.training.checkpoint import save_weights
from kdsweep.work import inline

QUICK = ["T=1", "trainer.epochs=1", "teacher.start=start.safetensors"]
PROBE = [*QUICK, "recipe=linear_probe", "teacher.trainer.epochs=3"]
IMAGES = 160 + 40  # of the data set: training and validation, test


@pytest.fixture(autouse=True)
def start(tmp_path: Path) -> Path:
    """A file of weights for a teacher, with a head for 7 classes."""
    return written(tmp_path / "start.safetensors", classes=7)


def written(path: Path, classes: int) -> Path:
    torch.manual_seed(0)
    save_weights(path, CNN(in_shape=(1, 8, 8), num_classes=classes, width=4))
    return path


def teacher(store: str) -> Path:
    """The only run in a store."""
    (folder,) = Path(store.partition("=")[2]).glob("*/result.json")
    return folder.parent


def weights(store: str) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(teacher(store) / "checkpoint/model.safetensors")
    return found


def is_finished(outcome: Outcome) -> bool:
    assert outcome.code == 0, outcome.err
    return True


@contextmanager
def images_of_the_teacher(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The number of images in every forward pass of a CNN while a teacher is trained."""
    passed: list[int] = []
    forward, train = CNN.forward, inline.train_cohort

    def counted(self: CNN, images: torch.Tensor) -> torch.Tensor:
        passed.append(len(images))
        return forward(self, images)

    def watched(targets, *args, **options):  # type: ignore[no-untyped-def]
        is_teacher = targets[0].spec.role == "teacher"
        with monkeypatch.context() as patch:
            if is_teacher:
                patch.setattr(CNN, "forward", counted)
            return train(targets, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(inline, "train_cohort", watched)
        yield passed


@pytest.mark.ci
def test_a_linear_probe_trains_the_head_on_features_computed_once(
    command: Command, own_teachers: str, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with images_of_the_teacher(monkeypatch) as passed:
        outcome = command(*PROBE, own_teachers)
    assert is_finished(outcome)
    assert "teacher cnn: val " in outcome.err
    given, found = load_file(start), weights(own_teachers)
    for name, tensor in found.items():
        if not name.startswith("head."):
            assert torch.equal(tensor, given[name]), name
    assert found["head.weight"].shape == (10, 16)
    assert found["head.weight"].any()
    result = read_json(teacher(own_teachers) / "result.json")
    assert result["epochs"] == 3
    assert result["num_params"] == 10 * 17
    small = 16  # the blank images of checks, and one for the latency
    assert sum(count for count in passed if count > small) <= 2 * IMAGES
    assert len([count for count in passed if count > 2]) < 10


@pytest.mark.slow
def test_features_are_kept_for_another_recipe(
    command: Command, own_teachers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_finished(command(*PROBE, own_teachers))
    with images_of_the_teacher(monkeypatch) as passed:
        assert is_finished(command(*PROBE, own_teachers, "teacher.optimizer.lr=0.1"))
    evaluated = 16 + 40  # validation and test, at the end
    assert sum(count for count in passed if count > 2) == evaluated


@pytest.mark.slow
def test_an_interrupted_probe_ends_with_the_same_bits(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = [f"teacher.store={tmp_path}/{name}" for name in ("whole", "interrupted")]
    words = [*PROBE, "tracking.checkpoint_seconds=0"]
    assert is_finished(command(*words, stores[0]))
    epoch = RunWriter.epoch

    def interrupted(self: RunWriter, metrics: dict[str, float]) -> None:
        epoch(self, metrics)
        if self.student.epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunWriter, "epoch", interrupted)
        assert command(*words, stores[1]).code != 0
    assert not list((tmp_path / "interrupted").glob("*/checkpoint/model.safetensors"))
    assert is_finished(command(*words, stores[1]))
    whole, resumed = (read_json(teacher(store) / "result.json") for store in stores)
    assert resumed["weights_sha256"] == whole["weights_sha256"]


@pytest.mark.ci
def test_a_network_without_a_single_head_is_not_probed(command: Command) -> None:
    outcome = command(
        "T=1",
        "dataset.source.shape=[1,8,8]",
        "teacher=vit_tiny_distilled",
        "teacher.model.width=12",
        "teacher.model.depth=1",
        "teacher.trainer.train=head",
    )
    assert outcome.code == 1
    assert "teacher.trainer.train must be all with this network, got head: its logits are not" in (
        outcome.err
    )


@pytest.mark.slow
def test_fine_tuning_changes_all_weights(command: Command, own_teachers: str, start: Path) -> None:
    note_once.cache_clear()  # another test of this process may have had it printed
    outcome = command(*QUICK, "recipe=finetune", "teacher.trainer.epochs=2", own_teachers)
    assert is_finished(outcome)
    assert "cnn: read start.safetensors, head dropped: 2 tensors ('head.bias', 'head.weight')" in (
        outcome.out + outcome.err
    )
    given, found = load_file(start), weights(own_teachers)
    assert not any(torch.equal(t, given[name]) for name, t in found.items() if t.ndim)
    config = (teacher(own_teachers) / "config.yaml").read_text()
    assert "layer_decay: 0.75" in config


@pytest.mark.ci
def test_weights_as_they_are_given_are_evaluated_and_never_trained(
    command: Command, own_teachers: str, tmp_path: Path
) -> None:
    written(tmp_path / "start.safetensors", classes=10)
    outcome = command(*QUICK, "recipe=zero", own_teachers)
    assert is_finished(outcome)
    assert "teacher cnn: val " in outcome.err
    assert "near chance" in outcome.err
    assert not (tmp_path / "teachers").exists()


@pytest.mark.ci
def test_weights_for_other_classes_cannot_be_used_as_they_are(command: Command) -> None:
    outcome = command(*QUICK, "recipe=zero")
    assert outcome.code == 1
    assert "teacher.start must be weights of this network, got start.safetensors" in outcome.err
    assert "has 'head.bias' of shape (7,), the model needs (10,)" in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


@pytest.mark.slow
def test_students_that_start_from_weights_are_the_same_alone(command: Command) -> None:
    from outcomes import both

    words = ["student=cnn", "student.model.width=4", "student.start=start.safetensors"]
    groups = ["trainer.layer_decay=0.5", "trainer.decay_norms=false", "trainer.grad_clip=1"]
    together, alone = both(command, "T=1,4", "seed=0,1", *words, *groups)
    assert together == alone
    assert len(set(together.values())) == 4
