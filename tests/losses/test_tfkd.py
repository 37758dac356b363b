import pytest
import torch

from kdsweep.common.types import Output
from kdsweep.losses.base.objective import Objective
from kdsweep.losses.kl import KL
from kdsweep.losses.tfkd import TfKD


@pytest.mark.parametrize(("T", "expected"), [(20.0, 1.5610741909), (40.0, 1.5624646621)])
def test_golden_value(student, batch, T, expected):
    """Of loss_kd_regularization in the authors' my_loss_function.py, without its division by C."""
    term = TfKD(T=T, confidence=0.99, weight=1.0)
    value = term(student, Output(torch.empty(0), {}), batch)
    assert value.item() == pytest.approx(expected, abs=1e-9)


def test_the_authors_objective_needs_no_teacher(student, batch):
    """alpha = 0.1 and their multiplier, here the number of classes."""
    term = TfKD(T=20.0, confidence=0.99, weight=0.1)
    objective = Objective({"tfkd": term}, hard_weight=None, alpha=0.1)
    assert not objective.needs_teacher
    total = objective(student, None, batch).total
    assert total.item() == pytest.approx(2.7375190650, abs=1e-9)


def test_the_authors_self_training_is_kl_with_its_weight_over_the_classes(student, teacher, batch):
    """loss_kd_self with alpha 0.95, temperature 20 and multiplier 1."""
    objective = Objective({"kl": KL(T=20.0, weight=0.95 / 5)}, hard_weight=0.05, alpha=None)
    total = objective(student, teacher, batch).total
    assert total.item() == pytest.approx(0.3310553538, abs=1e-9)


def test_confidence_of_1_over_c_pulls_towards_an_even_prediction(student, batch):
    term = TfKD(T=1.0, confidence=0.2, weight=1.0)
    even = Output(torch.zeros_like(student.logits), {})
    assert term(even, even, batch).item() == pytest.approx(0.0, abs=1e-15)
    assert term(student, even, batch) > 0


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_logits_of_any_precision_give_float32_and_a_gradient(student, batch, precision):
    logits = student.logits.to(precision).requires_grad_()
    value = TfKD(T=20.0, confidence=0.99, weight=1.0)(Output(logits, {}), student, batch)
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"T": 0}, "T must be a number from 1e-6 to 1e6, got 0"),
        ({"confidence": 1.5}, "confidence must be .*, got 1.5"),
        ({"weight": -1}, "weight must be .*, got -1"),
    ],
)
def test_bad_values_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TfKD(**({"T": 20.0, "confidence": 0.99, "weight": 1.0} | options))


@pytest.mark.parametrize("teacher", ["cnn", "none"])
def test_a_teacher_of_the_config_is_left_out(check, teacher):
    check("loss=tfkd", f"teacher={teacher}")
