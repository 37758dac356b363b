import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kdsweep.losses.dist import DIST, pearson, relations


@pytest.mark.parametrize(
    ("tau", "beta", "gamma", "value"),
    [
        (1, 1, 1, 0.4696130164),
        (1, 1, 0, 0.4293648924),
        (1, 0, 1, 0.0402481240),
        (4, 1, 1, 4.0506626124),
    ],
)
def test_golden_values(student, teacher, batch, tau, beta, gamma, value):
    term = DIST(tau=tau, beta=beta, gamma=gamma, weight=2.0)
    assert term(student, teacher, batch).item() == pytest.approx(value, abs=1e-9)


def test_torchdistill_clamps_the_denominator_instead(student, teacher):
    def correlations(q, p):
        return F.cosine_similarity(q - q.mean(1, keepdim=True), p - p.mean(1, keepdim=True), 1)

    q, p = student.logits.softmax(1), teacher.logits.softmax(1)
    clamped = 2 - correlations(q, p).mean() - correlations(q.T, p.T).mean()
    assert clamped.item() == pytest.approx(0.4695928063, abs=1e-9)
    assert sum(relations(student.logits, teacher.logits, 1.0)).item() == pytest.approx(
        clamped.item(), rel=5e-5
    )


def test_the_difference_to_torchdistill_grows_as_predictions_become_flat():
    generator = torch.Generator().manual_seed(0)
    zs, zt = torch.randn(2, 64, 100, generator=generator, dtype=torch.float64)

    def clamped(q, p):
        centred = (part - part.mean(1, keepdim=True) for part in (q, p))
        return F.cosine_similarity(*centred, dim=1).mean()

    differences = []
    for tau in (1.0, 16.0):
        q, p = (zs / tau).softmax(1), (zt / tau).softmax(1)
        other = tau**2 * (2 - clamped(q, p) - clamped(q.T, p.T))
        differences.append(abs(sum(relations(zs, zt, tau)) / other - 1).item())
    sharp, flat = differences
    assert sharp < 1e-7
    assert flat > 1e-6


def test_pearson_is_numpys():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 8, 20))
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(first, second, strict=True)]
    got = pearson(torch.from_numpy(first), torch.from_numpy(second)).numpy()
    assert got == pytest.approx(np.array(expected), abs=1e-8)


def test_it_does_not_ask_for_equal_probabilities():
    """Between the classes only their relation counts: here q = p / 2 + 1 / 2C."""
    p = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], dtype=torch.float64)
    inter, _ = relations((p / 2 + 1 / 6).log(), p.log(), 1.0)
    assert inter.item() == pytest.approx(0, abs=1e-6)


def test_the_gradient_grows_with_tau_squared(student, teacher, gradient_of):
    sizes = [
        gradient_of(lambda z, t=tau: sum(relations(z, teacher.logits, t)), student.logits).norm()
        for tau in (64.0, 256.0)
    ]
    assert sizes[1].item() == pytest.approx(16 * sizes[0].item(), rel=0.05)
