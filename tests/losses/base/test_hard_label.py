import pytest
import torch

from kdsweep.losses.base.hard_label import cross_entropy


def test_golden_value(student, batch):
    assert cross_entropy(student.logits, batch.labels).item() == pytest.approx(
        2.8682351622, abs=1e-9
    )


def test_label_smoothing_mixes_in_the_uniform_distribution(student, batch):
    logarithms = student.logits.log_softmax(dim=1)
    target = 0.9 * torch.nn.functional.one_hot(batch.labels, 5) + 0.1 / 5
    torch.testing.assert_close(
        cross_entropy(student.logits, batch.labels, label_smoothing=0.1),
        -(target * logarithms).sum(dim=1).mean(),
    )


def test_bf16_logits_are_taken_in_float32(student, batch):
    logits = student.logits.bfloat16()
    value = cross_entropy(logits, batch.labels)
    assert value.dtype == torch.float32
    assert value.item() == cross_entropy(logits.float(), batch.labels).item()
