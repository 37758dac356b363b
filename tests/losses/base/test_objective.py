import copy

import pytest
import torch

from kdsweep.common.types import Output
from kdsweep.losses.base.hard_label import cross_entropy
from kdsweep.losses.base.objective import Objective
from kdsweep.losses.base.term import Term
from kdsweep.losses.base.weight_schedule import WeightSchedule
from kdsweep.losses.kl import KL, kl_divergence
from kdsweep.losses.mse import MSE


class Recorded(Term):
    """A term without a teacher that notes when it is evaluated, and has one parameter."""

    needs_teacher = False
    calls: list

    def __init__(self, calls, name, weight=1.0, value=2.0):
        super().__init__(weight)
        self.calls, self.name = calls, name
        self.value = torch.nn.Parameter(torch.tensor(value))

    def forward(self, student, teacher, batch):
        self.calls.append(self.name)
        return self.value * 1


class Featured(Term):
    def __init__(self, student, teacher):
        super().__init__(weight=1.0)
        self.student_features, self.teacher_features = student, teacher


def kd(alpha, T=4.0, hard_weight=None, **options):
    return Objective({"kl": KL(T=T, weight=alpha)}, hard_weight=hard_weight, alpha=alpha, **options)


def test_golden_value_of_distillation(student, teacher, batch):
    """0.1 CE + 0.9 KL, at T=4."""
    total = kd(alpha=0.9)(student, teacher, batch).total
    assert total.item() == pytest.approx(1.2079259185, abs=1e-9)


def test_alpha_0_is_the_hard_term_alone(student, teacher, batch, gradient_of):
    def total(logits):
        return kd(alpha=0.0)(Output(logits, {}), teacher, batch)[0]

    def hard(logits):
        return cross_entropy(logits, batch.labels)

    assert torch.equal(total(student.logits), hard(student.logits))
    assert torch.equal(gradient_of(total, student.logits), gradient_of(hard, student.logits))


