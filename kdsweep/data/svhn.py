"""SVHN, format 2 (Netzer et al. 2011): house numbers, 73,257 + 26,032 colour images of 32 x 32."""

from pathlib import Path

import torch

from kdsweep.data.images.download import explain_failed_download
from kdsweep.data.types import LabelledImages, SourceData


class SVHN:
    """10 digits; downloaded into ``root`` (235 MiB) when it is not there.

    Without the 531,131 easier images of the set's part "extra".
    """

    name = "svhn"
    class_names = tuple("0123456789")

    def __init__(self, root: str) -> None:
        self.root = root

    def load(self) -> SourceData:
        """Read the files. ``ValueError`` if they are neither there nor can be downloaded."""
        from torchvision import datasets  # takes two seconds to import

        folder = Path(self.root).expanduser()
        parts = ("train", "test")
        published = {url: md5 for url, _, md5 in (datasets.SVHN.split_list[p] for p in parts)}
        with explain_failed_download(published, folder, self.root):
            archives = [datasets.SVHN(folder, split=part, download=True) for part in parts]
        train, test = (
            LabelledImages(torch.from_numpy(a.data).contiguous(), torch.from_numpy(a.labels))
            for a in archives
        )
        return SourceData(train, test, self.class_names)

    def digest(self) -> str:
        """Constant: torchvision checks every file against its known checksum."""
        return "svhn"
