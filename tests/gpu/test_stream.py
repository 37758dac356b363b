"""The stream on the device."""

import numpy as np
import pytest
import torch
from device_training import MEAN, STD
from PIL import Image

from kdsweep.data.image_folder import ImageFolder
from kdsweep.data.pipeline.augment import Augment
from kdsweep.data.pipeline.mixup import BatchMixer
from kdsweep.data.pipeline.stream import Stream
from kdsweep.data.pipeline.strong_view import StrongView
from kdsweep.data.types import LabelledImages


@pytest.mark.parametrize("workers", [0, 2])
def test_images_on_disk_equal_those_in_memory(device, tmp_path, workers) -> None:
    generator = np.random.default_rng(0)
    for number in range(8):
        folder = tmp_path / "train" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (9, 7, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg")
    options = {"batch_size": 3, "seed": 0, "augment": Augment(2, flip=True)}
    options |= {"mean": MEAN, "std": STD, "device": device}
    epochs = []
    for gib in (1, 1e-9):
        train = ImageFolder(str(tmp_path), memory_gib=gib, workers=workers).load().train
        epochs.append([batch.images for batch in Stream(train, **options).epoch(0)])
    for in_memory, on_disk in zip(*epochs, strict=True):
        assert on_disk.device.type == device
        assert torch.equal(on_disk, in_memory)


def test_an_epoch_equals_that_of_the_cpu_and_never_waits(device, not_waiting) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (500, 3, 6, 5), dtype=torch.uint8, generator=generator)
    data, augment = LabelledImages(images, torch.arange(500) % 7), Augment(2, flip=True)
    options = {"batch_size": 64, "seed": 0, "augment": augment, "mean": MEAN, "std": STD}
    options["strong"] = StrongView(augment, 2)
    options["mix"] = BatchMixer(mixup=1.0, cutmix=1.0)
    on_cpu = list(Stream(data, **options).epoch(0))
    on_device = Stream(data, **options, device=device)
    with not_waiting():
        batches = list(on_device.epoch(0))
    for batch, expected in zip(batches, on_cpu, strict=True):
        assert batch.images.device.type == device
        assert torch.equal(batch.index.cpu(), expected.index)
        assert torch.equal(batch.mixed.labels.cpu(), expected.mixed.labels)
        assert batch.mixed.lam == expected.mixed.lam
        torch.testing.assert_close(batch.images.cpu(), expected.images)
        torch.testing.assert_close(batch.strong.cpu(), expected.strong)
