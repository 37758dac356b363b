"""The hard term: cross-entropy with the labels.

    ce = - 1 / B * sum_i log softmax(z_s)_i,y_i

With label smoothing e the target is (1 - e) onehot + e / C (Szegedy et al. 2016,
arXiv 1512.00567). It has no temperature; KD_Lib's attention loss uses T CE(z / T) instead.
"""

import torch.nn.functional as F
from torch import Tensor

from kdsweep.common.types import Batch
from kdsweep.losses.base.term import result_dtype


def hard_loss(logits: Tensor, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy with a batch's labels; for mixed images the mean of both, by their shares."""
    loss = cross_entropy(logits, batch.labels, label_smoothing)
    if batch.mixed is None:
        return loss
    other = cross_entropy(logits, batch.mixed.labels, label_smoothing)
    return batch.mixed.lam * loss + (1 - batch.mixed.lam) * other


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean over the batch, evaluated in float64; logits (B, C), labels (B,).

    In float32 the loss of an image whose label has probability 0.99999 is wrong by 1 %.
    """
    value = F.cross_entropy(logits.double(), labels, label_smoothing=label_smoothing)
    return value.to(result_dtype(logits))
