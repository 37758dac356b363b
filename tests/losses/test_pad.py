import pytest
import torch
from torch import nn

from kdsweep.losses.pad import PAD


def test_golden_value(case, golden):
    """Of torchdistill's PADL2Loss and VarianceBranch4PAD."""
    made = case(PAD, [golden.es], [golden.et[:, :3]])
    made.term.double()
    linear = made.term.links[0].linear
    rows, columns = torch.meshgrid(torch.arange(3.0), torch.arange(3.0), indexing="ij")
    with torch.no_grad():
        linear.weight.copy_(torch.sin((rows + 2 * columns).double()))
        linear.bias.zero_()
    assert made.value().item() == pytest.approx(1.3226013789, abs=1e-9)


def test_a_large_variance_makes_an_image_count_less(case, golden):
    made = case(PAD, [golden.es], [golden.et[:, :3]])
    norm = made.term.links[0].norm
    with torch.no_grad():
        norm.weight.zero_()
        norm.bias.fill_(10.0)
    far = golden.et[:, :3] + 5
    for targets in (golden.et[:, :3], far):
        made.teacher.features["f0"] = targets
        assert made.value().item() == pytest.approx(10.0, abs=0.01)


def test_embeddings_of_other_dimensions_are_projected_first(case, golden):
    same, other = (case(PAD, [golden.es], [t]) for t in (golden.et[:, :3], golden.et))
    assert isinstance(same.term.links[0].projector, nn.Identity)
    assert isinstance(other.term.links[0].projector, nn.Linear)
    other.value().backward()
    assert all(parameter.grad is not None for parameter in other.term.parameters())


def test_the_student_is_moved_by_the_variance_too(case, golden):
    feature = golden.es.clone().requires_grad_()
    made = case(PAD, [feature], [feature.detach()])
    made.value().backward()
    assert feature.grad.abs().sum() > 0  # at no distance


def test_the_mean_of_a_map_is_an_embedding(case, golden):
    made = case(PAD, [golden.fs], [golden.ft3])
    pooled = case(PAD, [golden.fs.mean(dim=(2, 3))], [golden.ft3.mean(dim=(2, 3))])
    torch.testing.assert_close(made.value(), pooled.value())


def test_a_batch_of_one_image_is_an_error(case, golden):
    made = case(PAD, [golden.es], [golden.et])
    made.student.features["f0"], made.teacher.features["f0"] = golden.es[:1], golden.et[:1]
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        made.value()
