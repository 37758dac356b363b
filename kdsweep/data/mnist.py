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

# Raised by torchvision for a damaged file.
DAMAGED = (AssertionError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


class MNIST:
    """Images are (1, 28, 28); downloaded into ``root`` (11 MiB) when they are not there."""

    name = "mnist"

    def __init__(self, root: str) -> None:
        self.root = root

    def load(self) -> SourceData:
        """Read the files. ``ValueError`` if they are neither there nor can be downloaded."""
        from torchvision import datasets  # takes two seconds to import

        kind = type(self).__name__
        archive: Any = getattr(datasets, kind)
        folder = Path(self.root).expanduser()
        files = folder / kind / "raw"
        if not all((files / Path(name).stem).is_file() for name, _ in archive.resources):
            published = {archive.mirrors[0] + name: md5 for name, md5 in archive.resources}
            with explain_failed_download(published, files, self.root):
                archive(folder, download=True)
        try:
            train, test = (_labelled(archive(folder, train=part)) for part in (True, False))
        except DAMAGED as error:
            raise ValueError(
                f"dataset.root must hold whole files of {kind}, got a damaged one in "
                f"{files.absolute()}: remove them, and they are unpacked or downloaded again"
            ) from error
        # "0 - zero" of MNIST becomes "0"
        return SourceData(train, test, tuple(c.partition(" - ")[0] for c in archive.classes))

    def digest(self) -> str:
        """sha256 over pixels and labels: torchvision checks only what it downloads itself."""
        data, digest = self.load(), hashlib.sha256()
        for part in (data.train, data.test):
            assert part is not None
            assert isinstance(part.images, Tensor)
            digest.update(part.images.numpy().data)
            digest.update(part.labels.numpy().data)
        return digest.hexdigest()


class FashionMNIST(MNIST):
    """Images are (1, 28, 28); downloaded into ``root`` (29 MiB) when they are not there."""

    name = "fashion_mnist"


def _labelled(archive: Any) -> LabelledImages:
    images, labels = archive.data, archive.targets
    if len(images) != len(labels):
        raise ValueError("not as many labels as images")
    return LabelledImages(images.unsqueeze(1), labels)
