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
    predict,
)

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
    found = Split("val", batches, LABELS).metrics(LOGITS)
    assert set(found) == {"val/acc", "val/loss", "val/ece"}
    assert found["val/loss"] == pytest.approx(
        float(-torch.log_softmax(LOGITS, 1)[range(4), LABELS].mean())
    )


def test_agreement_compares_with_the_teacher_not_the_labels() -> None:
    teacher = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    found = Split("test", batches, LABELS, teacher).metrics(LOGITS)
    assert found["test/agreement"] == 0.5
    assert found["test/acc"] == 0.75


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
