"""The handwritten digits that come with scikit-learn: 1,797 grey images of 8 x 8, 10 classes.

Half-size pictures of the UCI "Optical Recognition of Handwritten Digits" test set (Alpaydin and
Kaynak 1998). There is no test set, and nothing to download.
"""

import torch

from kdsweep.data.types import LabelledImages, SourceData

BRIGHTEST = 16


class Digits:
    """The values 0 to 16 are scaled to 0 to 255; images are (1, 8, 8)."""

    name = "digits"

    def load(self) -> SourceData:
        """All images as training images."""
        from sklearn.datasets import load_digits  # takes a second to import

        digits = load_digits()
        values = torch.from_numpy(digits.images)  # (N, 8, 8) float64
        images = (values * (255 / BRIGHTEST)).round().to(torch.uint8).unsqueeze(1)
        labels = torch.from_numpy(digits.target).long()
        return SourceData(
            LabelledImages(images, labels), None, tuple(map(str, digits.target_names))
        )

    def digest(self) -> str:
        """Constant, as the data is."""
        return "digits"
