"""Colour jitter against torchvision's operations on images of Pillow."""

import pytest
import torch
from photographs import pictures
from torchvision.transforms.v2 import functional as F

from kdsweep.data.pipeline.color_jitter import HUE, JITTER_OPERATIONS, ColorJitter
from kdsweep.data.pipeline.drawn_operations import operate

TORCHVISION = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)


def jittered(image, places, factors):
    made = F.to_pil_image(image)
    for place, factor in zip(places, factors, strict=True):
        made = TORCHVISION[place](made, factor)
    return F.pil_to_tensor(made)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_equals_torchvision_with_the_same_draws(channels):
    images = pictures(40, channels)
    drawn = ColorJitter(0.4, 0.9, 0.6, 0.5).draw(len(images), torch.Generator().manual_seed(0))
    (batch,) = drawn.batches(len(images), "cpu")
    made = operate(images, batch, JITTER_OPERATIONS)
    for number, image in enumerate(images):
        places, factors = drawn.operation[number].tolist(), drawn.value[number].tolist()
        assert torch.equal(made[number], jittered(image, places, factors))


def test_hue_of_every_colour():
    levels = torch.arange(0, 256, 15)
    colours = torch.cartesian_prod(levels, levels, levels).T.reshape(1, 3, 54, 108).byte()
    for factor in (-0.5, -0.301, -0.1, 0.0, 0.07, 0.25, 0.5):
        expected = F.pil_to_tensor(F.adjust_hue(F.to_pil_image(colours[0]), factor))
        made = JITTER_OPERATIONS[HUE](colours, torch.tensor([factor], dtype=torch.float64))
        assert torch.equal(made[0], expected), factor


def test_draws():
    drawn = ColorJitter(0.4, 1.5, 0.0, 0.1).draw(5000, torch.Generator().manual_seed(0))
    orders = {tuple(order) for order in drawn.operation.tolist()}
    assert len(orders) == 6
    assert {*drawn.operation.flatten().tolist()} == {0, 1, HUE}
    for place, low, high in ((0, 0.6, 1.4), (1, 0, 2.5), (HUE, -0.1, 0.1)):
        values = drawn.value[drawn.operation == place]
        assert low <= values.min() < low + 0.01
        assert high - 0.01 < values.max() <= high


def test_one_number_is_that_of_timm():
    assert ColorJitter.of(0.4) == ColorJitter(0.4, 0.4, 0.4)
    assert ColorJitter.of([0.1, 0.2, 0.3, 0.4]) == ColorJitter(0.1, 0.2, 0.3, 0.4)
    assert ColorJitter.of(None) is ColorJitter.of(0) is ColorJitter.of([0, 0.0, 0]) is None


@pytest.mark.parametrize("value", [-1, "0.4", [0.1], [0.1, 0.1, 0.1, 0.6], [0, 0, -1], True])
def test_other_values(value):
    with pytest.raises(ValueError, match=r"dataset\.augment\.color_jitter must be null, a number"):
        ColorJitter.of(value)
