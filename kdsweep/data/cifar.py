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
        from torchvision import datasets  # takes two seconds to import

        archive = getattr(datasets, type(self).__name__)
        folder = Path(self.root).expanduser()
        archives = {archive.url: archive.tgz_md5}
        with explain_failed_download(archives, folder, self.root), warnings.catch_warnings():
            # NumPy 2.4.0 to 2.4.4 and tarfile warn of how these archives were written in 2009.
            warnings.simplefilter("ignore")
            train, test = (archive(folder, train=part, download=True) for part in (True, False))
        return SourceData(_labelled(train), _labelled(test), tuple(train.classes))

    def digest(self) -> str:
        """Constant: torchvision checks every file against its known checksum."""
        return self.name


class CIFAR100(CIFAR10):
    """100 classes; downloaded into ``root`` (161 MiB) when it is not there."""

    name = "cifar100"


def _labelled(archive: Any) -> LabelledImages:
    images = torch.from_numpy(archive.data).permute(0, 3, 1, 2).contiguous()
    return LabelledImages(images, torch.tensor(archive.targets, dtype=torch.int64))
