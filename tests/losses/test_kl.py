import numpy as np
import pytest
import torch

from kdsweep.common.types import Output
from kdsweep.common.validation import as_typed
from kdsweep.losses.kl import KL, kl_divergence


def numpy_kl(student, teacher, T):
    def softmax(logits):
        powers = np.exp(logits / T - (logits / T).max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    q, p = softmax(student), softmax(teacher)
    return T**2 * (p * (np.log(p) - np.log(q))).sum() / len(p)


@pytest.mark.parametrize(
    ("T", "value"), [(1, 0.5683114788), (2, 0.8704655755), (4, 1.0234471137), (16, 0.9955749169)]
)
def test_golden_values(student, teacher, batch, T, value):
    assert KL(T=T, weight=1.0)(student, teacher, batch).item() == pytest.approx(value, abs=1e-9)


def test_pytorchs_mean_is_smaller_by_the_number_of_classes(student, teacher):
    value = kl_divergence(student.logits, teacher.logits, T=4) / 5
    assert value.item() == pytest.approx(0.2046894227, abs=1e-9)


@pytest.mark.parametrize("T", [0.5, 1.0, 4.0, 16.0])
def test_numpy_reference(T):
    rng = np.random.default_rng(0)
    zs, zt = rng.normal(0, 5, (2, 32, 10))
    value = kl_divergence(torch.from_numpy(zs), torch.from_numpy(zt), T).item()
    assert value == pytest.approx(numpy_kl(zs, zt, T), rel=1e-10)


@pytest.mark.parametrize("T", [0.1, 1.0, 16.0])
def test_exactly_zero_when_the_student_equals_the_teacher(student, T):
    assert kl_divergence(student.logits.float(), student.logits.float(), T).item() == 0.0


def test_never_negative_and_not_symmetric(student, teacher):
    there = kl_divergence(student.logits, teacher.logits, 2.0)
    back = kl_divergence(teacher.logits, student.logits, 2.0)
    assert min(there, back) > 0
    assert there != pytest.approx(back.item(), rel=1e-3)


def test_the_gradient_is_that_of_the_formula(student, teacher, gradient_of):
    """d/dz_s = T / B (q - p)."""
    got = gradient_of(lambda logits: kl_divergence(logits, teacher.logits, 4.0), student.logits)
    q, p = (logits.div(4.0).softmax(dim=1) for logits in (student.logits, teacher.logits))
    torch.testing.assert_close(got, 4.0 / 4 * (q - p))


def test_t_squared_keeps_the_size_of_the_gradient(student, teacher, gradient_of):
    """Without T^2 it would fall by 16 from T=16 to T=64; the limit is that of centred logits."""
    sizes = [
        gradient_of(lambda z, T=T: kl_divergence(z, teacher.logits, T), student.logits).norm()
        for T in (16.0, 64.0)
    ]
    assert sizes[1].item() == pytest.approx(sizes[0].item(), rel=0.05)


def test_adding_a_constant_to_an_images_logits_changes_nothing(student, teacher):
    shifted = kl_divergence(student.logits + 7, teacher.logits - 3, 4.0)
    torch.testing.assert_close(shifted, kl_divergence(student.logits, teacher.logits, 4.0))


def test_far_apart_logits_stay_finite():
    zs, zt = torch.tensor([[300.0, -300.0]]), torch.tensor([[-300.0, 300.0]])
    assert kl_divergence(zs, zt, 1.0).item() == pytest.approx(600.0)


@pytest.mark.parametrize("T", [0, -1, float("inf"), float("nan"), None, "4", True])
def test_bad_temperatures_are_refused(T):
    with pytest.raises(ValueError, match=f"T must be a number from 1e-6 to 1e6, got {as_typed(T)}"):
        KL(T=T, weight=1.0)


def test_bf16_logits_are_compared_in_float64_and_the_value_is_float32(student, teacher, batch):
    zs, zt = student.logits.bfloat16(), teacher.logits.bfloat16()
    value = KL(T=4, weight=1.0)(Output(zs, {}), Output(zt, {}), batch)
    assert value.dtype == torch.float32
    assert value.item() == kl_divergence(zs.double(), zt.double(), 4.0).float().item()
