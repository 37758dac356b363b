"""Vision transformers, with DeiT's distillation token or without.

ViT: Dosovitskiy et al. 2021, arXiv 2010.11929; DeiT: Touvron et al. 2021, arXiv 2012.12877.
Architecture, initialisation and parameter names are those of facebookresearch/deit (models.py);
timm has the same architecture and names. Weights of either load if width, depth, patch and image
size are equal. The default patches are smaller here, for small images.
"""

import torch
from torch import Tensor, nn

from kdsweep.common.transformer import Block, init_linear_layers
from kdsweep.common.validation import check_bool, check_fraction, require
from kdsweep.models.components.checks import Shape, check_task, check_units

EPS = 1e-6  # of every LayerNorm


class VisionTransformer(nn.Module):
    """``depth`` blocks over the patches of an image and one or two learned tokens.

    Features, with N the learned tokens and the patches: ``blocks.0``, ``blocks.1``, ... and
    ``norm`` (B, N, width), the class token first, then the distillation token; ``pool`` (B, width),
    the class token after ``norm``; ``head`` and ``head_dist`` (B, C), the logits of the two heads.

    The logits of a network with a distillation token are the mean of those of both heads, except
    in training after `set_distilled_training`.
    """

    dist_token: nn.Parameter | None
    head_dist: nn.Linear | None

    def __init__(
        self,
        in_shape: Shape,
        num_classes: int,
        patch: int = 4,
        width: int = 192,
        depth: int = 12,
        heads: int = 3,
        distillation_token: bool = False,
        drop_path: float = 0.0,
    ) -> None:
        """
        Args:
            patch: side of a patch in pixels; height and width of the images are multiples of it.
            width: dimensions of a token, a multiple of ``heads``.
            distillation_token: a second learned token with a head of its own.
            drop_path: of the last block (`Block`); rises linearly from 0 at the first one.

        Raises ValueError for other values and images.
        """
        super().__init__()
        sizes = {"patch": patch, "width": width, "depth": depth, "heads": heads}
        for name, size in sizes.items():
            check_units(size, name)
        require(width % heads == 0, "width", f"a multiple of heads={heads}", width)
        check_bool("distillation_token", distillation_token)
        check_fraction("drop_path", drop_path, one=False)
        check_task(in_shape, num_classes, "vit", smallest=patch)
        channels, *sides = in_shape
        check_patches(sides, patch)
        self.num_prefix_tokens = 2 if distillation_token else 1  # timm's name
        self.distilled_training = False
        patches = (sides[0] // patch) * (sides[1] // patch)
        self.patch_embed = PatchEmbedding(channels, width, patch)
        self.cls_token = learned_tokens(1, width)
        self.dist_token = learned_tokens(1, width) if distillation_token else None
        self.pos_embed = learned_tokens(self.num_prefix_tokens + patches, width)
        rates = torch.linspace(0, drop_path, depth, device="cpu").tolist()
        self.blocks = nn.Sequential(
            *(Block(width, heads, eps=EPS, drop_path=rate) for rate in rates)
        )
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.pool = ClassToken()
        self.head_dist = nn.Linear(width, num_classes) if distillation_token else None
        self.head = nn.Linear(width, num_classes)
        init_linear_layers(self)

    def set_distilled_training(self, enable: bool = True) -> None:
        """Whether the logits in training are those of the class head alone; timm's name.

        Those of the distillation head are the feature ``head_dist``. Raises ValueError without one.
        """
        if self.head_dist is None:
            raise ValueError(
                "student.model.distillation_token must be true for distilled training, got false"
            )
        self.distilled_training = enable

    def forward(self, images: Tensor) -> Tensor:
        """(B, channels, H, W) -> logits (B, C)."""
        patches = self.patch_embed(images)
        own = [token for token in (self.cls_token, self.dist_token) if token is not None]
        count = patches.shape[0]  # `len` would fix the batch of an exported graph
        tokens = torch.cat([*(token.expand(count, -1, -1) for token in own), patches], dim=1)
        tokens = self.norm(self.blocks(tokens + self.pos_embed))
        logits: Tensor = self.head(self.pool(tokens))
        if self.head_dist is None:
            return logits
        distilled = self.head_dist(tokens[:, 1])
        return logits if self.training and self.distilled_training else (logits + distilled) / 2


class PatchEmbedding(nn.Module):
    """A linear map of each patch: (B, channels, H, W) -> (B, patches, width), row by row."""

    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, kernel_size=patch, stride=patch)

    def forward(self, images: Tensor) -> Tensor:
        patches: Tensor = self.proj(images).flatten(2).transpose(1, 2)
        return patches


class ClassToken(nn.Module):
    """The first token: (B, N, width) -> (B, width)."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens[:, 0]


def learned_tokens(count: int, width: int) -> nn.Parameter:
    """(1, count, width), with DeiT's initialisation."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(1, count, width), std=0.02))


def check_patches(sides: list[int], patch: int) -> None:
    """Raises ValueError unless height and width are multiples of ``patch``."""
    if any(side % patch for side in sides):
        raise ValueError(
            f"vit with patch={patch} needs images whose height and width are multiples of {patch},"
            f" got {sides[0]} x {sides[1]}"
        )
