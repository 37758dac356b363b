"""Random resized crop and random erasing against torchvision."""

import pytest
import torch
from photographs import pictures
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from kdsweep.data.pipeline.random_boxes import RandomErasing, RandomResizedCrop

IMAGE = (40, 52)


def drawn(made, n, image=IMAGE):
    return made.draw(n, image, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_crops_equal_torchvision_with_the_same_boxes(interpolation):
    images, crop = pictures(20), RandomResizedCrop((24, 30), interpolation=interpolation)
    boxes = drawn(crop, 20)
    mode = v2.InterpolationMode(interpolation)
    for image, box, made in zip(images, boxes.tolist(), crop.apply(images, boxes), strict=True):
        assert torch.equal(made, F.resized_crop(image, *box, [24, 30], mode, antialias=True))


def test_crops_are_those_of_pillow_but_for_rounding():
    """torchvision's other backend, which its recipes use."""
    images, crop = pictures(20), RandomResizedCrop((24, 30))
    boxes = drawn(crop, 20)
    for image, box, made in zip(images, boxes.tolist(), crop.apply(images, boxes), strict=True):
        by_pillow = F.pil_to_tensor(F.resized_crop(F.to_pil_image(image), *box, [24, 30]))
        assert (made.int() - by_pillow.int()).abs().max() <= 1


def test_boxes_are_in_the_image_and_in_range():
    top, left, height, width = drawn(RandomResizedCrop((24, 24)), 20_000).double().T
    assert top.min() == left.min() == 0
    assert (top + height).max() == IMAGE[0]
    assert (left + width).max() == IMAGE[1]
    area, ratio = height * width / (IMAGE[0] * IMAGE[1]), width / height
    assert 0.07 < area.min() < 0.09
    assert area.max() == 1
    assert 0.7 < ratio.min() < 0.78
    assert 1.3 < ratio.max() < 1.42


def test_boxes_are_distributed_as_those_of_torchvision():
    ours = drawn(RandomResizedCrop((24, 24)), 20_000).double()
    theirs = v2.RandomResizedCrop(24)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = [theirs.make_params([torch.empty(3, *IMAGE)]) for _ in range(4000)]
    expected = torch.tensor(
        [[p["top"], p["left"], p["height"], p["width"]] for p in found]
    ).double()
    torch.testing.assert_close(ours.mean(0), expected.mean(0), rtol=0.03, atol=0.3)
    torch.testing.assert_close(ours.std(0), expected.std(0), rtol=0.03, atol=0.3)


def test_a_box_that_never_fits_is_the_central_one_of_torchvision():
    options = {"scale": (1.0, 1.0), "ratio": (3.0, 4.0)}
    boxes = drawn(RandomResizedCrop((24, 24), **options), 3)
    expected = v2.RandomResizedCrop(24, **options).make_params([torch.empty(3, *IMAGE)])
    assert boxes.tolist() == [[expected[k] for k in ("top", "left", "height", "width")]] * 3


def test_erased_equals_torchvision_with_the_same_boxes():
    images, erasing = pictures(30), RandomErasing(0.5)
    boxes, colour = drawn(erasing, 30), torch.tensor([120, 7, 255]).byte().view(3, 1, 1)
    made = erasing.apply(images, boxes, colour)
    assert 5 < (boxes[:, 2] > 0).sum() < 25
    for image, box, one in zip(images, boxes.tolist(), made, strict=True):
        assert torch.equal(one, F.erase(image, *box, colour))


@pytest.mark.ci
def test_erased_boxes_are_distributed_as_those_of_torchvision():
    ours = drawn(RandomErasing(1.0), 20_000).double()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = [v2.RandomErasing(1.0).make_params([torch.empty(3, *IMAGE)]) for _ in range(4000)]
    expected = torch.tensor(
        [[p[k] for k in ("i", "j", "h", "w")] for p in made if p["v"] is not None]
    )
    expected = expected.double()
    ours = ours[ours[:, 2] > 0]
    torch.testing.assert_close(ours.mean(0), expected.mean(0), rtol=0.03, atol=0.3)
    torch.testing.assert_close(ours.std(0), expected.std(0), rtol=0.03, atol=0.3)


def test_part_of_the_images_is_erased():
    assert not drawn(RandomErasing(0.0), 100).any()
    assert (drawn(RandomErasing(0.25), 10_000)[:, 2] > 0).double().mean() == pytest.approx(
        0.25, abs=0.02
    )


@pytest.mark.parametrize("value", [(0.5, 0.1), (0, 1), (0.1, 1.1), 0.5, "ab", None, (0.1,)])
def test_scale_out_of_range(value):
    with pytest.raises(ValueError, match=r"dataset\.augment\.scale must be two ascending numbers"):
        RandomResizedCrop((8, 8), scale=value)


@pytest.mark.parametrize("value", [(2, 1), (0, 1), (1, float("inf"))])
def test_ratio_out_of_range(value):
    with pytest.raises(ValueError, match=r"dataset\.augment\.ratio must be two ascending numbers"):
        RandomResizedCrop((8, 8), ratio=value)


@pytest.mark.parametrize("value", [-0.1, 1.1, "0.1", None])
def test_share_out_of_range(value):
    with pytest.raises(ValueError, match=r"dataset\.augment\.random_erasing must be a number in"):
        RandomErasing(value)


@pytest.mark.parametrize("ratio", [(0.001, 0.002), (500, 1000)])
def test_a_box_has_at_least_one_pixel_a_side(ratio):
    crop, images = RandomResizedCrop((8, 8), ratio=ratio), pictures(20)
    boxes = drawn(crop, 20)
    assert boxes[:, 2:].min() >= 1
    assert crop.apply(images, boxes).shape == (20, 3, 8, 8)
