"""CTKD against values of zhengli97/CTKD, and the epochs in which its temperature is learned."""

import pytest
import torch
from toys import make_student, train

from kdsweep.common.types import Output
from kdsweep.losses.base.multi_teacher import MultiTeacherLoss
from kdsweep.losses.base.objective import Objective
from kdsweep.losses.base.soft_targets import SoftTargetComparison
from kdsweep.losses.ctkd import CTKD
from kdsweep.losses.kl import KL

PUBLISHED = {"T_min": 1.0, "T_range": 20.0, "loops": 10, "strength": 1.0}
OTHER = {"T_min": 0.5, "T_range": 3.0, "loops": 4, "strength": 0.5}


def evaluated(term, student, teacher, batch):
    """The value, and the gradients of the student's logits and of u."""
    leaf = student.logits.clone().requires_grad_()
    value = term(Output(leaf, {}), teacher, batch)
    return value, *torch.autograd.grad(value, [leaf, term.u])


@pytest.mark.parametrize(
    ("options", "epoch", "golden"),
    [
        (PUBLISHED, 1, (15.621171572600, 0.996494437991, 0.324843933161, 0.000237872949)),
        (PUBLISHED, 3, (15.621171572600, 0.996494437991, 0.324843933161, 0.002003427838)),
        (PUBLISHED, 10, (15.621171572600, 0.996494437991, 0.324843933161, 0.009720311316)),
        (PUBLISHED, 30, (15.621171572600, 0.996494437991, 0.324843933161, 0.009720311316)),
        (OTHER, 1, (2.693175735890, 0.963458219403, 0.366938694406, -0.003865606451)),
        (OTHER, 3, (2.693175735890, 0.963458219403, 0.366938694406, -0.022530405493)),
        (OTHER, 10, (2.693175735890, 0.963458219403, 0.366938694406, -0.026396011944)),
    ],
)
def test_golden_values(student, teacher, batch, options, epoch, golden):
    """By models/temp_global.py, distiller_zoo/KD.py and train_student.py's CosineDecay.

    T, value, length of the student's gradient, gradient of u in an epoch counted from 1.
    """
    term = CTKD(**options, weight=1.0)
    term.epoch = epoch - 1
    value, of_student, of_u = evaluated(term, student, teacher, batch)
    found = [term.metrics()["T"], value, of_student.norm(), of_u.double()]
    assert [one.item() for one in found] == pytest.approx(golden, abs=1e-8, rel=1e-11)


@pytest.mark.parametrize(
    ("options", "golden"),
    [
        (PUBLISHED, (1.935960030547, 0.668977955789)),
        (OTHER, (1.755581565624, 0.691139247389)),
    ],
)
def test_golden_values_of_dkd(student, teacher, batch, options, golden):
    """By distiller_zoo/DKD.py with alpha 1 and beta 2; its gradient of T is nan in recent torch."""
    term = CTKD(**options, weight=1.0, dkd={"alpha": 1.0, "beta": 2.0})
    value, of_student, _ = evaluated(term, student, teacher, batch)
    found = [value.item(), of_student.norm().item()]
    assert found == pytest.approx(golden, rel=1e-11)


@pytest.mark.parametrize("dkd", [None, {"alpha": 1.0, "beta": 2.0}])
@pytest.mark.parametrize("standardize", [False, True])
def test_the_gradient_of_the_temperature_is_that_of_the_value_reversed(
    student, teacher, batch, dkd, standardize
):
    term = CTKD(**PUBLISHED, weight=1.0, dkd=dkd, standardize=standardize).double()
    term.epoch = 9
    _, _, of_u = evaluated(term, student, teacher, batch)
    step, values = 1e-3, []
    for move in (step, -2 * step):
        term.u.data += move
        values.append(term(student, teacher, batch).item())
    assert of_u.item() == pytest.approx(-(values[0] - values[1]) / (2 * step), rel=1e-5)


def test_both_arguments_of_the_comparison_have_their_gradient():
    torch.manual_seed(0)
    target, shift = (3 * torch.randn(3, 5, dtype=torch.float64) for _ in range(2))

    def compared(target, shift):
        return SoftTargetComparison.apply(target, shift)

    assert torch.autograd.gradcheck(compared, (target.requires_grad_(), shift.requires_grad_()))


def test_it_is_kl_at_its_temperature(student, teacher, batch):
    term = CTKD(**PUBLISHED, weight=1.0)
    fixed = KL(T=term.metrics()["T"].item(), weight=1.0)
    torch.testing.assert_close(term(student, teacher, batch), fixed(student, teacher, batch))


def test_a_step_makes_the_task_harder_the_more_the_later_the_epoch(student, teacher, batch):
    risen = []
    for epoch in (0, 4, 9):
        term = CTKD(**PUBLISHED, weight=1.0)
        optimizer = torch.optim.SGD(term.parameters(), lr=10.0)
        term.epoch = epoch
        before = term(student, teacher, batch)
        before.backward()
        optimizer.step()
        risen.append((term(student, teacher, batch) - before).item())
    assert 0 < risen[0] < risen[1] < risen[2]


@pytest.mark.parametrize("several", [False, True])
def test_the_objective_has_the_epoch_and_the_temperature(student, teacher, batch, several):
    terms = [CTKD(**PUBLISHED, weight=1.0) for _ in range(1 + several)]
    term = MultiTeacherLoss(terms) if several else terms[0]
    objective = Objective({"ctkd": term}, hard_weight=None, alpha=None)
    target = Output(teacher.logits, {}, (teacher,) * len(terms))
    slopes = []
    for epoch in (0, 9):
        total = objective(student, target, batch, epoch).total
        slopes.append(torch.autograd.grad(total, terms[0].u)[0].item())
    assert slopes[1] == pytest.approx(slopes[0] / terms[0].reversal(0), rel=1e-5)
    assert objective.metrics()["T/ctkd"].item() == pytest.approx(15.6211715726)


def test_every_epoch_records_the_learned_temperature():
    made = make_student(terms={"ctkd": CTKD(**PUBLISHED, weight=0.5)})
    temperatures = [metrics["T/ctkd"] for metrics in train([made])]
    assert len(set(temperatures)) == len(temperatures)
    assert all(1 < T < 21 for T in temperatures)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"T_min": 0}, "T_min must be a number from 1e-6 to 1e6, got 0"),
        ({"T_range": 0}, "T_range must be a finite number > 0, got 0"),
        ({"T_range": 1e6}, "T_range must be a number <= 999999, got 1e\\+06"),
        ({"loops": 0}, "loops must be a whole number >= 1, got 0"),
        ({"dkd": {"alpha": 1.0}}, "dkd must be a mapping of alpha and beta or null, got {alpha"),
        ({"dkd": {"alpha": -1.0, "beta": 1.0}}, "dkd.alpha must be a finite number >= 0, got -1"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CTKD(**(PUBLISHED | options), weight=1.0)