def test_alpha_1_is_the_soft_term_alone_with_its_t_squared(student, teacher, batch, gradient_of):
    def total(logits):
        return kd(alpha=1.0)(Output(logits, {}), teacher, batch)[0]

    def soft(logits):
        return kl_divergence(logits, teacher.logits, 4.0)

    assert torch.equal(total(student.logits), soft(student.logits))
    assert torch.equal(gradient_of(total, student.logits), gradient_of(soft, student.logits))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_values_are_unweighted_and_reported_whatever_the_weight(student, teacher, batch, alpha):
    values = kd(alpha=alpha)(student, teacher, batch).values
    assert values["ce"].item() == pytest.approx(2.8682351622, abs=1e-9)
    assert values["kl"].item() == pytest.approx(1.0234471137, abs=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_values_are_in_the_graph_but_for_those_of_weight_0(student, teacher, batch, alpha):
    leaf = student.logits.clone().requires_grad_()
    values = kd(alpha=alpha)(Output(leaf, {}), teacher, batch).values
    assert {name: value.requires_grad for name, value in values.items()} == {
        "ce": alpha < 1,
        "kl": alpha > 0,
    }


def test_without_alpha_the_hard_weight_is_1(student, teacher, batch):
    objective = Objective({"kl": KL(T=4, weight=0.9)}, hard_weight=None, alpha=None)
    assert objective.weights == {"ce": 1.0, "kl": 0.9}
    total, values, _ = objective(student, teacher, batch)
    torch.testing.assert_close(total, values["ce"] + 0.9 * values["kl"])


@pytest.mark.parametrize("alpha", [None, 0.25])
@pytest.mark.parametrize("hard_weight", [0, 0.0, 0.75, 3.0])
def test_hard_weight_overrides(student, teacher, batch, alpha, hard_weight):
    objective = Objective({"kl": KL(T=4, weight=0.25)}, hard_weight=hard_weight, alpha=alpha)
    assert objective.weights == {"ce": hard_weight, "kl": 0.25}
    total, values, _ = objective(student, teacher, batch)
    torch.testing.assert_close(total, hard_weight * values["ce"] + 0.25 * values["kl"])


def test_two_terms_with_weight_alpha_have_it_each(student, teacher, batch):
    terms = {"mse": MSE(weight=0.4), "kl": KL(T=4, weight=0.4)}
    total = Objective(terms, hard_weight=None, alpha=0.4)(student, teacher, batch).total
    expected = 0.6 * 2.8682351622 + 0.4 * 1.0234471137 + 0.4 * 3.1444268860
    assert total.item() == pytest.approx(expected, abs=1e-8)


def test_terms_are_evaluated_and_named_in_name_order_after_ce(student, teacher, batch):
    calls = []
    terms = {name: Recorded(calls, name) for name in ("zeta", "alpha", "mu")}
    objective = Objective(terms, hard_weight=None, alpha=None)
    values = objective(student, teacher, batch).values
    assert calls == ["alpha", "mu", "zeta"]
    assert list(values) == list(objective.weights) == ["ce", "alpha", "mu", "zeta"]


def test_a_term_of_weight_0_is_no_part_of_the_total_even_if_it_is_infinite(student, batch):
    terms = {"wild": Recorded([], "wild", weight=0.0, value=float("inf"))}
    total, values, _ = Objective(terms, hard_weight=None, alpha=None)(student, None, batch)
    assert total.item() == pytest.approx(2.8682351622, abs=1e-9)
    assert values["wild"].item() == float("inf")


def test_label_smoothing_is_the_hard_terms_own(student, teacher, batch):
    values = kd(alpha=0.5, label_smoothing=0.1)(student, teacher, batch).values
    assert torch.equal(values["ce"], cross_entropy(student.logits, batch.labels, 0.1))
    assert values["kl"].item() == pytest.approx(1.0234471137, abs=1e-9)


def test_no_terms_is_plain_training_without_a_teacher(student, batch):
    objective = Objective({}, hard_weight=None, alpha=None)
    total, values, _ = objective(student, None, batch)
    assert not objective.needs_teacher
    assert list(values) == ["ce"]
    assert total.item() == pytest.approx(2.8682351622, abs=1e-9)


def test_a_missing_teacher_is_named(student, batch):
    with pytest.raises(ValueError, match="a teacher is needed by kl"):
        kd(alpha=0.5)(student, None, batch)


def test_needs_a_teacher_if_some_term_does_whatever_its_weight():
    assert kd(alpha=0.0).needs_teacher
    alone = Objective({"own": Recorded([], "own")}, hard_weight=None, alpha=None)
    assert not alone.needs_teacher


def test_features_are_the_sorted_union():
    terms = {"a": Featured(("s2", "s1"), ("t1",)), "b": Featured(("s1",), ("t9", "t1"))}
    objective = Objective(terms, hard_weight=None, alpha=None)
    assert objective.student_features == ("s1", "s2")
    assert objective.teacher_features == ("t1", "t9")


def test_parameters_of_terms_are_trained_and_checkpointed(student, batch):
    objective = Objective({"own": Recorded([], "own")}, hard_weight=None, alpha=None)
    objective(student, None, batch)[0].backward()
    assert [p.grad.item() for p in objective.parameters()] == [1.0]
    assert list(objective.state_dict()) == ["terms.own.value"]


def test_a_copy_is_on_its_own():
    objective = Objective({"own": Recorded([], "own")}, hard_weight=None, alpha=None)
    twin = copy.deepcopy(objective)
    with torch.no_grad():
        next(twin.parameters()).add_(1)
    assert next(objective.parameters()).item() == 2.0


@pytest.mark.parametrize("alpha", [-0.1, 1.1, 2, float("nan"), "half"])
def test_alpha_out_of_range_is_refused(alpha):
    with pytest.raises(ValueError, match=rf"alpha must be a number in \[0, 1\], got {alpha}"):
        Objective({"kl": KL(T=4, weight=0.5)}, hard_weight=None, alpha=alpha)


@pytest.mark.parametrize("hard_weight", [-0.1, float("inf"), float("nan"), "much"])
def test_bad_hard_weight_is_refused(hard_weight):
    with pytest.raises(ValueError, match=f"hard_weight must be .* >= 0, got {hard_weight}"):
        kd(alpha=0.5, hard_weight=hard_weight)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan"), None])
def test_bad_label_smoothing_is_refused(smoothing):
    with pytest.raises(
        ValueError, match=r"hard\.label_smoothing must be a number in \[0, 1\), got"
    ):
        kd(alpha=0.5, label_smoothing=smoothing)


def test_nothing_to_minimise_is_refused():
    with pytest.raises(ValueError, match="hard_weight or the weight of a term must be > 0"):
        Objective({}, hard_weight=0.0, alpha=None)


def scheduled(epochs=10, hard_weight=None, **options):
    terms = {"kl": KL(T=4, weight=0.9), "mse": MSE(weight=0.0)}
    schedules = {"kl": WeightSchedule(**options)}
    return Objective(terms, hard_weight=hard_weight, alpha=0.9, schedules=schedules, epochs=epochs)


def test_a_schedule_scales_the_weight_of_its_term_and_of_no_other(student, teacher, batch):
    objective = scheduled(warmup=4, until=6)
    assert objective.weights == {"ce": pytest.approx(0.1), "kl": 0.9, "mse": 0.0}
    for epoch, factor in enumerate([0.25, 0.5, 0.75, 1, 1, 1, 0, 0]):
        assert objective.weights_in(epoch) == objective.weights | {"kl": 0.9 * factor}
        total, values, _ = objective(student, teacher, batch, epoch)
        assert values["kl"].item() == pytest.approx(1.0234471137, abs=1e-9)
        expected = 0.1 * 2.8682351622 + 0.9 * factor * 1.0234471137
        assert total.item() == pytest.approx(expected, abs=1e-9)


def test_the_summands_are_the_weighted_values_without_those_of_weight_0(student, teacher, batch):
    total, values, weighted = scheduled(warmup=4)(student, teacher, batch, 1)
    assert list(weighted) == ["ce", "kl"]
    assert torch.equal(weighted["kl"], 0.9 * 0.5 * values["kl"])
    assert torch.equal(total, torch.stack(list(weighted.values())).sum())


def test_weights_are_computed_once_an_epoch(student, teacher, batch, monkeypatch):
    objective, epochs, factor = scheduled(warmup=4), [], WeightSchedule.factor
    monkeypatch.setattr(
        WeightSchedule, "factor", lambda self, epoch: epochs.append(epoch) or factor(self, epoch)
    )
    for epoch in (0, 0, 1, 1, 1, 0):
        assert objective(student, teacher, batch, epoch).weighted.keys() == {"ce", "kl"}
        assert all(term.epoch == epoch for term in objective.terms.values())
    assert epochs == [0, 0, 1, 1, 0, 0]  # of two terms


def test_a_term_that_has_ended_is_reported_without_gradient(student, teacher, batch, gradient_of):
    def total(epoch):
        return lambda logits: scheduled(until=2)(Output(logits, {}), teacher, batch, epoch)[0]

    def hard(logits):
        return scheduled().hard_weight * cross_entropy(logits, batch.labels)

    assert torch.equal(gradient_of(total(2), student.logits), gradient_of(hard, student.logits))
    assert not torch.equal(gradient_of(total(1), student.logits), gradient_of(hard, student.logits))


def test_a_schedule_that_leaves_nothing_to_minimise_is_refused_if_the_run_gets_there():
    with pytest.raises(ValueError, match=r"must be > 0 in every epoch, got .* after 6 epochs"):
        scheduled(until=6, hard_weight=0)
    scheduled(until=6, hard_weight=0, epochs=6)


@pytest.mark.parametrize(
    ("options", "formula"),
    [
        ({}, "0.1 ce + 0.9 kl + 0 mse"),
        (
            {"warmup": 2, "until": 5, "decay": "linear"},
            "0.1 ce + 0.9 kl (warmup=2 until=5 decay=linear) + 0 mse",
        ),
    ],
)
def test_the_formula_has_weights_and_schedules(options, formula):
    assert scheduled(**options).formula == formula


def test_ce_is_no_name_for_a_term():
    with pytest.raises(ValueError, match="must not be named 'ce'"):
        Objective({"ce": MSE(weight=1.0)}, hard_weight=None, alpha=None)
