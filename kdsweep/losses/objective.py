"""The weighted sum that a student minimises.

    objective = hard_weight * CE + sum over k of weight_k * term_k

``alpha`` weighs the *soft* part, as in RepDistiller and KD-pytorch; in torchdistill it weighs the
hard one. This is the only place where weights are applied.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from kdsweep.losses.checks import check_fraction, check_not_negative, is_finite_number
from kdsweep.losses.hard import cross_entropy
from kdsweep.losses.term import Term
from kdsweep.structures import Batch, Output

HARD = "ce"  # what the hard term is called in metrics and weights


class Objective(nn.Module):
    """Hard cross-entropy and named terms, weighted and added; the terms come in name order.

    ``alpha`` is given if and only if the weight of some term follows it. The hard term then
    weighs 1 - alpha, else 1; ``hard_weight`` overrides both. ``label_smoothing`` is the hard
    term's own. Raises ValueError for values out of range, and if every weight is 0.
    """

    def __init__(
        self,
        terms: Mapping[str, Term],
        *,
        hard_weight: float | None,
        alpha: float | None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if HARD in terms:
            raise ValueError(f"a term must not be named {HARD!r}: this is the hard cross-entropy")
        if not is_finite_number(label_smoothing) or not 0 <= label_smoothing < 1:
            raise ValueError(
                f"hard.label_smoothing must be a number in [0, 1), got {label_smoothing!r}"
            )
        self.hard_weight = effective_hard_weight(hard_weight, alpha)
        self.label_smoothing = float(label_smoothing)
        self.terms = nn.ModuleDict({name: terms[name] for name in sorted(terms)})
        if not any(self.weights.values()):
            raise ValueError(f"hard_weight or the weight of a term must be > 0, got {self.weights}")

    def forward(
        self, student: Output, teacher: Output | None, batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The total to minimise, and the unweighted values by name, "ce" first, detached.

        A term of weight 0 is evaluated and reported, but is no part of the total. ``teacher`` is
        None if no term needs one.
        """
        if teacher is None:
            if self.needs_teacher:
                raise ValueError(f"a teacher is needed by {', '.join(self.terms)}")
            teacher = Output(torch.empty(0), {})
        contributions = []
        values = {}
        for name, weight in self.weights.items():
            with torch.set_grad_enabled(torch.is_grad_enabled() and weight > 0):
                value = self._value(name, student, teacher, batch)
            values[name] = value.detach()
            if weight > 0:
                contributions.append(weight * value)
        return torch.stack(contributions).sum(), values

    @property
    def weights(self) -> dict[str, float]:
        """The effective weights by name, "ce" first, then the terms in name order."""
        return {HARD: self.hard_weight} | {name: term.weight for name, term in self._terms()}

    @property
    def needs_teacher(self) -> bool:
        """Whether some term looks at the teacher, whatever its weight."""
        return any(term.needs_teacher for _, term in self._terms())

    @property
    def student_features(self) -> tuple[str, ...]:
        """The student's features that some term wants, sorted."""
        return tuple(sorted({name for _, term in self._terms() for name in term.student_features}))

    @property
    def teacher_features(self) -> tuple[str, ...]:
        """The teacher's features that some term wants, sorted."""
        return tuple(sorted({name for _, term in self._terms() for name in term.teacher_features}))

    def _value(self, name: str, student: Output, teacher: Output, batch: Batch) -> Tensor:
        if name == HARD:
            return cross_entropy(student.logits, batch.labels, self.label_smoothing)
        value: Tensor = self.terms[name](student, teacher, batch)
        return value

    def _terms(self) -> Iterator[tuple[str, Term]]:
        for name, term in self.terms.items():
            assert isinstance(term, Term)
            yield name, term


def effective_hard_weight(hard_weight: float | None, alpha: float | None) -> float:
    """``hard_weight`` if given, else 1 - alpha if a term's weight follows alpha, else 1."""
    if alpha is not None:
        check_fraction("alpha", alpha)
    if hard_weight is not None:
        check_not_negative("hard_weight", hard_weight)
        return float(hard_weight)
    return 1.0 - alpha if alpha is not None else 1.0
