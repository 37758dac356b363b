"""Bringing features of different shapes to one shape before they are compared."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Shape = Sequence[int]


def check_maps(feature: Shape, target: Shape) -> None:
    """Raises ValueError unless both are maps (B, channels, H, W)."""
    check_dimensions(feature, target, {4}, "maps (B, channels, H, W)")


def check_equal_channels(
    feature: Shape, target: Shape, rule: str = "maps must have equal channels"
) -> None:
    """Raises ValueError, with the ``rule`` in words, unless both are maps of as many channels."""
    check_maps(feature, target)
    if feature[1] != target[1]:
        raise ValueError(f"{rule}, got {both_shapes(feature, target)}")


def check_dimensions(feature: Shape, target: Shape, allowed: set[int], names: str) -> None:
    """Raises ValueError unless both have a number of dimensions that is ``allowed``."""
    if not {len(feature), len(target)} <= allowed:
        raise ValueError(f"features must be {names}, got {both_shapes(feature, target)}")


def to_same_size(maps: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Both maps at the smaller size of the two; the larger one is average-pooled."""
    height, width = (min(sizes) for sizes in zip(maps.shape[2:], others.shape[2:], strict=True))
    return downsample(maps, height, width), downsample(others, height, width)


def downsample(maps: Tensor, height: int, width: int) -> Tensor:
    """Average pooling to ``height`` x ``width``: PyTorch's adaptive pooling, (B, C, H, W).

    The backward pass of that is not deterministic on CUDA. Plain pooling is, where the size is a
    multiple, and elsewhere two matrix products.
    """
    if maps.shape[2:] == (height, width):
        return maps
    if maps.shape[2] % height == 0 and maps.shape[3] % width == 0:
        return F.avg_pool2d(maps, (maps.shape[2] // height, maps.shape[3] // width))
    rows, columns = averages(maps.shape[2], height, maps), averages(maps.shape[3], width, maps)
    return ((maps @ columns.mT).mT @ rows.mT).mT


def averages(length: int, count: int, like: Tensor) -> Tensor:
    """(count, length): each row the weights of adaptive pooling's mean of its positions."""
    position = torch.arange(length, device=like.device)
    number = torch.arange(count, device=like.device).unsqueeze(1)
    first, end = number * length // count, -(-(number + 1) * length // count)
    inside = (position >= first) & (position < end)
    return inside.to(like.dtype) / (end - first)


def as_vectors(feature: Tensor) -> Tensor:
    """(B, D): the mean over the positions of a map or over the tokens; a vector as it is."""
    if feature.dim() == 3:
        return feature.mean(dim=1)
    return feature.mean(dim=(2, 3)) if feature.dim() == 4 else feature


def vector_width(shape: Shape) -> int:
    """D of `as_vectors`: a map's channels, else the last axis."""
    return shape[1] if len(shape) == 4 else shape[-1]


def both_shapes(feature: Shape, target: Shape) -> str:
    """Two shapes for an error message: ``(B, 64) and (B, 16, 8, 8)``."""
    return f"{shape_text(feature)} and {shape_text(target)}"


def shape_text(shape: Shape) -> str:
    return f"({', '.join(['B', *map(str, shape[1:])])})"
