import pytest
import torch

from kdsweep.common.validation import shown
from kdsweep.losses.cc import CC


def plain(made):
    """The same case with the identity as embeddings."""
    for linear in (made.term.links[0].student, made.term.links[0].teacher):
        torch.nn.init.eye_(linear.weight)
        torch.nn.init.zeros_(linear.bias)
    return made


def test_golden_value_with_the_identity_as_embeddings(case, golden):
    value = plain(case(CC, [golden.es], [golden.et[:, :3]], dim=3)).value()
    assert value.item() == pytest.approx(1.5805559107, abs=1e-9)


def test_equal_embeddings_have_no_error(case, golden):
    assert plain(case(CC, [golden.es], [golden.es], dim=3)).value().item() == 0


def test_both_embeddings_have_dim_dimensions(case, golden):
    link = case(CC, [golden.fs], [golden.et], dim=7).term.links[0]
    assert tuple(link.student.weight.shape) == (7, 48)
    assert tuple(link.teacher.weight.shape) == (7, 6)


@pytest.mark.parametrize("dim", [0, -1, 1.5, None, True])
def test_bad_dimensions_are_refused(dim):
    with pytest.raises(ValueError, match=f"dim must be an integer >= 1, got {shown(dim)}"):
        CC([["a", "b"]], weight=1.0, dim=dim)
