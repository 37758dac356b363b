"""The gradient norms of the first batch, against a graph of their own."""

import pytest
import torch
from toys import EPOCHS, make_stream, make_student, make_teacher, train

from kdsweep.common.types import Batch, Output
from kdsweep.losses.base.hard_label import hard_loss
from kdsweep.losses.base.term import Term
from kdsweep.losses.base.weight_schedule import WeightSchedule
from kdsweep.losses.kl import KL, kl_divergence
from kdsweep.losses.mse import MSE
from kdsweep.training.checkpoint import sha256
from kdsweep.training.gradients import gradient_ratios
from kdsweep.training.student import Student


def first_batch() -> tuple[Batch, Output]:
    batch = next(iter(make_stream().epoch(0)))
    return batch, make_teacher()(batch.images)


def norm_of(value: torch.Tensor, student: Student) -> float:
    gradients = torch.autograd.grad(value, list(student.model.parameters()))
    return torch.cat([gradient.flatten() for gradient in gradients]).norm().item()


def test_the_ratio_is_that_of_the_weighted_gradients_of_the_first_batch() -> None:
    seen = train([make_student(alpha=0.9)])
    twin, (batch, target) = make_student(alpha=0.9), first_batch()
    soft = norm_of(kl_divergence(twin.network(batch.images).logits, target.logits, 4.0), twin)
    hard = norm_of(hard_loss(twin.network(batch.images).logits, batch), twin)
    assert seen[0]["grad_ratio/kl"] == pytest.approx(0.9 * soft / (0.1 * hard), rel=1e-4)
    assert not any("grad_ratio/kl" in metrics for metrics in seen[1:])


def test_a_schedule_leaves_the_ratio_that_of_the_whole_weights() -> None:
    rising = train([make_student(schedules={"kl": WeightSchedule(warmup=3)})], epochs=1)
    whole = train([make_student()], epochs=1)
    assert rising[0]["grad_ratio/kl"] == whole[0]["grad_ratio/kl"]


@pytest.mark.parametrize("options", [{"terms": {}}, {"alpha": 0.0}, {"alpha": 1.0}])
def test_without_a_soft_or_a_hard_term_there_is_no_ratio(options: dict[str, object]) -> None:
    seen = train([make_student(**options)], epochs=1)  # type: ignore[arg-type]
    assert not any(key.startswith("grad_ratio/") for key in seen[0])


def test_a_resumed_run_has_no_ratio() -> None:
    student = make_student()
    train([student], epochs=1)
    assert not any("grad_ratio/kl" in metrics for metrics in train([student], epochs=EPOCHS))


@pytest.mark.parametrize(
    "recipe", [{"dropout": 0.5}, {"model": "cnn"}, {"model": "cnn", "precision": "bf16"}]
)
def test_it_alters_no_bit(recipe: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    measured = make_student(**recipe)  # type: ignore[arg-type]
    train([measured])
    monkeypatch.setattr("kdsweep.training.student.gradient_ratios", lambda *inputs: {})
    plain = make_student(**recipe)  # type: ignore[arg-type]
    train([plain])
    assert sha256(measured.model) == sha256(plain.model)


class Drawing(Term):
    """A term that draws, and counts its calls."""

    def __init__(self) -> None:
        super().__init__(weight=2.0)
        self.calls = 0

    def forward(self, student: Output, teacher: Output, batch: Batch) -> torch.Tensor:
        self.calls += 1
        return (student.logits * torch.rand_like(student.logits)).mean()


def test_every_term_is_computed_once_a_step() -> None:
    term = Drawing()
    train([make_student(terms={"drawing": term, "mse": MSE(weight=1.0)})], epochs=1)
    assert term.calls == 3


def test_a_term_that_does_not_depend_on_the_model_pulls_at_nothing() -> None:
    student, own = make_student(terms={"kl": KL(4.0, 1.0)}), torch.ones((), requires_grad=True)
    batch, _ = first_batch()
    values = {"ce": hard_loss(student.network(batch.images).logits, batch), "own": own * 2}
    assert gradient_ratios(values, {"ce": 1.0, "own": 1.0}, student.model)["own"].item() == 0.0
