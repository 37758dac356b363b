"""A term averaged over several teachers: You et al. 2017, section 3.1, for any term."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from kdsweep.common.types import Batch, Output
from kdsweep.losses.base.term import Term


class MultiTeacherLoss(Term):
    """The mean of one term's values for each of the teachers, ``Output.members``.

    ``terms`` are equal, one a teacher, because each may learn something of its own about its
    teacher, such as a regressor. Each is built and bound on its own, and is not bound from here.
    """

    def __init__(self, terms: Sequence[Term]) -> None:
        """Raises ValueError if there is no term."""
        if not terms:
            raise ValueError("a term must have at least one teacher to be averaged over, got none")
        super().__init__(terms[0].weight)
        self.needs_teacher, self.needs_labels = terms[0].needs_teacher, terms[0].needs_labels
        self.needs_stage = terms[0].needs_stage
        self.student_features = terms[0].student_features
        self.teacher_features = terms[0].teacher_features
        self.terms = nn.ModuleList(terms)

    def load_stage_state(self, learned: Mapping[str, Tensor]) -> None:
        for place, term in enumerate(per_teacher_terms(self)):
            prefix = f"terms.{place}."
            term.load_stage_state(
                {k.removeprefix(prefix): v for k, v in learned.items() if k.startswith(prefix)}
            )

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        pairs = zip(per_teacher_terms(self), teacher.members, strict=True)
        return torch.stack([term(student, member, batch) for term, member in pairs]).mean()


def per_teacher_terms(term: Term) -> Iterator[Term]:
    """The terms that look at one teacher each: those of an average, else the term itself."""
    for part in term.terms if isinstance(term, MultiTeacherLoss) else [term]:
        assert isinstance(part, Term)
        yield part
