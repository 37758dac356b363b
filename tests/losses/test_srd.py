import numpy as np
import pytest
import torch
from torch import nn

from kdsweep.common.types import Output
from kdsweep.common.validation import as_typed
from kdsweep.losses.srd import SRD, Projection, log_distance


@pytest.mark.parametrize(
    ("exponent", "value", "norm"),
    [(1.0, 3.180699790360, 2.243887589557), (4.0, 5.661918788857, 4.589578963716)],
)
def test_golden_values(case, golden, exponent, value, norm):
    """Those of SRDLoss in yoshitomo-matsubara/torchdistill, torchdistill/losses/mid_level.py; with
    exponent 4 also of OurDistillationLoss in roymiles/Simple-Recipe-Distillation,
    imagenet/torchdistill/losses/single.py."""
    es = golden.es.clone().requires_grad_()
    made = case(SRD, [es], [golden.et], exponent=exponent)
    rows, columns = torch.arange(6, dtype=torch.float64), torch.arange(3, dtype=torch.float64)
    projector = made.term.links[0].projector
    projector.weight.data = torch.sin(rows.unsqueeze(1) + 2 * columns)
    projector.bias.data = torch.cos(rows)
    result = made.value()
    assert result.item() == pytest.approx(value, abs=1e-11)
    (gradient,) = torch.autograd.grad(result, es)
    assert gradient.norm().item() == pytest.approx(norm, abs=1e-11)


def numpy_srd(projected, target, exponent):
    """The formula of both repositories."""
    fs, ft = (
        (z - z.mean(0)) / np.sqrt(((z - z.mean(0)) ** 2).mean(0) + 1e-4)
        for z in (projected, target)
    )
    return np.log(np.sum(np.abs(fs - ft) ** exponent))


@pytest.mark.parametrize("exponent", [1.0, 4.0])
def test_numpy_reference(exponent):
    fs, ft = np.random.default_rng(0).normal(2, 3, (2, 16, 6))
    value = log_distance(torch.from_numpy(fs), torch.from_numpy(ft), exponent).item()
    assert value == pytest.approx(numpy_srd(fs, ft, exponent), rel=1e-10)


def test_the_projector_is_linear_and_of_the_teachers_size(batch):
    torch.manual_seed(0)
    student = Output(torch.zeros(4, 5), {"a": torch.randn(4, 3, requires_grad=True)})
    teacher = Output(torch.zeros(4, 5), {"b": torch.randn(4, 6, requires_grad=True)})
    term = SRD([["a", "b"]], exponent=4.0, weight=2.0)
    term.setup(student, teacher, torch.arange(10))
    projector = term.links[0].projector
    assert (projector.in_features, projector.out_features) == (3, 6)
    value = term(student, teacher, batch)
    expected = log_distance(projector(student.features["a"]), teacher.features["b"], 4.0)
    assert value.item() == pytest.approx(expected.item())
    value.backward()
    assert projector.weight.grad.abs().sum() > 0
    assert student.features["a"].grad.abs().sum() > 0
    assert teacher.features["b"].grad is None


def test_normalisation_is_that_of_batch_norm_in_training():
    torch.manual_seed(0)
    fs, ft = torch.randn(2, 16, 6)
    norm = nn.BatchNorm1d(6, eps=1e-4, affine=False)
    expected = (norm(fs) - norm(ft)).abs().pow(4).sum().log()
    torch.testing.assert_close(log_distance(fs, ft, 4.0), expected)


def test_neither_offset_nor_size_of_a_dimension_matters():
    torch.manual_seed(0)
    fs, ft = torch.randn(2, 16, 6)
    scaled = 100 * fs * torch.arange(1, 7) - 50
    torch.testing.assert_close(
        log_distance(scaled, 100 * ft, 4.0), log_distance(100 * fs, 100 * ft, 4.0)
    )


def test_twice_the_images_add_log_2():
    torch.manual_seed(0)
    fs, ft = torch.randn(2, 16, 6, dtype=torch.float64)
    twice = log_distance(torch.cat([fs, fs]), torch.cat([ft, ft]), 4.0)
    assert twice.item() == pytest.approx(log_distance(fs, ft, 4.0).item() + np.log(2))


@pytest.mark.parametrize("count", [1, 3])
def test_no_distance_is_finite(count):
    """A last batch of one image, or a student that has arrived."""
    fs = torch.ones(count, 6, requires_grad=True)
    value = Projection(nn.Identity(), 4.0)(fs, torch.ones(count, 6))
    value.backward()
    assert torch.isfinite(value)
    assert fs.grad.abs().max() == 0


@pytest.mark.parametrize("shape", [(4, 6), (4, 9, 6), (4, 6, 3, 3)])
def test_vectors_tokens_and_maps_meet_in_any_combination(shape, batch):
    torch.manual_seed(0)
    for ft in [(4, 5), (4, 2, 5), (4, 5, 7, 7)]:
        student = Output(torch.zeros(4, 5), {"a": torch.randn(shape)})
        teacher = Output(torch.zeros(4, 5), {"b": torch.randn(ft)})
        term = SRD([["a", "b"]], exponent=4.0, weight=2.0)
        term.setup(student, teacher, torch.arange(10))
        projector = term.links[0].projector
        assert (projector.in_features, projector.out_features) == (6, 5)
        assert torch.isfinite(term(student, teacher, batch))


def test_other_shapes_are_refused():
    student, teacher = (Output(torch.zeros(2, 5), {"f": torch.zeros(2)}) for _ in range(2))
    with pytest.raises(ValueError, match=r"pairs \[f, f\]: features must be vectors, rows of"):
        SRD([["f", "f"]], exponent=4.0, weight=2.0).setup(student, teacher, torch.arange(10))


@pytest.mark.parametrize("exponent", [0, 0.5, 101, None, "4", float("nan")])
def test_bad_exponents_are_refused(exponent):
    with pytest.raises(
        ValueError, match=f"exponent must be a number from 1 to 100, got {as_typed(exponent)}"
    ):
        SRD([["f", "f"]], exponent=exponent, weight=2.0)
