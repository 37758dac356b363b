"""The weighted sum that a student minimises.

    objective = hard_weight * CE + sum over k of weight_k * factor_k(epoch) * term_k

``alpha`` weights the *soft* part, as in RepDistiller and KD-pytorch; in torchdistill it weights the
hard one. A term's factor is 1 unless it has a schedule (weight_schedule.py); the hard weight has
none and does not change when a term has ended. This is the only place where weights are applied.

Of a batch with a strong view, CE and each term is the mean of its values for the two views, so that
a weight means the same with it and without. Terms that compare the views are evaluated once.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kdsweep.common.types import Batch, Output
from kdsweep.common.validation import check_fraction, check_not_negative
from kdsweep.losses.base.hard_label import hard_loss
from kdsweep.losses.base.term import Term, state_below
from kdsweep.losses.base.weight_schedule import WeightSchedule

HARD = "ce"  # the name of the hard term in metrics and weights


class Loss(NamedTuple):
    """What an objective is for one batch: scalars in its graph, by name, "ce" first."""

    total: Tensor  # to be minimised: the sum of `weighted`
    values: dict[str, Tensor]  # of every term, without its weight
    weighted: dict[str, Tensor]  # the summands of the total; none of weight 0


class Objective(nn.Module):
    """Hard cross-entropy and named terms, weighted and added; the terms are in name order.

    ``alpha`` is given if and only if the weight of some term is derived from it. The weight of the
    hard term is then 1 - alpha, else 1; ``hard_weight`` overrides both. ``label_smoothing`` applies
    to the hard term. ``schedules`` holds those of terms whose weight changes over the ``epochs``.
    Raises ValueError for values out of range, and if every weight is 0 in some epoch.
    """

    def __init__(
        self,
        terms: Mapping[str, Term],
        *,
        hard_weight: float | None,
        alpha: float | None,
        label_smoothing: float = 0.0,
        schedules: Mapping[str, WeightSchedule] | None = None,
        epochs: int = 1,
    ) -> None:
        super().__init__()
        if HARD in terms:
            raise ValueError(f"a term must not be named {HARD!r}: this is the hard cross-entropy")
        check_fraction("hard.label_smoothing", label_smoothing, one=False)
        self.hard_weight = effective_hard_weight(hard_weight, alpha)
        self.label_smoothing = float(label_smoothing)
        self.terms = nn.ModuleDict({name: terms[name] for name in sorted(terms)})
        given = schedules or {}
        self.schedules = {name: given.get(name, WeightSchedule()) for name in self.terms}
        self._epoch: int | None = None  # the epoch of the latest batch
        self._weights: dict[str, float] = {}  # in that epoch
        for epoch in range(epochs):
            weights = self.weights_in(epoch)
            if not any(weights.values()):
                raise ValueError(
                    "hard_weight or the weight of a term must be > 0 in every epoch, "
                    f"got {weights} after {epoch} epochs"
                )

    def forward(
        self, student: Output, teacher: Output | None, batch: Batch, epoch: int = 0
    ) -> Loss:
        """The total to minimise, its weighted summands and the unweighted values.

        A term of weight 0 in this epoch (from 0) is evaluated and reported, but without a gradient
        and not added to the total. ``teacher`` is None if no term needs one.
        """
        if teacher is None:
            if self.needs_teacher:
                raise ValueError(f"a teacher is needed by {', '.join(self.terms)}")
            teacher = Output(torch.empty(0), {}, strong=Output(torch.empty(0), {}))
        if epoch != self._epoch:
            self._enter(epoch)
        values = {}
        for name, weight in self._weights.items():
            with torch.set_grad_enabled(torch.is_grad_enabled() and weight > 0):
                values[name] = self._value(name, student, teacher, batch)
        weighted = {name: weight * values[name] for name, weight in self._weights.items() if weight}
        return Loss(torch.stack(list(weighted.values())).sum(), values, weighted)

    def _enter(self, epoch: int) -> None:
        """Set what is the same for all batches of an epoch."""
        self._epoch, self._weights = epoch, self.weights_in(epoch)
        for _, term in self._terms():
            term.epoch = epoch

    def metrics(self) -> dict[str, Tensor]:
        """What the terms have learned, to be recorded after an epoch: `T/ctkd` by term."""
        return {
            f"{key}/{name}": value
            for name, term in self._terms()
            for key, value in term.metrics().items()
        }

    def load_stage_state(self, state: Mapping[str, Tensor]) -> None:
        """Pass each term the state of the previous stage's term of its name.

        ``state`` is that of the stage's objective. Raises ValueError where it does not fit.
        """
        for name, term in self._terms():
            try:
                term.load_stage_state(state_below(f"terms.{name}.", state))
            except ValueError as error:
                raise ValueError(f"loss.{name}: {error}") from error

    @property
    def weights(self) -> dict[str, float]:
        """The effective weights without schedules, "ce" first, then the terms in name order."""
        return {HARD: self.hard_weight} | {name: term.weight for name, term in self._terms()}

    def weights_in(self, epoch: int) -> dict[str, float]:
        """The weights in an epoch, counted from 0, in the same order."""
        factors = {name: schedule.factor(epoch) for name, schedule in self.schedules.items()}
        return {name: weight * factors.get(name, 1.0) for name, weight in self.weights.items()}

    @property
    def formula(self) -> str:
        """The weighted sum as text: `0.5 ce + 0.5 kl (warmup=20)`."""
        summands = []
        for name, weight in self.weights.items():
            schedule = str(self.schedules.get(name, ""))
            summands.append(f"{weight:g} {name}" + (f" ({schedule})" if schedule else ""))
        return " + ".join(summands)

    @property
    def needs_teacher(self) -> bool:
        """Whether some term needs the teacher, whatever its weight."""
        return any(term.needs_teacher for _, term in self._terms())

    @property
    def student_features(self) -> tuple[str, ...]:
        """The student's features that the terms compare, sorted."""
        return tuple(sorted({name for _, term in self._terms() for name in term.student_features}))

    @property
    def teacher_features(self) -> tuple[str, ...]:
        """The teacher's features that the terms compare, sorted."""
        return tuple(sorted({name for _, term in self._terms() for name in term.teacher_features}))

    def _value(self, name: str, student: Output, teacher: Output, batch: Batch) -> Tensor:
        if student.strong is None or (name != HARD and self.terms[name].compares_views):
            return self._value_of_view(name, student, teacher, batch)
        assert teacher.strong is not None, "it has the views that the student has"
        views = (student, teacher), (student.strong, teacher.strong)
        return torch.stack([self._value_of_view(name, *view, batch) for view in views]).mean()

    def _value_of_view(self, name: str, student: Output, teacher: Output, batch: Batch) -> Tensor:
        if name == HARD:
            return hard_loss(student.logits, batch, self.label_smoothing)
        value: Tensor = self.terms[name](student, teacher, batch)
        return value

    def _terms(self) -> Iterator[tuple[str, Term]]:
        for name, term in self.terms.items():
            assert isinstance(term, Term)
            yield name, term


def effective_hard_weight(hard_weight: float | None, alpha: float | None) -> float:
    """``hard_weight`` if given, else 1 - alpha if there is an alpha, else 1."""
    if alpha is not None:
        check_fraction("alpha", alpha)
    if hard_weight is not None:
        check_not_negative("hard_weight", hard_weight)
        return float(hard_weight)
    return 1.0 - alpha if alpha is not None else 1.0
