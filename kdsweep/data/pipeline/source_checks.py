"""Whether what a source or an augmentation of the user's returns is what the pipeline reads."""

import torch
from torch import Tensor

from kdsweep.data.types import LabelledImages, SourceData


def check_source_data(data: SourceData) -> None:
    """Raises ValueError, naming `dataset.source`, for other types, shapes or class numbers."""
    if not isinstance(data, SourceData):
        raise ValueError(f"dataset.source must load SourceData, got {type(data).__name__}")
    parts = {"train": data.train, "val": data.val, "test": data.test}
    shapes = set()
    for name, part in parts.items():
        if part is not None:
            _check_part(part, f"{name} of dataset.source", len(data.class_names))
            shapes.add(tuple(part.images.shape[1:]))
    if len(shapes) > 1:
        listed = " and ".join(map(str, sorted(shapes)))
        raise ValueError(f"dataset.source must load images of one shape, got {listed}")


def require_same_kind(images: Tensor, augmented: object) -> None:
    """Raises ValueError unless an augmentation has kept the type and the shape of images."""
    expected = f"{_kind(images)} {tuple(images.shape)}"
    if isinstance(augmented, Tensor):
        got = f"{_kind(augmented)} {tuple(augmented.shape)}"
    else:
        got = type(augmented).__name__
    if got != expected:
        raise ValueError(f"must be an augmentation that returns images as {expected}, got {got}")


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _check_part(part: LabelledImages, name: str, num_classes: int) -> None:
    images, labels = part
    is_of_bytes = not isinstance(images, Tensor) or images.dtype == torch.uint8
    if not is_of_bytes or len(images.shape) != 4:
        kind = _kind(images) if isinstance(images, Tensor) else "images"
        raise ValueError(
            f"{name} must have images as uint8 (N, channels, H, W), got {kind}"
            f" {tuple(images.shape)}"
        )
    if labels.dtype != torch.int64 or labels.shape != (len(images),):
        raise ValueError(
            f"{name} must have one label an image, int64 ({len(images)},), got {_kind(labels)}"
            f" {tuple(labels.shape)}"
        )
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(
            f"{name} must have labels from 0 to {num_classes - 1}, one a class name, got"
            f" {int(labels.min())} to {int(labels.max())}"
        )
