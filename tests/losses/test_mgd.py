import pytest
import torch
from by_formula import fill

from kdsweep.losses.mgd import MGD


@pytest.fixture
def formula_draws(monkeypatch):
    """Instead of random numbers, (3, ..) of (4, 6) below .15: those of the golden values."""

    def draws(*shape, **_):
        rows, columns = torch.arange(shape[0]).double(), torch.arange(shape[1]).double()
        return ((0.37 * rows[:, None] + 0.61 * columns) % 1).float()[:, :, None, None]

    monkeypatch.setattr(torch, "rand", draws)


@pytest.mark.parametrize(
    ("target", "value", "norm"),
    [("ft", 0.004342605382, 0.000595413531), ("ft3", 0.001829947136, 0.000500782357)],
)
def test_golden_values(case, golden, formula_draws, target, value, norm):
    """Computed by MGDLoss of yzd-v/MGD, cls/mmcls/distillation/losses/mgd.py, with these draws;
    the norm of the student's gradient. With 3 channels in the teacher, too, there is no align."""
    made = case(MGD, [golden.fs.clone().requires_grad_()], [getattr(golden, target)], weight=7e-5)
    fill(made.term)
    found = made.term.weight * made.value()
    assert found.item() == pytest.approx(value, rel=1e-9)
    (gradient,) = torch.autograd.grad(found, made.student.features["f0"])
    assert gradient.norm().item() == pytest.approx(norm, rel=1e-7)


def test_masks_follow_from_the_generator(case, golden):
    made = case(MGD, [golden.fs], [golden.ft])
    made.term.double()
    values = []
    for seed in (3, 4, 3):
        torch.manual_seed(seed)
        values.append(made.term(made.student, made.teacher, made.batch).item())
    assert values[0] == values[2] != values[1]


def test_without_masks_nothing_is_hidden(case, golden):
    made = case(MGD, [golden.fs], [golden.ft3], masked=0)
    made.term.double()
    generated = made.term.links[0].generation(golden.fs)
    expected = (generated - golden.ft3).square().sum() / 4
    assert made.value().item() == pytest.approx(expected.item())


@pytest.mark.parametrize("masked", [-0.1, 1, "half", None])
def test_a_share_that_is_none_is_refused(masked):
    with pytest.raises(ValueError, match=r"masked must be a number in \[0, 1\), got "):
        MGD([["a", "b"]], weight=1.0, masked=masked)
