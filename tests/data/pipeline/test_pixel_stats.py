import numpy as np
import pytest
import torch

from kdsweep.data.pipeline.pixel_stats import pixel_statistics


def test_statistics_are_those_of_numpy_per_channel():
    images = torch.randint(0, 200, (1500, 3, 5, 4), dtype=torch.uint8)
    images[:, 1] //= 2
    mean, std = pixel_statistics(images)
    pixels = images.numpy().astype(np.float64) / 255
    assert mean == pytest.approx(pixels.mean(axis=(0, 2, 3)), rel=1e-12)
    assert std == pytest.approx(pixels.std(axis=(0, 2, 3)), rel=1e-12)


def test_statistics_do_not_depend_on_the_order_of_the_images():
    images = torch.randint(0, 256, (3000, 1, 2, 2), dtype=torch.uint8)
    assert pixel_statistics(images) == pixel_statistics(images.flip(0))
