"""What a source of a user's has loaded, before it is split."""

import re

import pytest
import torch

from kdsweep.data.pipeline.source_checks import check_source_data, require_same_kind
from kdsweep.data.types import LabelledImages, SourceData


def part(count: int = 4, size: int = 6, kind: torch.dtype = torch.uint8) -> LabelledImages:
    return LabelledImages(torch.zeros(count, 1, size, size, dtype=kind), torch.arange(count) % 2)


def data(train: object, test: LabelledImages | None = None) -> SourceData:
    return SourceData(train, test, ("a", "b"))  # type: ignore[arg-type]


def test_what_the_pipeline_reads_passes() -> None:
    check_source_data(data(part(), part(2)))


@pytest.mark.parametrize(
    ("loaded", "message"),
    [
        ((1, 2), "dataset.source must load SourceData, got tuple"),
        (
            data(part(kind=torch.float32)),
            "train of dataset.source must have images as uint8 (N, channels, H, W), got float32"
            " (4, 1, 6, 6)",
        ),
        (
            data(LabelledImages(part().images[:, 0], part().labels)),
            "train of dataset.source must have images as uint8 (N, channels, H, W), got uint8"
            " (4, 6, 6)",
        ),
        (
            data(part(), LabelledImages(part().images, part(3).labels)),
            "test of dataset.source must have one label an image, int64 (4,), got int64 (3,)",
        ),
        (
            data(LabelledImages(part().images, part().labels.int())),
            "train of dataset.source must have one label an image, int64 (4,), got int32 (4,)",
        ),
        (
            data(LabelledImages(part().images, part().labels + 1)),
            "train of dataset.source must have labels from 0 to 1, one a class name, got 1 to 2",
        ),
        (
            data(part(), part(size=5)),
            "dataset.source must load images of one shape, got (1, 5, 5) and (1, 6, 6)",
        ),
    ],
)
def test_anything_else_is_refused(loaded: SourceData, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_source_data(loaded)


def test_an_augmentation_keeps_type_and_shape() -> None:
    images = part().images
    require_same_kind(images, images.clone())
    for found, got in [(images.float(), "float32 (4, 1, 6, 6)"), (images[:1], "uint8"), (3, "int")]:
        with pytest.raises(ValueError, match=re.escape(f"uint8 (4, 1, 6, 6), got {got}")):
            require_same_kind(images, found)
