"""A term's value for given tensors, for notebooks and for comparison with other code."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdsweep.common.types import Batch, Output
from kdsweep.losses.base.feature_term import FeatureTerm
from kdsweep.losses.base.term import Term


def compute_loss(
    term: Term,
    student: Tensor | Sequence[Tensor],
    teacher: Tensor | Sequence[Tensor],
    labels: Tensor | None = None,
) -> Tensor:
    """The unweighted value, with its gradient.

    A term with trained parameters, such as FitNet's regressor, is set up on its first call: they
    are drawn from torch's default generator.

    Args:
        student: the logits (B, C); for a term over pairs one feature (B, ...) for each of them, for
            another one with features the logits, then those.
        teacher: likewise.
        labels: (B,) int64, for terms that need them. The B images are taken for the whole
            training set.

    Raises ValueError without labels that are needed; for pairs that the term cannot compare, and if
    there are not as many features as pairs.
    """
    student_output, teacher_output = as_output(term, student, 0), as_output(term, teacher, 1)
    count, device = len(student_output.logits), student_output.logits.device
    if labels is None:
        if term.needs_labels:
            raise ValueError(f"labels must be given, {type(term).__name__} needs them")
        labels = torch.zeros(count, dtype=torch.int64, device=device)
    if not any(len(part) for part in term.children() if isinstance(part, nn.ModuleList)):
        term.setup(student_output, teacher_output, labels)
        term.to(device)
    images = torch.empty(count, 0, device=device)
    batch = Batch(images, labels, torch.arange(count, device=device))
    value: Tensor = term(student_output, teacher_output, batch)
    return value


def as_output(term: Term, given: Tensor | Sequence[Tensor], side: int) -> Output:
    """The tensors as a network's output; ``side`` 0 is the student's of each pair."""
    tensors = [given] if isinstance(given, Tensor) else list(given)
    if isinstance(term, FeatureTerm):
        counted, names = "pairs", [pair[side] for pair in term.pairs]
    else:
        features = (term.student_features, term.teacher_features)[side]
        counted, names = "logits and features", ["logits", *features]
    if len(tensors) != len(names):
        raise ValueError(f"tensors must be as many as {counted}, {len(names)}, got {len(tensors)}")
    return Output(tensors[0], dict(zip(names, tensors, strict=True)))
