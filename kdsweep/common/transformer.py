"""The block of vision transformers: Dosovitskiy et al. 2021, arXiv 2010.11929.

Models and loss terms have such blocks. Parameters have the names of timm and facebookresearch/deit.
Shapes: B images, N tokens of D dimensions.
"""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

MLP_RATIO = 4  # hidden units of a block's perceptron, in D


class Block(nn.Module):
    """Self-attention, then a perceptron, each with LayerNorm before it: (B, N, D) -> the same.

    Args:
        dim: D, a multiple of ``heads``.
        qkv_bias: whether queries, keys and values have a bias.
        eps: of the LayerNorms.
        drop_path: probability with which a branch is left out for an image in training, in [0, 1):
            stochastic depth, Huang et al. 2016, arXiv 1603.09382.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        qkv_bias: bool = True,
        eps: float = 1e-6,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(dim, heads, qkv_bias)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        hidden = MLP_RATIO * dim
        self.mlp = nn.Sequential(
            OrderedDict(fc1=nn.Linear(dim, hidden), act=nn.GELU(), fc2=nn.Linear(hidden, dim))
        )
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens)))
        result: Tensor = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return result


class Attention(nn.Module):
    """Self-attention of ``heads`` heads with D / heads dimensions each."""

    def __init__(self, dim: int, heads: int, qkv_bias: bool) -> None:
        super().__init__()
        assert dim % heads == 0
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        # (B, N, 3 D) -> 3 x (B, heads, N, D / heads)
        split = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = split.unbind(0)
        # Written out, because the backward pass of the fused kernels is not deterministic on CUDA.
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        mixed = scores.softmax(dim=-1) @ value
        result: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return result


class DropPath(nn.Module):
    """In training, zero for a share ``rate`` of the images, and the others scaled to the mean."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        if not (self.training and self.rate):
            return branch
        return branch * F.dropout(branch.new_ones(len(branch), 1, 1), self.rate)


def init_linear_layers(model: nn.Module) -> None:
    """Weights normal with standard deviation 0.02, cut at 2, biases zero, as in DeiT."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
