"""The logit of the labelled class and those of the other classes."""

import torch
from torch import Tensor


def target_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """The logit of each image's own class: (B, 1) of (B, C), for labels (B,)."""
    return logits.gather(1, labels.unsqueeze(1))


def other_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """The logits of the other classes, in their order: (B, C - 1) of (B, C), for labels (B,)."""
    # By index: the result of a mask has a size that the host would have to wait for.
    others = torch.arange(logits.shape[1] - 1, device=logits.device).expand(len(logits), -1)
    return logits.gather(1, others + (others >= labels.unsqueeze(1)))
