"""The hard term: cross-entropy with the labels.

    ce = - 1 / B * sum_i log softmax(z_s)_i,y_i

With label smoothing e the target is (1 - e) onehot + e / C (Szegedy et al. 2016,
arXiv 1512.00567). It has no temperature; KD_Lib's attention loss uses T CE(z / T) instead.
"""

import torch.nn.functional as F
from torch import Tensor

from kdsweep.losses.term import at_least_float32


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean over the batch; logits (B, C), labels (B,)."""
    return F.cross_entropy(at_least_float32(logits), labels, label_smoothing=label_smoothing)
