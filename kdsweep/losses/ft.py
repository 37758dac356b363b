"""Factor transfer: Kim et al. 2018, arXiv 1802.04977.

    ft = sum over pairs of mean |q(F_s) - q(F_t)|,  q(F) = v / ||v||_2,  v_hw = mean_c F_chw^2

F_t is the factor of the teacher's map: what an autoencoder, the paraphraser, keeps of it in
``rate`` as many channels. F_s is that of the student's map, from a translator with as many. Powers
and norms are RepDistiller's; of two sizes the larger factor is pooled.

Where this is another method than in the tables: paper and RepDistiller train the paraphraser for 30
epochs before the student and leave it alone afterwards. Here it learns beside the student, by its
own reconstruction error: the distance has no gradient for it, and the error none for the student.
The gradient of the error weighs 1 whatever ``weight`` is, which is why it is divided by this here
(a schedule, or several teachers, scale it with the term); it is no part of the value. Every
convolution has BatchNorm behind it, without which the paraphraser diverges at a high learning rate;
RepDistiller has it in the translator alone.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep.losses.at import attention
from kdsweep.losses.checks import check_positive
from kdsweep.losses.pairs import LearnedPairs
from kdsweep.losses.shapes import Shape, check_maps, same_size

SLOPE = 0.1  # of the leaky ReLUs


class FT(LearnedPairs):
    """Distance of the factors of two maps. RepDistiller: last map, rate .5, weight 200.

    Raises ValueError unless ``rate`` is a finite number > 0.
    """

    def __init__(self, pairs: Sequence[Sequence[str]], weight: float, rate: float = 0.5) -> None:
        super().__init__(pairs, weight)
        check_positive("rate", rate)
        self.rate = rate

    def check(self, feature: Shape, target: Shape) -> None:
        check_maps(feature, target)

    def link(self, feature: Shape, target: Shape) -> nn.Module:
        return Factors(feature[1], target[1], max(1, int(self.rate * target[1])), self.weight)


class Factors(nn.Module):
    """A translator for the student's map and a paraphraser for the teacher's, compared.

    Args:
        feature, target, factor: channels.
        weight: of the term, by which the gradient of the paraphraser's own error is divided.
    """

    def __init__(self, feature: int, target: int, factor: int, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.translator = convolutions([feature, feature, factor, factor], nn.Conv2d)
        self.encoder = convolutions([target, target, factor, factor], nn.Conv2d)
        # The last layer has no activation and no BatchNorm: a map may have any values.
        self.decoder = convolutions([factor, factor, target], nn.ConvTranspose2d)
        self.decoder.append(nn.ConvTranspose2d(target, target, 3, 1, 1))

    def forward(self, feature: Tensor, target: Tensor) -> Tensor:
        factor = self.encoder(target)
        distance = factor_distance(self.translator(feature), factor.detach())
        error = F.mse_loss(self.decoder(factor), target)
        return distance + (error - error.detach()) / (self.weight or 1.0)


def convolutions(channels: Sequence[int], kind: type[nn.Module]) -> nn.Sequential:
    """3x3 convolutions of either kind from each number of channels to the next."""
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        layers += [kind(before, after, 3, 1, 1), nn.BatchNorm2d(after), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers)


def factor_distance(ours: Tensor, theirs: Tensor) -> Tensor:
    """Maps (B, channels, H, W) of any two sizes -> mean over B and positions."""
    ours, theirs = same_size(ours, theirs)
    return F.l1_loss(attention(ours), attention(theirs))
