"""Logit standardisation, an option of every term that compares logits: Sun et al. 2024,
arXiv 2403.01427.

    z <- (z - mean(z)) / (std(z) + 1e-7),  over the classes of each image

The student then has to match only the relations of the teacher's logits, not their size, and T is
in units of standard deviations. The deviation is unbiased (C - 1), as in the authors' repository,
whose CIFAR-100 recipes have T = 2 with a weight of 9. Of ``mlkd``, only the instance level is
standardised, as there.
"""

from torch import Tensor

EPS = 1e-7


def standardized(logits: Tensor) -> Tensor:
    """Each image's logits (B, C) with mean 0 and deviation 1; equal logits become 0. C >= 2."""
    mean, std = logits.mean(dim=1, keepdim=True), logits.std(dim=1, keepdim=True)
    return (logits - mean) / (std + EPS)
