"""Maps of different sizes at one size."""

import pytest
import torch
import torch.nn.functional as F

from kdsweep.losses.base.shapes import downsample
from kdsweep.training.one_device import OneDevice

SIZES = [((8, 8), (4, 4)), ((7, 7), (4, 4)), ((7, 5), (3, 2)), ((14, 6), (9, 6)), ((9, 8), (3, 3))]


@pytest.mark.parametrize(("size", "smaller"), SIZES)
def test_the_values_and_gradients_are_those_of_adaptive_pooling(
    size: tuple[int, int], smaller: tuple[int, int]
) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 4, *size, dtype=torch.float64, generator=generator, requires_grad=True)
    weights = torch.randn(3, 4, *smaller, dtype=torch.float64, generator=generator)
    found, expected = downsample(maps, *smaller), F.adaptive_avg_pool2d(maps, smaller)
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)
    gradients = [torch.autograd.grad((o * weights).sum(), maps)[0] for o in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(("size", "smaller"), SIZES)
def test_every_step_is_deterministic_on_cuda(
    size: tuple[int, int], smaller: tuple[int, int]
) -> None:
    maps = torch.empty(3, 4, *size, device="meta", requires_grad=True)
    with OneDevice() as seen:
        downsample(maps, *smaller).sum().backward()
    assert not seen.nondeterministic
    assert seen.moved == 0
