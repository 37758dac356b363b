import pytest
import torch

from kdsweep.losses.kdsvd import KDSVD, singular_vectors


def test_golden_value(case, golden):
    """Of RepDistiller's distiller_zoo/KDSVD.py, for maps behind a ReLU."""
    small = [golden.fs.square()[:, :, :2, :2], golden.ft3.square()[:, :, :2, :2]]
    maps = [golden.fs.relu(), small[0]], [golden.ft3.relu(), small[1]]
    assert case(KDSVD, *maps).value().item() == pytest.approx(0.001096299769, rel=1e-8)


def random_maps(*shapes):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]


def test_singular_vectors_are_those_of_torch_up_to_their_signs():
    (maps,) = random_maps((3, 6, 4, 4))
    expected = torch.linalg.svd(maps.flatten(2).mT).Vh[:, :4].mT
    cosines = (singular_vectors(maps, 4) * expected).sum(dim=1)
    torch.testing.assert_close(cosines.abs(), torch.ones(3, 4, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(2, 5, 3, 3), (2, 7, 2, 2)])
def test_the_gradient_is_that_of_the_value(shape):
    """Also for fewer positions than channels: then some singular values are 0."""
    maps, directions = random_maps(shape, (shape[1], 2))
    maps.requires_grad_()

    def loss(maps):  # a sign that is arbitrary makes no difference
        return (singular_vectors(maps, 2) * directions).sum(dim=1).square().sum()

    assert torch.autograd.gradcheck(loss, maps)


def test_channels_that_are_0_leave_the_gradient_finite(case):
    maps = random_maps(*[(3, 6, 4, 4)] * 4)
    for dead in maps:
        dead[:, 3:] = 0
    leaf = maps[0].requires_grad_()
    case(KDSVD, [leaf, maps[1]], [maps[2], maps[3]]).value().backward()
    assert torch.isfinite(leaf.grad).all()
    assert leaf.grad.abs().sum() > 0


def test_the_sign_of_a_map_does_not_matter(case):
    """Nor does that of the vectors that LAPACK returns, which depends on shape and device."""
    fs, fs2, ft, ft2 = random_maps(*[(3, 6, 4, 4)] * 4)
    value = case(KDSVD, [fs, fs2], [ft, ft2]).value()
    torch.testing.assert_close(case(KDSVD, [-fs, fs2], [ft, -ft2]).value(), value)


def test_every_step_from_map_to_map_counts(case):
    fs, fs2, fs3, ft, ft2, ft3 = random_maps(*[(3, 6, 4, 4)] * 6)
    whole = case(KDSVD, [fs, fs2, fs3], [ft, ft2, ft3]).value()
    first, second = case(KDSVD, [fs, fs2], [ft, ft2]), case(KDSVD, [fs2, fs3], [ft2, ft3])
    torch.testing.assert_close(whole, first.value() + second.value())


def test_one_pair_is_refused():
    with pytest.raises(ValueError, match="pairs must be two at least"):
        KDSVD([["a", "b"]], weight=1.0)


def test_other_channels_are_refused(case, golden):
    with pytest.raises(ValueError, match=r"pairs \[f0, f0\]: maps must have equal channels, got"):
        case(KDSVD, [golden.fs] * 2, [golden.ft] * 2)
