import pytest
import torch

from kdsweep.common.validation import shown
from kdsweep.losses.kl import kl_divergence
from kdsweep.losses.soft_ce import SoftCE, soft_cross_entropy


def test_golden_value(student, teacher, batch):
    value = SoftCE(T=4, weight=1.0)(student, teacher, batch)
    assert value.item() == pytest.approx(23.4110726036, abs=1e-9)


def test_half_of_it_and_half_of_ce_is_the_loss_of_kd_pytorch(student, teacher, batch):
    hard = torch.nn.functional.cross_entropy(student.logits, batch.labels)
    total = 0.5 * soft_cross_entropy(student.logits, teacher.logits, 4.0) + 0.5 * hard
    assert total.item() == pytest.approx(13.1396538829, abs=1e-9)


@pytest.mark.parametrize("T", [1.0, 4.0])
def test_is_kl_plus_the_entropy_of_the_teacher(student, teacher, T):
    p = (teacher.logits / T).softmax(dim=1)
    entropy = T**2 * -(p * p.log()).sum(dim=1).mean()
    torch.testing.assert_close(
        soft_cross_entropy(student.logits, teacher.logits, T),
        kl_divergence(student.logits, teacher.logits, T) + entropy,
    )


@pytest.mark.parametrize("T", [1.0, 4.0, 16.0])
def test_has_the_gradient_of_kl(student, teacher, gradient_of, T):
    torch.testing.assert_close(
        gradient_of(lambda z: soft_cross_entropy(z, teacher.logits, T), student.logits),
        gradient_of(lambda z: kl_divergence(z, teacher.logits, T), student.logits),
    )


@pytest.mark.parametrize("T", [0, -1, float("inf"), float("nan"), None])
def test_bad_temperatures_are_refused(T):
    with pytest.raises(ValueError, match=f"T must be a number from 1e-6 to 1e6, got {shown(T)}"):
        SoftCE(T=T, weight=1.0)
