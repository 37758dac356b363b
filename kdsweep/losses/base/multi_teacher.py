"""A term averaged over several teachers: You et al. 2017, section 3.1, for any term."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from kdsweep.common.types import Batch, Output
from kdsweep.losses.base.term import Term, state_below

# What a `Term` declares to need, whatever it is called.
REQUIREMENTS = tuple(name for name in Term.__annotations__ if name != "epoch")


class MultiTeacherLoss(Term):
    """The mean of one term's values for each of the teachers, ``Output.members``.

    ``terms`` are equal, one per teacher, because each may have trained parameters for its teacher,
    such as a regressor. Each is built, and ``setup`` is called for each, by the caller.
    """

    def __init__(self, terms: Sequence[Term]) -> None:
        """Raises ValueError if there is no term."""
        if not terms:
            raise ValueError("a term must have at least one teacher to be averaged over, got none")
        super().__init__(terms[0].weight)
        for requirement in REQUIREMENTS:
            setattr(self, requirement, getattr(terms[0], requirement))
        self.terms = nn.ModuleList(terms)

    def load_stage_state(self, state: Mapping[str, Tensor]) -> None:
        for index, term in enumerate(per_teacher_terms(self)):
            term.load_stage_state(state_below(f"terms.{index}.", state))

    def metrics(self) -> dict[str, Tensor]:
        """The mean over the teachers."""
        every = [term.metrics() for term in per_teacher_terms(self)]
        return {name: torch.stack([one[name] for one in every]).mean() for name in every[0]}

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        pairs = zip(per_teacher_terms(self), teacher.members, strict=True)
        values = []
        for term, member in pairs:
            term.epoch = self.epoch
            values.append(term(student, member, batch))
        return torch.stack(values).mean()


def per_teacher_terms(term: Term) -> Iterator[Term]:
    """The terms for one teacher each: those of a `MultiTeacherLoss`, else the term itself."""
    for single in term.terms if isinstance(term, MultiTeacherLoss) else [term]:
        assert isinstance(single, Term)
        yield single
