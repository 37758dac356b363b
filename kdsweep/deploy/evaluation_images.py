"""The images on which a classifier and the files made of it are compared.

They are those of the run's data set, split as in training, of a folder, or random pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from kdsweep.builders.data import build_dataset, build_source
from kdsweep.common.disk_cache import DiskCache
from kdsweep.common.text import counted
from kdsweep.data.pipeline.central_view import CentralView
from kdsweep.data.pipeline.split import Dataset
from kdsweep.data.types import Images, LabelledImages, in_order
from kdsweep.deploy.classifier import Classifier, read_pixels
from kdsweep.deploy.image_paths import ClassFolders, images_below
from kdsweep.deploy.images import ImageError
from kdsweep.deploy.of_run import recorded_config
from kdsweep.deploy.preprocessing import Preprocessing
from kdsweep.deploy.source_run import NO_RUN, run_folder
from kdsweep.errors import UserError

BATCH = 256  # images in a forward pass
RANDOM = 256  # images of random pixels
SplitName = Literal["train", "val", "test"]


@dataclass(frozen=True, eq=False)
class EvaluationImages:
    """N images of the size that a network takes.

    Attributes:
        name: a description, such as `the 300 validation images of digits`.
        split: of the run's data set; None for other images.
        images: uint8 (N, channels, H, W), as they are decoded.
        labels: (N,) int64; None if they are not known.
        view: of each image, which the network is given; None: the whole image.
    """

    name: str
    split: SplitName | None
    images: Images
    labels: Tensor | None = None
    view: CentralView | None = None

    def __len__(self) -> int:
        """N."""
        return len(self.images)

    def batches(self, size: int = BATCH) -> Iterator[Tensor]:
        """The pixels, first to last, uint8 (B, channels, H, W)."""
        batches = in_order(self.images, size)
        return batches if self.view is None else map(self.view, batches)

    def evenly_spaced(self, count: int) -> "EvaluationImages":
        """At most ``count`` of them, from all parts: they may be in the order of classes."""
        if count >= len(self):
            return self
        index = torch.linspace(0, len(self) - 1, count).long()
        images = self.images
        chosen = images[index] if isinstance(images, Tensor) else images.subset(index)
        labels = None if self.labels is None else self.labels[index]
        name = f"{count:,} of {self.name}"
        return EvaluationImages(name, self.split, chosen, labels, self.view)


def dataset_of_run(classifier: Classifier, folder: Path) -> Dataset:
    """The data set of the run in a folder, split as it was.

    Raises UserError if it is not there, or its classes or its preprocessing have changed.
    """
    config = recorded_config(folder)
    cache = DiskCache(Path(config.cache.folder), config.cache.gib)
    dataset = build_dataset(config.dataset, "cpu", build_source(config.dataset, cache))
    preprocessing = Preprocessing.of(dataset, config.student.image_size)
    current = (list(dataset.class_names), preprocessing)
    if current != (classifier.classes, classifier.preprocessing):
        raise UserError(
            f"dataset must be as SOURCE was trained on, got {dataset.name}, whose classes, mean or"
            " std have changed since"
        )
    return dataset


def images_of_dataset(dataset: Dataset, split: SplitName) -> EvaluationImages | None:
    """A split of a data set; None for validation images if none were held out."""
    parts: dict[SplitName, LabelledImages | None] = {
        "train": dataset.train,
        "val": dataset.val,
        "test": dataset.test,
    }
    part = parts[split]
    if part is None:
        return None
    names = {"train": "training", "val": "validation", "test": "test"}
    name = f"the {len(part.labels):,} {names[split]} images of {dataset.name}"
    return EvaluationImages(name, split, part.images, part.labels, dataset.view)


def images_of_folder(folder: Path, classifier: Classifier) -> EvaluationImages:
    """All images below a folder; labelled if each is in a folder with the name of a class.

    Raises UserError if there is none, or one cannot be read.
    """
    files = list(images_below(folder))
    if not files:
        raise UserError(f"--images must be a folder with images, got {folder}, which has none")
    pixels: list[Tensor] = []
    for one in read_pixels(classifier.preprocessing, files):
        if isinstance(one, ImageError):
            raise UserError(f"--images must be a folder of readable images, got {one}")
        pixels.append(one)
    folders = ClassFolders(classifier.classes)
    names = [folders.label_of(file) for file in files]
    known = [classifier.classes.index(name) for name in names if name is not None]
    labels = torch.tensor(known) if len(known) == len(files) else None
    return EvaluationImages(
        f"{counted(len(files), 'image')} in {folder}", None, torch.stack(pixels), labels
    )


def random_images(classifier: Classifier, count: int = RANDOM) -> EvaluationImages:
    """Random pixels, the same in every call."""
    generator = torch.Generator().manual_seed(0)
    shape = (count, *classifier.preprocessing.pixel_shape)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return EvaluationImages(f"{count} images of random pixels", None, pixels)


def images_to_compare(
    classifier: Classifier, folder: Path | None = None, split: SplitName = "val"
) -> tuple[EvaluationImages, str | None]:
    """The images to compare on, and why they are not those of the run's data set, if they are not.

    Args:
        folder: of images to use instead of those of the run.
        split: of the run's data set; training images if it has no validation images.
    """
    if folder is not None:
        return images_of_folder(folder, classifier), None
    run = run_folder(classifier)
    if run is None:
        return random_images(classifier), NO_RUN
    try:
        dataset = dataset_of_run(classifier, run)
    except UserError as error:
        return random_images(classifier), str(error)
    images = images_of_dataset(dataset, split) or images_of_dataset(dataset, "train")
    assert images is not None, "every data set has training images"
    return images, None
