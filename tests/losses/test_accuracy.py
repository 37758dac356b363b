"""Values and gradients of the terms on logits, over all temperatures and scales, to 1e-5."""

from decimal import Decimal

import exact
import pytest
import torch

from kdsweep.common.types import Batch, Output
from kdsweep.losses.base.hard_label import cross_entropy
from kdsweep.losses.dist import DIST
from kdsweep.losses.dkd import DKD
from kdsweep.losses.kl import KL
from kdsweep.losses.mlkd import MLKD
from kdsweep.losses.mse import MSE
from kdsweep.losses.mse_probs import MSEProbs
from kdsweep.losses.nkd import NKD
from kdsweep.losses.soft_ce import SoftCE
from kdsweep.losses.tfkd import TfKD
from kdsweep.losses.wttm import WTTM

LABELS = [0, 3, 1]
BETWEEN = [pytest.param(T, marks=pytest.mark.slow) for T in (1e-3, 100.0, 1e3)]
TEMPERATURES = [1e-6, 0.1, 1.0, 4.0, 1e4, 1e6, *BETWEEN]
SCALES = [1e-3, 1.0, 30.0, 1e4]
TOLERANCE = 1e-5
VANISHED = 1e-12  # two probabilities that differ by less count as equal

TERMS = {
    "kl": (lambda T, **o: KL(T=T, weight=1.0, **o), exact.kl),
    "soft_ce": (lambda T, **o: SoftCE(T=T, weight=1.0, **o), exact.soft_ce),
    "mse_probs": (lambda T, **o: MSEProbs(T=T, weight=1.0, **o), exact.mse_probs),
    "dist": (lambda T, **o: DIST(tau=T, beta=1.0, gamma=1.0, weight=1.0, **o), exact.dist),
    "dkd": (
        lambda T, **o: DKD(T=T, alpha=1.0, beta=8.0, weight=1.0, **o),
        lambda T: exact.dkd(T, 1, 8, LABELS),
    ),
    "nkd": (
        lambda T, **o: NKD(T=T, gamma=1.5, weight=1.0, **o),
        lambda T: exact.nkd(T, Decimal("1.5"), LABELS),
    ),
    "mlkd": (
        lambda T, **o: MLKD(T=T, factors=[0.5, 1.5], weight=1.0, **o),
        lambda T: exact.mlkd(T, [Decimal("0.5"), Decimal("1.5")]),
    ),
    "wttm": (lambda T, **o: WTTM(T=T, weight=1.0, **o), exact.wttm),
}
FACTOR = {"mlkd": (2, 0.5)}  # T times every factor must be in range


def logits(scale, alike):
    """Student's and teacher's (3, 4), independent or within 1 % of each other, not centred."""
    generator = torch.Generator().manual_seed(1)
    teacher, noise = torch.randn(2, 3, 4, generator=generator)
    student = teacher + 0.01 * noise if alike else noise
    return (student + 0.5) * scale, (teacher + 2.0) * scale


def measured(loss, student, teacher):
    leaf = student.clone().requires_grad_()
    batch = Batch(torch.zeros(3, 1, 2, 2), torch.tensor(LABELS), torch.arange(3))
    value = loss(Output(leaf, {}), Output(teacher, {}), batch)
    (gradient,) = torch.autograd.grad(value, leaf)
    return value, gradient


def check(loss, reference, student, teacher, T=1.0, roughness=TOLERANCE):
    """``roughness`` is that of the gradient, which has the type of the logits."""
    nothing = VANISHED * min(T, 1.0)  # gradients have the size of T
    value, gradient = measured(loss, student, teacher)
    directions = torch.randn(3, *student.shape, generator=torch.Generator().manual_seed(2))
    directions[0] = gradient.sign()
    rows = [tensor.double().tolist() for tensor in (student, teacher)]
    expected, slopes = exact.value_and_slopes(reference, *rows, directions.tolist())
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, rel=TOLERANCE, abs=VANISHED**2)
    size = gradient.double().abs().sum().item()
    for direction, slope in zip(directions.double(), slopes, strict=True):
        slack = roughness * size * direction.abs().max().item() + nothing
        measured_slope = (gradient.double() * direction).sum().item()
        assert measured_slope == pytest.approx(slope, rel=0, abs=slack)


