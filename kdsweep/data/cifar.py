"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 50,000 + 10,000 colour images of 32 x 32."""

import warnings
from pathlib import Path
from typing import Any

import torch

from kdsweep.data.images.download import explain_failed_download
from kdsweep.data.types import LabelledImages, SourceData


class CIFAR10:
    """10 classes; downloaded into ``root`` (162 MiB) when it is not there."""

    name = "cifar10"

    def __init__(self, root: str) -> None:
        self.root = root

    def load(self) -> SourceData:
        """Read the archive. ``ValueError`` if it is neither there nor can be downloaded."""
        return _load("CIFAR10", self.root)

    def digest(self) -> str:
        """Constant: torchvision checks every file against its known checksum."""
        return "cifar10"


class CIFAR100:
    """100 classes; downloaded into ``root`` (161 MiB) when it is not there."""

    name = "cifar100"

    def __init__(self, root: str) -> None:
        self.root = root

    def load(self) -> SourceData:
        """Read the archive. ``ValueError`` if it is neither there nor can be downloaded."""
        return _load("CIFAR100", self.root)

    def digest(self) -> str:
        """Constant: torchvision checks every file against its known checksum."""
        return "cifar100"


def _load(class_name: str, root: str) -> SourceData:
    from torchvision import datasets  # takes two seconds to import

    archive = getattr(datasets, class_name)
    folder = Path(root).expanduser()
    with explain_failed_download([archive.url], folder, root), warnings.catch_warnings():
        # NumPy 2.4.0 to 2.4.4 and tarfile warn of how these archives were written in 2009.
        warnings.simplefilter("ignore")
        train, test = (archive(folder, train=part, download=True) for part in (True, False))
    return SourceData(_labelled(train), _labelled(test), tuple(train.classes))


def _labelled(archive: Any) -> LabelledImages:
    images = torch.from_numpy(archive.data).permute(0, 3, 1, 2).contiguous()
    return LabelledImages(images, torch.tensor(archive.targets, dtype=torch.int64))
