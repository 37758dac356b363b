"""A term averaged over teachers is the mean of its values for each."""

import pytest
import torch

from kdsweep.common.types import Batch, Output
from kdsweep.losses.base.multi_teacher import MultiTeacherLoss, per_teacher_terms
from kdsweep.losses.fitnet import FitNet
from kdsweep.losses.kl import KL
from kdsweep.training.teacher import mean_output


def outputs(count: int) -> list[Output]:
    generator = torch.Generator().manual_seed(3)
    made = [torch.randn(4, 5, generator=generator) for _ in range(count)]
    return [Output(logits, {"hint": logits * 2}) for logits in made]


BATCH = Batch(torch.zeros(4, 1), torch.arange(4), torch.arange(4))


def test_the_value_is_the_mean_over_the_members() -> None:
    student, *members = outputs(4)
    term = MultiTeacherLoss([KL(T=2.0, weight=0.3) for _ in members])
    alone = [KL(T=2.0, weight=0.3)(student, member, BATCH) for member in members]
    assert term(student, mean_output(members), BATCH).item() == pytest.approx(
        torch.stack(alone).mean().item()
    )
    assert (term.weight, term.needs_teacher, term.needs_labels) == (0.3, True, False)


def test_each_member_has_a_term_of_its_own_to_learn_with() -> None:
    student, *members = outputs(3)
    term = MultiTeacherLoss([FitNet([["hint", "hint"]], 1.0) for _ in members])
    for part, member in zip(per_teacher_terms(term), members, strict=True):
        part.setup(student, member, BATCH.labels)
    assert (term.student_features, term.teacher_features) == (("hint",), ("hint",))
    term(student, mean_output(members), BATCH).backward()
    learned = [[p.grad for p in part.parameters()] for part in per_teacher_terms(term)]
    assert all(len(grads) and all(g is not None for g in grads) for grads in learned)


def test_a_plain_term_has_one_part() -> None:
    term = KL(T=1.0, weight=1.0)
    assert list(per_teacher_terms(term)) == [term]


def test_the_mean_of_outputs_is_that_of_their_softmax() -> None:
    members = outputs(3)
    mean = mean_output(members)
    expected = torch.stack([member.logits.softmax(1) for member in members]).mean(0)
    torch.testing.assert_close(mean.logits.softmax(1), expected)
    torch.testing.assert_close(mean.logits.exp().sum(1), torch.ones(4))
    assert mean.members == tuple(members)
    assert mean.features == {}


def test_there_must_be_a_teacher() -> None:
    with pytest.raises(ValueError, match="a term must have at least one teacher"):
        MultiTeacherLoss([])
