"""Each operation against Pillow, image by image."""

import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from kdsweep.data.pipeline import image_operations as operations
from kdsweep.data.pipeline.image_operations import OPERATIONS, cut_out


def moved(image, *matrix):
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


PILLOW = {
    "identity": lambda image, v: image,
    "autocontrast": lambda image, v: ImageOps.autocontrast(image),
    "equalize": lambda image, v: ImageOps.equalize(image),
    "posterize": lambda image, v: ImageOps.posterize(image, max(1, int(v))),
    "solarize": lambda image, v: ImageOps.solarize(image, v),
    "brightness": lambda image, v: ImageEnhance.Brightness(image).enhance(v),
    "color": lambda image, v: ImageEnhance.Color(image).enhance(v),
    "contrast": lambda image, v: ImageEnhance.Contrast(image).enhance(v),
    "sharpness": lambda image, v: ImageEnhance.Sharpness(image).enhance(v),
    "rotate": lambda image, v: image.rotate(v),
    "shear_x": lambda image, v: moved(image, 1, v, 0, 0, 1, 0),
    "shear_y": lambda image, v: moved(image, 1, 0, 0, v, 1, 0),
    "translate_x": lambda image, v: moved(image, 1, 0, v * image.width, 0, 1, 0),
    "translate_y": lambda image, v: moved(image, 1, 0, 0, 0, 1, v * image.height),
}


def pictures(channels, height=11, width=9):
    """Noise, smooth and dark images, one of a single colour, one of two colours."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (6, channels, height, width), generator=generator)
    noise[2] = noise[2] // 8 + 40
    noise[3] = 77
    noise[4] = torch.where(noise[4] > 100, 250, 3)
    noise[5] = torch.arange(width) * 20 + torch.arange(height)[:, None]
    return noise.to(torch.uint8)


def test_the_ranges_are_those_of_the_authors():
    """Jin-Ying/Multi-Level-Logit-Distillation, mdistiller/dataset/cifar100.py."""
    ranges = {operation.__name__: (low, high) for operation, low, high in OPERATIONS}
    assert ranges.keys() == PILLOW.keys()
    blends = ("brightness", "color", "contrast", "sharpness")
    shifts = ("shear_x", "shear_y", "translate_x", "translate_y")
    assert {ranges[name] for name in blends} == {(0.05, 0.95)}
    assert {ranges[name] for name in shifts} == {(-0.3, 0.3)}
    assert (ranges["posterize"], ranges["rotate"]) == ((4, 8), (-30, 30))
    assert ranges["solarize"] == (0, 256)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(11, 9), (2, 2), (32, 32)])
@pytest.mark.parametrize("name", PILLOW)
def test_the_pixels_are_those_of_pillow(name, size, channels):
    operation, low, high = next(o for o in OPERATIONS if o[0].__name__ == name)
    images = pictures(channels, *size)
    values = torch.linspace(low, high, len(images), dtype=torch.float64) * 0.99
    made = operation(images, values)
    for image, value, found in zip(images, values.tolist(), made, strict=True):
        expected = pil_to_tensor(PILLOW[name](to_pil_image(image), value))
        assert torch.equal(found, expected), value
    assert made.dtype == torch.uint8


def test_images_of_two_channels_have_a_mean_for_luminance():
    grey = operations.luminance(torch.tensor([10, 21], dtype=torch.uint8).view(1, 2, 1, 1))
    assert grey.item() == 16


@pytest.mark.parametrize("channels", [1, 3])
def test_a_cutout_is_the_rectangle_of_pillow(channels):
    images = pictures(channels, 12, 12)
    size = torch.tensor([0.0, 0.3, 1.0, 3.7, 6.0, 5.5], dtype=torch.float64)
    column = torch.tensor([5.0, 1.0, 12.0, 11.9, 6.5, 1.2], dtype=torch.float64)
    row = column.flip(0)
    for number, found in enumerate(cut_out(images, size, column, row)):
        expected = to_pil_image(images[number])
        v = size[number].item()
        x, y = (int(max(0, at[number].item() - v / 2)) for at in (column, row))
        box = (x, y, min(12, x + v), min(12, y + v))
        if v > 0:
            ImageDraw.Draw(expected).rectangle(box, (125, 123, 114) if channels == 3 else 123)
        assert torch.equal(found, pil_to_tensor(expected)), number
