import numpy as np
import pytest
import torch

from kdsweep.losses.base.compute_loss import compute_loss
from kdsweep.losses.base.hard_label import cross_entropy
from kdsweep.losses.mse_probs import MSEProbs


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_half_of_it_and_half_of_ce_is_the_loss_of_kd_pytorch(student, teacher, batch):
    soft = MSEProbs(T=4, weight=1.0)(student, teacher, batch)
    total = 0.5 * soft + 0.5 * cross_entropy(student.logits, batch.labels)
    assert total.item() == pytest.approx(1.4599348700, abs=1e-9)


def test_twice_of_it_is_the_soft_part_of_kd_lib(student, teacher, batch):
    soft = 2 * MSEProbs(T=20, weight=1.0)(student, teacher, batch)
    total = 0.5 * soft + 0.5 * cross_entropy(student.logits, batch.labels)
    assert total.item() == pytest.approx(1.4754110560, abs=1e-9)


@pytest.mark.parametrize("T", [0.5, 1.0, 4.0])
def test_numpy_reference(T):
    zs, zt = np.random.default_rng(0).normal(0, 5, (2, 32, 10))
    expected = T**2 / 2 * np.mean((softmax(zs / T) - softmax(zt / T)) ** 2)
    value = compute_loss(MSEProbs(T, weight=1.0), torch.from_numpy(zs), torch.from_numpy(zt)).item()
    assert value == pytest.approx(expected, rel=1e-10)
