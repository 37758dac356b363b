"""What the augmentation of photographs costs, relative to steps of networks: docs/augmentation.md.

    python benchmarks/augmentation.py FOLDER

FOLDER holds photographs, at any depth. They are decoded to 256 x 256 and augmented to 224 x 224, in
batches of 64, on one thread of the CPU; the last rows are torchvision's transforms of one image
after the other. A step of 16 images is forward, backward and update. Times are the best of five.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import to_pil_image

from kdsweep.data.pipeline.augment import Augment
from kdsweep.data.pipeline.auto_augment import AutoAugment, RandAugment, TrivialAugment
from kdsweep.data.pipeline.central_view import CentralView
from kdsweep.data.pipeline.color_jitter import ColorJitter
from kdsweep.data.pipeline.random_boxes import RandomErasing, RandomResizedCrop
from kdsweep.data.pipeline.stream import Stream
from kdsweep.data.pipeline.training_views import TrainingViews
from kdsweep.data.types import LabelledImages
from kdsweep.models.cnn import CNN
from kdsweep.training.memory import disable_malloc_trim

COUNT, BATCH, STEP, DECODED, SIZE, REPEATS = 128, 64, 16, 256, 224, 5
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
VIEW, CROP = CentralView((SIZE, SIZE)), RandomResizedCrop((SIZE, SIZE))
VIEWS = {
    "centre": TrainingViews(VIEW),
    "random resized crop": TrainingViews(VIEW, CROP),
    "with RandAugment": TrainingViews(VIEW, CROP, RandAugment()),
    "with TrivialAugment": TrainingViews(VIEW, CROP, TrivialAugment()),
    "with AutoAugment": TrainingViews(VIEW, CROP, AutoAugment()),
    "with colour jitter": TrainingViews(VIEW, CROP, jitter=ColorJitter.of(0.4)),
    "with colour jitter and hue": TrainingViews(
        VIEW, CROP, jitter=ColorJitter.of([0.4, 0.4, 0.4, 0.1])
    ),
    "photographs": TrainingViews(VIEW, CROP, TrivialAugment(), erasing=RandomErasing(0.1)),
}
TORCHVISION = (
    *(v2.RandomResizedCrop(SIZE), v2.RandomHorizontalFlip(), v2.TrivialAugmentWide()),
    *(v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)),
    v2.RandomErasing(0.1),
)


def photographs(folder: Path) -> Tensor:
    """The first photographs of a folder, uint8 (COUNT, 3, DECODED, DECODED)."""
    files = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in (".jpg", ".png")]
    images = (Image.open(path).convert("RGB") for path in files[:COUNT])
    pixels = [np.array(ImageOps.fit(image, (DECODED, DECODED))) for image in images]
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()


def seconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def augmented(images: Tensor) -> Iterator[tuple[str, float]]:
    data = LabelledImages(images, torch.zeros(len(images), dtype=torch.int64))
    options = {"batch_size": BATCH, "seed": 0, "mean": MEAN, "std": STD}
    for name, views in VIEWS.items():
        stream = Stream(data, augment=Augment(flip=True), views=views, **options)
        yield name, seconds(lambda stream=stream: list(stream.epoch(0))) / len(images)
    transform = v2.Compose(TORCHVISION)
    for name, given in {"tensors": list(images), "Pillow": [*map(to_pil_image, images)]}.items():
        one_by_one = seconds(lambda given=given: torch.stack([transform(one) for one in given]))
        yield f"photographs, torchvision, {name}", one_by_one / len(images)


def of_step(model: nn.Module) -> float:
    """Seconds of a step of a network, an image's."""
    images, labels = torch.randn(STEP, 3, SIZE, SIZE), torch.zeros(STEP, dtype=torch.int64)
    optimizer = torch.optim.SGD(model.train().parameters(), 0.01)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return seconds(step) / STEP


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    disable_malloc_trim()
    networks = {
        "cnn (width 8)": CNN((3, SIZE, SIZE), 2, width=8),
        "resnet18": resnet18(num_classes=2),
    }
    steps = {name: of_step(model) for name, model in networks.items()}
    print(f"| augmentation | {' | '.join(f'of a step of {name}' for name in steps)} |")
    print(f"|---|{'---|' * len(steps)}")
    for name, cost in augmented(photographs(folder)):
        print(f"| {name} | {' | '.join(f'{cost / step:.1%}' for step in steps.values())} |")


if __name__ == "__main__":
    main()
