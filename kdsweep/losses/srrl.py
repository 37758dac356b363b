"""Softmax regression representation learning: Yang et al. 2021, ICLR.

    srrl = sum over pairs of mean (h_s - h_t)^2 + mean (W (h_s - h_t))^2,  h_s = pool r(f_s)

h_t is the vector that the teacher's classifier takes, W the weights of that classifier, frozen: the
second mean is the error of the teacher's logits for the student's vector. r is a 1x1 convolution
without bias, BatchNorm and ReLU, to the teacher's channels, trained with the student.

``pairs`` name the vectors before the classifiers, as in the SimKD authors' toolbox (CIFAR-100), or
the maps that are averaged to them, ``[[pool:input, pool:input]]``, as in the authors' code
(ImageNet): r is then applied before the average. The toolbox adds KL at T = 4 with weight 1:
``loss=[srrl,kl] T=4 loss.kl.weight=1``.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep.common.classifier import classifier_of
from kdsweep.losses.base.feature_term import LearnedFeatureTerm
from kdsweep.losses.base.regressors import pointwise_between
from kdsweep.losses.base.shapes import Shape, as_vectors, check_dimensions


class SRRL(LearnedFeatureTerm):
    """Distance to the teacher's vector before its classifier, and behind it. Published: weight 1.

    ``pairs`` name vectors or maps, of which the mean over the positions is taken.
    """

    needs_trained_teacher = True
    needs_classifier = True

    def check_shapes(self, feature: Shape, target: Shape) -> None:
        check_dimensions(feature, target, {2, 4}, "vectors (B, D) or maps (B, channels, H, W)")

    def make_link(self, feature: Shape, target: Shape) -> nn.Module:
        return Representation(feature[1], target[1])

    def read_teacher(self, network: nn.Module) -> None:
        """Copy the classifier's weights."""
        weight = classifier_of(network).weight.detach()
        for link in self.links:
            assert isinstance(link, Representation)
            link.classifier = weight.clone().to(next(link.parameters()))


class Representation(nn.Module):
    """The student's vector in the teacher's dimensions, compared before and behind a classifier."""

    classifier: Tensor | None  # (C, channels); None before `SRRL.read_teacher`

    def __init__(self, channels: int, target_channels: int) -> None:
        super().__init__()
        self.transfer = nn.Sequential(pointwise_between(channels, target_channels), nn.ReLU())
        self.register_buffer("classifier", None)

    def forward(self, feature: Tensor, target: Tensor) -> Tensor:
        if self.classifier is None:
            raise RuntimeError("SRRL.read_teacher must be called before the first batch")
        maps = feature if feature.dim() == 4 else feature[:, :, None, None]
        gap = as_vectors(self.transfer(maps)) - as_vectors(target)
        return gap.square().mean() + F.linear(gap, self.classifier).square().mean()
