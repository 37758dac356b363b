"""Prime-aware adaptive distillation: Zhang et al. 2020, arXiv 2008.01458.

    pad = sum over pairs of mean (f_t - f_s)^2 / (exp(v) + 1e-6) + v

f are embeddings, v = BatchNorm(W f_s + b) the logarithm of a variance for each image and
dimension, learned with the student: images that it cannot match get a large variance and count
less. Where the student's embedding has other dimensions, a learned linear layer first maps it to
the teacher's. The value can be negative.

Equal to torchdistill's PADL2Loss with its VarianceBranch4PAD, which is from the authors' code.
Published as the second of two stages; in the first one v is 0.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep.losses.base.feature_term import LearnedFeatureTerm
from kdsweep.losses.base.shapes import Shape, as_vectors, check_dimensions, vector_width

EPS = 1e-6  # of the variance


class PAD(LearnedFeatureTerm):
    """Squared distance of embeddings, over a variance per image and dimension.

    ``pairs`` name vectors, or maps or rows of tokens, whose mean is taken. Raises ValueError for
    other shapes, and as `LearnedFeatureTerm` does. In a batch of one image there is nothing to
    normalise v by: PyTorch's BatchNorm raises ValueError.
    """

    def check_shapes(self, feature: Shape, target: Shape) -> None:
        check_dimensions(feature, target, {2, 3, 4}, "vectors, rows of tokens or maps")

    def make_link(self, feature: Shape, target: Shape) -> nn.Module:
        return AdaptiveDistance(vector_width(feature), vector_width(target))


class AdaptiveDistance(nn.Module):
    """The distance of an embedding from the teacher's, with the variance that belongs to it."""

    def __init__(self, dim: int, target_dim: int) -> None:
        super().__init__()
        self.projector = nn.Identity() if dim == target_dim else nn.Linear(dim, target_dim)
        self.linear = nn.Linear(target_dim, target_dim)
        self.norm = nn.BatchNorm1d(target_dim, track_running_stats=False)

    def forward(self, feature: Tensor, target: Tensor) -> Tensor:
        embedding = self.projector(as_vectors(feature)).double()
        v = self.log_variance(embedding)
        squares: Tensor = (as_vectors(target) - embedding).square()
        return (squares / (EPS + v.exp()) + v).mean()

    def log_variance(self, embedding: Tensor) -> Tensor:
        """v in float64: its mean over the batch is 0, but for rounding."""
        raw = F.linear(embedding, self.linear.weight.double(), self.linear.bias.double())
        scale, shift = self.norm.weight.double(), self.norm.bias.double()
        return F.batch_norm(raw, None, None, scale, shift, training=True, eps=self.norm.eps)