@pytest.mark.parametrize("T", TEMPERATURES)
@pytest.mark.parametrize("name", TERMS)
def test_value_and_gradient_at_every_scale_of_the_logits(name, T):
    """Temperatures at the ends of what is allowed are among these."""
    make, reference = TERMS[name]
    T = T * FACTOR.get(name, (1, 1))[T > 1] if T in (1e-6, 1e6) else T
    loss, expected = make(T), reference(Decimal(T))
    for scale in SCALES:
        for alike in (False, True):
            check(loss, expected, *logits(scale, alike), T)


@pytest.mark.parametrize("T", [1e-6, 1e-2, 2.0, 1e4, 1e6])
@pytest.mark.parametrize("name", TERMS)
def test_standardised_logits_too(name, T):
    make, reference = TERMS[name]
    T = T * FACTOR.get(name, (1, 1))[T > 1] if T in (1e-6, 1e6) else T
    loss, expected = make(T, standardize=True), exact.on_standardized(reference(Decimal(T)))
    if name == "mlkd":  # of one level only
        expected = exact.mlkd(Decimal(T), [Decimal("0.5"), Decimal("1.5")], standardize=True)
    for scale in (1e-3, 1e4):
        check(loss, expected, *logits(scale, alike=False), T)


@pytest.mark.parametrize("name", TERMS)
def test_bf16_logits_give_exact_values_and_gradients_as_exact_as_bf16_is(name):
    make, reference = TERMS[name]
    for T in (0.01, 4.0, 1e4):
        zs, zt = (part.bfloat16() for part in logits(3.0, alike=False))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            check(make(T), reference(Decimal(T)), zs, zt, roughness=2**-8)


@pytest.mark.parametrize("T", TEMPERATURES)
def test_a_designed_teacher(T):
    loss, expected = TfKD(T=T, confidence=0.99, weight=1.0), exact.tfkd(Decimal(T), LABELS)
    for scale in SCALES:
        check(loss, expected, *logits(scale, alike=False))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("alike", [False, True])
def test_terms_without_a_temperature(scale, alike):
    zs, zt = logits(scale, alike)
    check(MSE(weight=1.0), exact.mse, zs, zt)
    check(MSE(weight=1.0, standardize=True), exact.on_standardized(exact.mse), zs, zt)
    check(
        lambda student, _, batch: cross_entropy(student.logits, batch.labels),
        exact.ce(LABELS),
        zs,
        zt,
    )


def test_the_hard_loss_of_a_student_that_is_sure():
    """99.999 % for the label: in float32 the value is wrong by 1 %, the gradient by as much."""
    sure = torch.full((3, 4), -6.0).scatter_(1, torch.tensor(LABELS)[:, None], 6.0)
    check(
        lambda student, _, batch: cross_entropy(student.logits, batch.labels),
        exact.ce(LABELS),
        sure,
        sure,
    )


@pytest.mark.parametrize("T", [0.99e-6, 1.01e6])
@pytest.mark.parametrize("name", TERMS)
def test_a_temperature_beyond_is_refused_with_the_bounds(name, T):
    make, _ = TERMS[name]
    with pytest.raises(ValueError, match=r"(T|tau) must be a number from 1e-6 to 1e6, got"):
        make(T)


def test_a_factor_that_leaves_the_bounds_is_refused():
    with pytest.raises(ValueError, match="T times each of factors must be a number from 1e-6 to"):
        MLKD(T=1e6, factors=[1.0, 1.5], weight=1.0)
