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


def test_decoded_photograph_equals_timm():
    """Decoding to size / crop_pct with the proportions of the photograph, then the view."""
    create = pytest.importorskip("timm.data").create_transform
    photograph = Image.fromarray(pictures(300, 400)[0].permute(1, 2, 0).numpy())
    transform = create((3, 56, 56), interpolation="bilinear", crop_pct=0.875, mean=0, std=1)
    expected = transform(photograph) * 255
    decoded = decode_opened(photograph, ImageFormat(3, 64, 64, crop=True)).pixels
    made = CentralView((56, 56), 0.875)(torch.from_numpy(np.array(decoded))[None])[0]
    # A photograph of other proportions is cropped before it is resized, not after.
    assert (made - expected).abs().mean() < 1.5


@pytest.mark.parametrize("value", [0, 1.1, "0.9", None])
def test_crop_pct_out_of_range(value):
    with pytest.raises(ValueError, match=r"dataset\.crop_pct must be in \(0, 1\], got"):
        CentralView((8, 8), value)


def test_unknown_interpolation():
    with pytest.raises(
        ValueError, match=r"dataset\.interpolation must be one of bilinear, bicubic"
    ):
        CentralView((8, 8), 1.0, "lanczos")
