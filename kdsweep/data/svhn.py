"""SVHN, format 2 (Netzer et al. 2011): house numbers, 73,257 + 26,032 colour images of 32 x 32."""

from pathlib import Path
from typing import Any

import torch

from kdsweep.data.images.download import explain_failed_download
from kdsweep.data.types import LabelledImages, SourceData


class SVHN:
    """10 digits; downloaded into ``root`` (235 MiB) when it is not there.

    Without the 531,131 easier images of the set's part "extra".
    """

    name = "svhn"

    def __init__(self, root: str) -> None:
        self.root = root

    def load(self) -> SourceData:
        """Read the files. ``ValueError`` if they are neither there nor can be downloaded."""
        from torchvision import datasets  # takes two seconds to import

        folder = Path(self.root).expanduser()
        parts = ("train", "test")
        with explain_failed_download(
            [datasets.SVHN.split_list[part][0] for part in parts], folder, self.root
        ):
            train, test = (datasets.SVHN(folder, split=part, download=True) for part in parts)
        return SourceData(_labelled(train), _labelled(test), tuple("0123456789"))

    def digest(self) -> str:
        """Constant: torchvision checks every file against its known checksum."""
        return "svhn"


def _labelled(archive: Any) -> LabelledImages:
    images = torch.from_numpy(archive.data).contiguous()  # torchvision gives (N, 3, 32, 32)
    return LabelledImages(images, torch.from_numpy(archive.labels))
