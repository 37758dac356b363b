import pytest
import torch

from kdsweep.losses.base.hard_label import cross_entropy
from kdsweep.losses.base.logit_standardization import standardized
from kdsweep.losses.kl import KL


@pytest.mark.parametrize(("T", "value"), [(2, 0.1198355187), (4, 0.1189254267)])
def test_golden_values_of_standardised_kl(student, teacher, batch, T, value):
    term = KL(T=T, weight=9.0, standardize=True)
    assert term(student, teacher, batch).item() == pytest.approx(value, abs=1e-7)


def test_a_tenth_of_ce_and_nine_of_it_is_the_loss_of_torchdistill(student, teacher, batch):
    soft = KL(T=2, weight=9.0, standardize=True)(student, teacher, batch)
    total = 0.1 * cross_entropy(student.logits, batch.labels) + 9 * soft
    assert total.item() == pytest.approx(1.3653431841, abs=1e-6)


def test_each_image_has_mean_0_and_unbiased_deviation_1(student):
    result = standardized(student.logits)
    torch.testing.assert_close(result.mean(dim=1), torch.zeros(4).double())
    torch.testing.assert_close(result.std(dim=1), torch.ones(4).double(), rtol=1e-6, atol=0)


def test_equal_logits_become_0_with_a_finite_gradient():
    logits = torch.full((2, 5), 3.0, requires_grad=True)
    result = standardized(logits)
    result.square().sum().backward()
    assert result.abs().max().item() == 0.0
    assert torch.isfinite(logits.grad).all()
