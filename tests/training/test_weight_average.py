"""The average of weights: timm's numbers, and what of a student is then reported."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from toys import EPOCHS, make_student, make_val, train

from kdsweep.training.checkpoint import RAW, finish, sha256
from kdsweep.training.evaluation import accuracy, eval_mode, predict
from kdsweep.training.weight_average import WeightAverage


def changed(model: nn.Module, seed: int) -> None:
    """New weights and statistics, as after a step of training."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for value in model.state_dict().values():
            value.copy_(torch.rand(value.shape) + 1 if value.is_floating_point() else value + 1)


@pytest.mark.parametrize("warmup", [False, True])
def test_it_is_that_of_timm(warmup: bool) -> None:
    from timm.utils import ModelEmaV3

    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))
    theirs = ModelEmaV3(model, decay=0.7, use_warmup=warmup)
    own = WeightAverage(model, 0.7, warmup=warmup)
    for step in range(1, 12):
        changed(model, step)
        theirs.update(model, step=step)
        own.update(model)
    assert sha256(own.model) == sha256(theirs.module)
    assert sha256(own.model) != sha256(model)


def test_it_begins_with_the_weights_after_the_first_step() -> None:
    model = nn.Linear(2, 2)
    average = WeightAverage(model, 0.99)
    changed(model, 1)
    average.update(model)
    assert sha256(average.model) == sha256(model)


def test_training_is_the_same_with_it_and_without() -> None:
    plain, averaged = make_student(model="cnn"), make_student(model="cnn", ema=0.8)
    train([plain])
    train([averaged])
    assert sha256(plain.model) == sha256(averaged.model)
    assert sha256(averaged.reported) != sha256(averaged.model)


def test_figures_are_those_of_the_average_and_of_the_weights_alone() -> None:
    student = make_student(model="cnn", ema=0.9)
    *_, last = train([student])
    val = make_val()
    models = {"": student.reported, "_raw": student.model}
    for suffix, model in models.items():
        with eval_mode([model]):
            (logits,) = predict(val.batches(), [model])
        assert last[f"val/acc{suffix}"] == accuracy(logits, val.labels)
        loss = nn.functional.cross_entropy(logits, val.labels).item()
        assert last[f"val/loss{suffix}"] == pytest.approx(loss, rel=1e-5)
    assert last["val/loss"] != last["val/loss_raw"]
    assert student.best_acc is not None
    assert not {key for key in train([make_student()])[-1] if key.endswith("_raw")}


def test_the_final_weights_are_the_average_and_the_others_are_kept(tmp_path: Path) -> None:
    student = make_student(model="cnn", ema=0.9)
    train([student])
    path = finish(tmp_path, student, {})
    for file, model in {path: student.reported, tmp_path / RAW: student.model}.items():
        state = model.state_dict()
        assert all(torch.equal(tensor, state[name]) for name, tensor in load_file(file).items())


def test_a_network_that_cannot_be_copied_has_none() -> None:
    model = nn.Linear(2, 2)
    model.scaled = 2 * model.weight  # of a graph
    with pytest.raises(ValueError, match=r"^must be null with a network that .*, got 0\.9$"):
        WeightAverage(model, 0.9)


def test_it_has_one_step_for_each_of_the_optimizer() -> None:
    student = make_student(ema=0.9)
    train([student])
    assert student.average is not None
    assert student.average.steps == 3 * EPOCHS
