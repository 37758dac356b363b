"""MNIST and Fashion-MNIST: 60,000 + 10,000 grey images of 28 x 28, 10 classes.

- MNIST: handwritten digits, LeCun et al. 1998.
- Fashion-MNIST: clothes, Xiao et al. 2017, arXiv 1708.07747.
"""

import hashlib
from pathlib import Path
from typing import Any

from torch import Tensor

from kdsweep.data.images.download import explain_failed_download
from kdsweep.data.types import LabelledImages, SourceData

# What torchvision raises for a file that is not as it should be.
DAMAGED = (AssertionError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


class MNIST:
    """Images are (1, 28, 28); downloaded into ``root`` (11 MiB) when they are not there."""

    name = "mnist"

    def __init__(self, root: str) -> None:
        self.root = root

    def load(self) -> SourceData:
        """Read the files. ``ValueError`` if they are neither there nor can be downloaded."""
        return _load("MNIST", self.root)._replace(class_names=tuple("0123456789"))

    def digest(self) -> str:
        """sha256 over pixels and labels: torchvision checks only what it downloads itself."""
        return _digest(self.load())


class FashionMNIST:
    """Images are (1, 28, 28); downloaded into ``root`` (29 MiB) when they are not there."""

    name = "fashion_mnist"

    def __init__(self, root: str) -> None:
        self.root = root

    def load(self) -> SourceData:
        """Read the files. ``ValueError`` if they are neither there nor can be downloaded."""
        return _load("FashionMNIST", self.root)

    def digest(self) -> str:
        """sha256 over pixels and labels: torchvision checks only what it downloads itself."""
        return _digest(self.load())


def _load(class_name: str, root: str) -> SourceData:
    from torchvision import datasets  # takes two seconds to import

    archive: Any = getattr(datasets, class_name)
    folder = Path(root).expanduser()
    files = folder / class_name / "raw"
    if not all((files / Path(name).stem).is_file() for name, _ in archive.resources):
        with explain_failed_download(
            [archive.mirrors[0] + name for name, _ in archive.resources], files, root
        ):
            archive(folder, download=True)
    try:
        train, test = (_labelled(archive(folder, train=part)) for part in (True, False))
    except DAMAGED as error:
        raise ValueError(
            f"dataset.root must hold whole files of {class_name}, got a damaged one in "
            f"{files.absolute()}: remove them, and they are unpacked or downloaded again"
        ) from error
    return SourceData(train, test, tuple(archive.classes))


def _labelled(archive: Any) -> LabelledImages:
    images, labels = archive.data, archive.targets
    if len(images) != len(labels):
        raise ValueError("not as many labels as images")
    return LabelledImages(images.unsqueeze(1), labels)


def _digest(raw: SourceData) -> str:
    digest = hashlib.sha256()
    for part in (raw.train, raw.test):
        assert part is not None
        assert isinstance(part.images, Tensor)
        digest.update(part.images.numpy().data)
        digest.update(part.labels.numpy().data)
    return digest.hexdigest()
