"""Auxiliary classifiers of a student's stages, from maps or from tokens to logits.

Those of Hao et al. 2023 (arXiv 2310.19444), as in Hao840/OFAKD, distillers/ofa.py and utils.py.
Shapes: B images, C classes.
"""

import math

import torch
from torch import Tensor, nn

from kdsweep.common.transformer import Block, init_linear_layers
from kdsweep.losses.base.shapes import Shape, as_vectors, shape_text

FINAL_GRID = 7  # patches on a side; larger grids are merged down to less than twice this
HEADS = 4  # of a block's attention
LAYER_NORM_EPS = 1e-5


def map_head(channels: int, stages_after: int, width: int, num_classes: int) -> nn.Module:
    """Maps (B, channels, H, W) -> logits (B, C).

    A separable convolution for each of the ``stages_after``, which halves the map and doubles its
    channels, the last one to ``width`` channels; a 1x1 convolution to these if there is none.
    """
    layers: list[nn.Module] = []
    for left in reversed(range(stages_after)):
        layers.append(halving(channels, 2 * channels if left else width))
        channels *= 2
    layers = layers or [nn.Conv2d(channels, width, kernel_size=1)]
    head = nn.Sequential(*layers, Mean(), nn.Linear(width, num_classes))
    for module in head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    init_linear_layers(head)
    return head


def halving(channels: int, out_channels: int) -> nn.Sequential:
    """Two separable convolutions with BatchNorm and ReLU, the first with stride 2."""
    return nn.Sequential(
        *separable(channels, channels, stride=2), *separable(channels, out_channels, stride=1)
    )


def separable(channels: int, out_channels: int, stride: int) -> list[nn.Module]:
    """Each channel by itself, 3x3, then all of them, 1x1."""
    return [
        nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False),
        nn.Conv2d(channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    ]


class Mean(nn.Module):
    """Over the positions of a map: (B, channels, H, W) -> (B, channels)."""

    def forward(self, maps: Tensor) -> Tensor:
        return as_vectors(maps)


class TokenHead(nn.Module):
    """Rows of tokens (B, tokens, D) -> logits (B, C).

    Patches are merged if the grid is larger than 13 x 13; then a transformer block for each of the
    ``stages_after``, at least one. The logits are those of the class token, or of the mean.

    Args:
        shape: of the tokens, beginning with B.
        width: dimensions of the blocks.
        prefix: number of tokens before the patches, the class token first.

    Raises ValueError for tokens that cannot be merged or mapped to ``width``.
    """

    def __init__(
        self, shape: Shape, stages_after: int, width: int, num_classes: int, prefix: int
    ) -> None:
        super().__init__()
        _, tokens, dim = shape
        self.prefix = prefix
        self.merge = patch_merging(tokens - prefix, dim, width)
        fits = dim == width or (not prefix and len(self.merge) > 0)
        if not fits or width % HEADS:
            raise ValueError(
                f"tokens must have the {width} dimensions of the embedding, a multiple of {HEADS},"
                f" got {shape_text(shape)}"
            )
        self.blocks = nn.Sequential(
            *(
                Block(width, HEADS, qkv_bias=False, eps=LAYER_NORM_EPS)
                for _ in range(max(stages_after, 1))
            )
        )
        self.classifier = nn.Linear(width, num_classes)
        init_linear_layers(self)

    def forward(self, tokens: Tensor) -> Tensor:
        own, patches = tokens[:, : self.prefix], tokens[:, self.prefix :]
        mixed = self.blocks(torch.cat([own, self.merge(patches)], dim=1))
        logits: Tensor = self.classifier(mixed[:, 0] if self.prefix else mixed.mean(dim=1))
        return logits


def patch_merging(patches: int, dim: int, width: int) -> nn.Sequential:
    """Layers that halve a square grid while it has at least 14 x 14 patches.

    Raises ValueError for a grid of that size that is not square, or has an odd side on the way.
    """
    grid = math.isqrt(patches)
    count = max(int(math.log2(grid / FINAL_GRID)), 0) if grid else 0
    if count and (grid**2 != patches or grid % 2**count):
        raise ValueError(
            f"tokens must be a square of patches whose side is a multiple of {2**count},"
            f" got {patches} patches"
        )
    layers: list[nn.Module] = []
    for step in range(count):
        activation = nn.GELU() if step in (0, *range(count - 1)) else nn.Identity()
        layers.append(PatchMerging(grid // 2**step, dim if step == 0 else width, width, activation))
    return nn.Sequential(*layers)


class PatchMerging(nn.Module):
    """Each 2 x 2 patches as one: (B, grid^2, dim) -> (B, (grid / 2)^2, width).

    Liu et al. 2021, Swin Transformer, arXiv 2103.14030, followed by an activation.
    """

    def __init__(self, grid: int, dim: int, width: int, activation: nn.Module) -> None:
        super().__init__()
        self.grid = grid
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, width, bias=False)
        self.activation = activation

    def forward(self, patches: Tensor) -> Tensor:
        half = self.grid // 2
        # (B, row, upper or lower, column, left or right, D) -> (B, row, column, 4 D)
        squares = patches.unflatten(1, (half, 2, half, 2)).permute(0, 1, 3, 4, 2, 5)
        merged: Tensor = self.activation(
            self.reduction(self.norm(squares.flatten(3).flatten(1, 2)))
        )
        return merged
