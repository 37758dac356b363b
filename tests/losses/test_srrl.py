import pytest
import torch
from by_formula import fill
from torch import nn

from kdsweep.losses.base.compute_loss import compute_loss
from kdsweep.losses.srrl import SRRL


@pytest.mark.parametrize(
    ("student", "teacher", "value", "norm"),
    [
        ("es", "et", 0.574471471440, 1.577555492722),
        ("fs", "ft", 0.408921307958, 0.013711838186),
        ("fs", "ft2", 0.470942358556, 0.014588310759),
    ],
)
def test_golden_values(case, golden, student, teacher, value, norm):
    """Vectors: computed by SRRL of DefangChen/SimKD, models/util.py, and its MSELoss; maps: by
    transfer_conv and statm_loss of jingyang2017/KD_SRRL, distiller_zoo/AIN.py. The norm is that of
    the student's gradient."""
    feature = getattr(golden, student).clone().requires_grad_()
    made = case(SRRL, [feature], [getattr(golden, teacher)])
    fill(made.term).read_teacher(fill(nn.Linear(6, 5)))
    found = made.value()
    assert found.item() == pytest.approx(value, rel=1e-10)
    (gradient,) = torch.autograd.grad(found, feature)
    assert gradient.norm().item() == pytest.approx(norm, rel=1e-9)


def test_the_classifier_is_a_frozen_copy(case, golden):
    made, classifier = case(SRRL, [golden.es], [golden.et]), nn.Linear(6, 5)
    made.term.double().read_teacher(nn.Sequential(nn.Linear(2, 6), classifier))
    before = made.value()
    classifier.weight.data.zero_()
    assert torch.equal(made.value(), before)
    assert "links.0.classifier" in made.term.state_dict()
    assert not any("classifier" in name for name, _ in made.term.named_parameters())


def test_a_teacher_without_a_classifier_is_refused(case, golden):
    made = case(SRRL, [golden.es], [golden.et])
    with pytest.raises(ValueError, match="the network must have a linear layer"):
        made.term.read_teacher(nn.Conv2d(3, 3, 1))


def test_tokens_are_refused(case):
    with pytest.raises(ValueError, match=r"features must be vectors \(B, D\) or maps"):
        case(SRRL, [torch.zeros(4, 9, 6)], [torch.zeros(4, 6)])


def test_without_a_teacher_there_is_no_value(golden):
    with pytest.raises(RuntimeError, match=r"SRRL\.read_teacher must be called before"):
        compute_loss(SRRL([["a", "b"]], weight=1.0).double(), golden.es, golden.et)
