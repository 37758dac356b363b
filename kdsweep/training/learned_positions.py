"""Learned positions of a vision transformer for images of another size.

Interpolated bicubically with antialiasing, as in timm (`resample_abs_pos_embed`); tokens in front
of those of the patches, such as a class token, keep theirs.
"""

from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor

# Of timm and DeiT, of torchvision, and of transformers.
NAMES = ("pos_embed", "pos_embedding", "position_embeddings")
TABLE = "position_embedding.weight"  # (tokens, width), of CLIP and SigLIP in transformers
MOST_TOKENS = 8  # in front of those of the patches


def is_positions(name: str, tensor: Tensor) -> bool:
    """Whether a tensor of a network has learned positions, (1, tokens, width) or without the 1."""
    if tensor.ndim == 2:
        return f".{name}".endswith(f".{TABLE}")
    return name.rpartition(".")[2] in NAMES and tensor.ndim == 3 and len(tensor) == 1


def tokens_in_front(own: Tensor, given: Tensor | None) -> int | None:
    """How many tokens both have in front of a square of patches; None if they have none of other
    sizes."""
    if given is None or given.ndim != own.ndim or given.shape == own.shape:
        return None
    if given.shape[:-2] != own.shape[:-2] or given.shape[-1] != own.shape[-1]:
        return None
    counts = own.shape[-2], given.shape[-2]
    return next(
        (
            number
            for number in range(min(MOST_TOKENS, *counts))
            if all(isqrt(count - number) ** 2 == count - number for count in counts)
        ),
        None,
    )


def resample(own: Tensor, given: Tensor) -> Tensor:
    """Positions (1, tokens, width) or (tokens, width) of a file for the patches of a network."""
    number = tokens_in_front(own, given)
    assert number is not None, "they are two squares of patches"
    if given.ndim == 2:
        return resample(own[None], given[None])[0]
    before, after = (isqrt(tensor.shape[1] - number) for tensor in (given, own))
    width = given.shape[2]
    grid = given[:, number:].float().reshape(1, before, before, width).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, (after, after), mode="bicubic", antialias=True)
    patches = grid.permute(0, 2, 3, 1).reshape(1, after * after, width)
    return torch.cat([given[:, :number], patches.to(given.dtype)], dim=1)
