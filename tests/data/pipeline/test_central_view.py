"""The view of evaluation against torchvision's resize and centre crop, and timm's transform."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from kdsweep.data.images.encoded import ImageFormat, decode_opened
from kdsweep.data.pipeline.central_view import CentralView


def pictures(height, width):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, 6, 6, generator=generator) * 255
    return F.resize(coarse, [height, width], antialias=True).byte()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("image", [(64, 64), (64, 85), (90, 70), (40, 40), (31, 77)])
def test_equals_torchvision(image, interpolation):
    images, mode = pictures(*image), InterpolationMode(interpolation)
    expected = F.center_crop(F.resize(images, [64], mode, antialias=True), [56])
    assert torch.equal(CentralView((56, 56), 0.875, interpolation)(images), expected)


def test_nothing_is_resized_where_it_fits():
    images = pictures(64, 80)
    assert torch.equal(CentralView((56, 56))(images), images[..., 4:60, 12:68])


def test_images_that_are_not_square():
    made = CentralView((28, 56), 0.875)(pictures(64, 64))
    expected = F.center_crop(F.resize(pictures(64, 64), [64, 64]), [28, 56])
    assert torch.equal(made, expected)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("photograph", "decoded"), [((300, 300), (64, 64)), ((300, 400), (64, 85))]
)
def test_decoded_photograph_equals_timm(photograph, decoded, interpolation):
    """Decoding with the shorter side of size / crop_pct, then the view."""
    create = pytest.importorskip("timm.data").create_transform
    image = Image.fromarray(pictures(*photograph)[0].permute(1, 2, 0).numpy())
    options = {"interpolation": interpolation, "crop_pct": 0.875, "mean": (0,) * 3, "std": (1,) * 3}
    expected = create((3, 56, 56), **options)(image) * 255
    pixels = decode_opened(
        image, ImageFormat(3, *decoded, crop=True, interpolation=interpolation)
    ).pixels
    made = CentralView((56, 56), 0.875, interpolation)(torch.from_numpy(np.array(pixels))[None])[0]
    # 300 x 400 is cropped by less than a pixel to have the proportions of 64 x 85.
    torch.testing.assert_close(
        made.float(), expected, rtol=0, atol=1e-3 if len({*decoded}) == 1 else 2
    )


@pytest.mark.parametrize("value", [0, 0.0001, 1.1, "0.9", None, float("nan")])
def test_crop_pct_out_of_range(value):
    with pytest.raises(ValueError, match=r"dataset\.crop_pct must be in \[0\.1, 1\], got"):
        CentralView((8, 8), value)


def test_unknown_interpolation():
    with pytest.raises(
        ValueError, match=r"dataset\.interpolation must be one of bilinear, bicubic"
    ):
        CentralView((8, 8), 1.0, "lanczos")
