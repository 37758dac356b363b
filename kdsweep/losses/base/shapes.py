"""What terms do to features of different shapes before they compare them."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

Shape = Sequence[int]


def check_maps(feature: Shape, target: Shape) -> None:
    """Raises ValueError unless both are maps (B, channels, H, W)."""
    if not len(feature) == len(target) == 4:
        raise ValueError(
            f"features must be maps (B, channels, H, W), got {both_shapes(feature, target)}"
        )


def to_same_size(maps: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Both maps at the smaller size of the two; the larger is averaged over its positions."""
    height, width = (min(sizes) for sizes in zip(maps.shape[2:], others.shape[2:], strict=True))
    return downsample(maps, height, width), downsample(others, height, width)


def downsample(maps: Tensor, height: int, width: int) -> Tensor:
    """Maps averaged over equal parts, so that ``height`` x ``width`` positions are left.

    As adaptive average pooling, whose backward pass is not deterministic on CUDA: where the parts
    can be equal, plain pooling gives the same values and is.
    """
    if maps.shape[2:] == (height, width):
        return maps
    if maps.shape[2] % height == 0 and maps.shape[3] % width == 0:
        return F.avg_pool2d(maps, (maps.shape[2] // height, maps.shape[3] // width))
    return F.adaptive_avg_pool2d(maps, (height, width))


def as_vectors(feature: Tensor) -> Tensor:
    """(B, D): a map averaged over its positions, a row of tokens over them, a vector itself."""
    if feature.dim() == 3:
        return feature.mean(dim=1)
    return feature.mean(dim=(2, 3)) if feature.dim() == 4 else feature


def both_shapes(feature: Shape, target: Shape) -> str:
    """Two shapes as an error names them: ``(B, 64) and (B, 16, 8, 8)``."""
    return f"{shape_text(feature)} and {shape_text(target)}"


def shape_text(shape: Shape) -> str:
    return f"({', '.join(['B', *map(str, shape[1:])])})"
