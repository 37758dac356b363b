"""Images a second from a folder of JPEG files: kdsweep's stream, timm's loader, torchvision's.

Each loader yields shuffled batches of normalised float32 images, its shorter side resized to the
size and cropped around the centre, decoded by the same number of processes. Nothing is kept in
memory, nothing is augmented, and nothing consumes the batches. A round is one epoch of each.

    python benchmarks/image_loading.py --data FOLDER                # FOLDER/train/<class>/
    python benchmarks/image_loading.py --photographs FOLDER         # makes files of 500 x 375
    python benchmarks/image_loading.py --data FOLDER --size 128 --workers 4

Needs timm. The exit code is 3 if kdsweep is slower than the faster of the two others.
"""

import argparse
import random
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path

import timm.data
import torch
from PIL import Image
from speed.machine import describe_machine
from speed.rounds import Column, Samples, Spread, ratio, time_rounds
from speed.tables import table
from timm.data.constants import IMAGENET_DEFAULT_MEAN as MEAN
from timm.data.constants import IMAGENET_DEFAULT_STD as STD
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import datasets, transforms

from kdsweep.data.image_folder import ImageFolder
from kdsweep.data.pipeline.augment import Augment
from kdsweep.data.pipeline.stream import Stream

KDSWEEP, DRAFT, TIMM, TORCHVISION = "kdsweep", "kdsweep, draft", "timm", "torchvision"
MADE = 2000  # files
LINKS = 3  # names of each, for longer epochs: the processes of an epoch take time to start
CLASSES = 20
WIDTH, HEIGHT, QUALITY = 500, 375, 97
SLOWER = 3  # exit code


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print a table; returns the exit code."""
    options = _options(words)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made:
        root = options.data
        if root is None:
            root = Path(made)
            make_images(options.photographs, root / "train", MADE)
        samples = measure(root, options)
    machine = describe_machine("cpu", 1)
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    print(rows(samples, options))
    return 0 if against_better(samples, KDSWEEP).median >= 1 else SLOWER


def measure(root: Path, options: argparse.Namespace) -> Samples:
    """Seconds of an epoch of each loader in each round."""
    of_folder = datasets.ImageFolder(str(root / "train"))
    count = len(of_folder) // options.batch_size * options.batch_size  # all drop what is left over
    loaders: dict[str, Callable[[int], Iterable[Tensor]]] = {
        KDSWEEP: of_kdsweep(root, count, options, draft=False),
        DRAFT: of_kdsweep(root, count, options, draft=True),
        TIMM: of_timm(root, count, options),
        TORCHVISION: of_torchvision(of_folder, count, options),
    }

    def read(name: str) -> Callable[[int], None]:
        def epoch(number: int) -> None:
            shapes = [tuple(images.shape) for images in loaders[name](number)]
            expected = (options.batch_size, 3, options.size, options.size)
            assert shapes == [expected] * (count // options.batch_size), (name, shapes[:3])

        return epoch

    def show(number: int, seconds: float) -> None:
        print(f"round {number} of {options.rounds} took {seconds:.0f} s", flush=True)

    columns = {name: Column(read(name), scale=1 / count) for name in loaders}
    return time_rounds(columns, options.rounds, watch=show)


def of_kdsweep(
    root: Path, count: int, options: argparse.Namespace, *, draft: bool
) -> Callable[[int], Iterable[Tensor]]:
    """The stream of a run, of images that stay on disk."""
    source = ImageFolder(
        str(root),
        image_size=options.size,
        crop=True,
        memory_gib=1e-9,
        workers=options.workers,
        draft=draft,
    )
    train = source.load().train
    stream = Stream(
        train.subset(torch.arange(count)),
        batch_size=options.batch_size,
        seed=0,
        augment=Augment(),
        mean=MEAN,
        std=STD,
    )
    return lambda epoch: (batch.images for batch in stream.epoch(epoch))


def of_timm(
    root: Path, count: int, options: argparse.Namespace
) -> Callable[[int], Iterable[Tensor]]:
    """`create_loader` without augmentation."""
    images = timm.data.create_dataset("", root=str(root), split="train")
    chosen = Subset(images, range(count))
    loader = timm.data.create_loader(
        chosen,
        input_size=(3, options.size, options.size),
        batch_size=options.batch_size,
        is_training=True,
        no_aug=True,
        interpolation="bilinear",
        mean=MEAN,
        std=STD,
        num_workers=options.workers,
        device=torch.device("cpu"),
    )
    # It sets the transform of what it is given, which is a part of the data set here.
    images.transform = chosen.transform
    return lambda _: (batch for batch, _ in loader)


def of_torchvision(
    images: Dataset[Tensor], count: int, options: argparse.Namespace
) -> Callable[[int], Iterable[Tensor]]:
    """`ImageFolder` and `DataLoader`, as in PyTorch's example of ImageNet."""
    images.transform = transforms.Compose(
        [
            transforms.Resize(options.size),
            transforms.CenterCrop(options.size),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    loader = DataLoader(
        Subset(images, range(count)),
        batch_size=options.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=options.workers,
        persistent_workers=True,
    )
    return lambda _: (batch for batch, _ in loader)


def rows(samples: Samples, options: argparse.Namespace) -> str:
    """A line for each loader: images a second, and their ratio to the better of the two others."""
    head = ["loader", f"images/s at {options.size}", "over the better of timm and torchvision"]
    lines = []
    for name, seconds in samples.items():
        speed = Spread.of([1 / value for value in seconds])
        lines.append([name, str(speed), str(against_better(samples, name))])
    return table(head, lines)


def against_better(samples: Samples, name: str) -> Spread:
    """How many times as many images a second as the better of timm and torchvision."""
    better = [min(pair) for pair in zip(samples[TIMM], samples[TORCHVISION], strict=True)]
    return ratio(better, samples[name])


def make_images(photographs: Path, folder: Path, count: int) -> None:
    """Write JPEG files of 500 x 375: random crops of the photographs in a folder, enlarged."""
    draw = random.Random(0)
    for number, photograph in enumerate(islice(cycle(_images(photographs)), count)):
        share = draw.uniform(0.6, 1)
        width = share * min(photograph.width, photograph.height * WIDTH / HEIGHT)
        height = width * HEIGHT / WIDTH
        left = draw.uniform(0, photograph.width - width)
        top = draw.uniform(0, photograph.height - height)
        box = left, top, left + width, top + height
        image = photograph.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, box=box)
        place = folder / f"class{number % CLASSES:02}"
        place.mkdir(parents=True, exist_ok=True)
        image.save(place / f"{number}-0.jpg", quality=QUALITY)
        for link in range(1, LINKS):
            (place / f"{number}-{link}.jpg").hardlink_to(place / f"{number}-0.jpg")


def _images(folder: Path) -> list[Image.Image]:
    files: Iterator[Path] = (path for path in sorted(folder.rglob("*.jpg")))
    images = [Image.open(path).convert("RGB") for path in files]
    if not images:
        sys.exit(f"--photographs must be a folder with .jpg files, got {folder}")
    return images


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--data", type=Path, help="folder with train/<class>/")
    where.add_argument("--photographs", type=Path, help="folder of .jpg files to make them of")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
