"""Metrics of a split."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from kdsweep.common.types import Batch
from kdsweep.training.evaluation import (
    Split,
    accuracy,
    calibration_error,
    confusion,
    eval_mode,
    evaluate,
    image_scores,
    predict,
)
from kdsweep.training.readings import read

LOGITS = torch.tensor([[2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 4.0]])
LABELS = torch.tensor([0, 1, 2, 2])


def batches() -> list[Batch]:
    return [
        Batch(LOGITS[:3], LABELS[:3], torch.arange(3)),
        Batch(LOGITS[3:], LABELS[3:], torch.arange(3, 4)),
    ]


def test_accuracy_is_a_fraction() -> None:
    assert accuracy(LOGITS, LABELS) == 0.75


def test_calibration_error_equals_its_definition() -> None:
    logits = torch.randn(500, 7, generator=torch.Generator().manual_seed(0)) * 3
    labels = torch.randint(7, (500,), generator=torch.Generator().manual_seed(1))
    probabilities = torch.softmax(logits.double(), 1).numpy()
    confidence = probabilities.max(1)
    correct = probabilities.argmax(1) == labels.numpy()
    edges = np.linspace(0, 1, 16)
    expected = 0.0
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - correct[inside].mean())
    assert calibration_error(logits, labels) == pytest.approx(expected)


def test_sure_and_right_is_perfectly_calibrated() -> None:
    assert calibration_error(LOGITS * 1e4, LOGITS.argmax(1)) == 0.0


def test_confusion_has_true_classes_as_rows() -> None:
    assert confusion(LOGITS, LABELS).tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]


def test_metrics_carry_the_name_of_the_split() -> None:
    (found,) = read([Split("val", batches, LABELS).readings(image_scores(LOGITS, LABELS))])
    assert set(found) == {"val/acc", "val/loss", "val/ece"}
    assert found["val/loss"] == pytest.approx(
        float(-torch.log_softmax(LOGITS, 1)[range(4), LABELS].mean())
    )


def test_agreement_compares_with_the_teacher_not_the_labels() -> None:
    teacher = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    split = Split("test", batches, LABELS, teacher)
    (found,) = read([split.readings(image_scores(LOGITS, LABELS), split.teacher_predicted)])
    assert found["test/agreement"] == 0.5
    assert found["test/acc"] == 0.75


@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0])
def test_scores_in_float32_are_those_in_float64(scale: float) -> None:
    logits = torch.randn(2000, 10, generator=torch.Generator().manual_seed(0)) * scale
    labels = logits.argmax(1)
    labels[:500] = torch.randint(10, (500,), generator=torch.Generator().manual_seed(1))
    scores, exact = image_scores(logits, labels), logits.double()
    assert scores.loss.dtype == scores.confidence.dtype == torch.float32
    (found,) = read([Split("val", batches, labels).readings(scores)])
    loss = nn.functional.cross_entropy(exact, labels).item()
    assert found["val/loss"] == pytest.approx(loss, rel=1e-7)
    assert found["val/acc"] == accuracy(logits, labels)
    assert found["val/ece"] == pytest.approx(calibration_error(logits, labels), abs=1e-6)
    torch.testing.assert_close(scores.confidence.double(), exact.softmax(1).amax(1))


def test_a_small_loss_is_not_rounded_to_zero() -> None:
    logits = torch.tensor([[30.0, 0.0]])
    scores = image_scores(logits, torch.tensor([0]))
    assert scores.loss.item() == pytest.approx(np.exp(-30.0))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_have_no_finite_loss(value: float) -> None:
    scores = image_scores(torch.tensor([[0.0, value]]), torch.tensor([1]))
    assert not scores.loss.isfinite().any()


def test_scores_of_batches_are_those_of_all_images() -> None:
    (found,) = evaluate(Split("val", batches, LABELS), [lambda images: images])
    for scores, expected in zip(found, image_scores(LOGITS, LABELS), strict=True):
        assert torch.equal(scores, expected)


def test_predict_reads_the_batches_once_for_all_networks() -> None:
    read = []

    def once() -> list[Batch]:
        read.append(1)
        return batches()

    first, second = predict(once(), [lambda x: x, lambda x: -x])
    assert torch.equal(first, LOGITS)
    assert torch.equal(second, -LOGITS)
    assert read == [1]


def test_models_are_given_back_in_training_mode() -> None:
    model = nn.Sequential(nn.Dropout())

    def fail() -> None:
        with eval_mode([model]):
            assert not model.training
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert model.training
