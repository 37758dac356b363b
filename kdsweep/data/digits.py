"""The handwritten digits that come with scikit-learn: 1,797 grey images of 8 x 8, 10 classes.

Half-size pictures of the UCI "Optical Recognition of Handwritten Digits" test set (Alpaydin and
Kaynak 1998). There is no test set, and nothing to download.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from kdsweep.data.types import LabelledImages, SourceData

BRIGHTEST = 16


class Digits:
    """The values 0 to 16 are scaled to 0 to 255; images are (1, 8, 8)."""

    name = "digits"
    class_names = tuple("0123456789")

    def load(self) -> SourceData:
        """All images as training images."""
        table = np.loadtxt(_file(), delimiter=",")  # (N, 65): the pixels of an image, its label
        values = torch.from_numpy(table[:, :-1].reshape(-1, 8, 8))
        images = (values * (255 / BRIGHTEST)).round().to(torch.uint8).unsqueeze(1)
        labels = torch.from_numpy(table[:, -1]).long()
        return SourceData(LabelledImages(images, labels), None, self.class_names)

    def digest(self) -> str:
        """Constant, as the data is."""
        return "digits"


def _file() -> Path:
    """The file that `sklearn.datasets.load_digits` reads; importing that takes a second."""
    package = find_spec("sklearn")  # imports nothing
    if package is None or package.origin is None:
        raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
