"""Factor transfer: Kim et al. 2018, arXiv 1802.04977.

    ft = sum over pairs of mean |q(F_s) - q(F_t)|,  q(F) = v / ||v||_2,  v_hw = mean_c F_chw^2

F_t is the factor of the teacher's map: what an autoencoder, the paraphraser, keeps of it in
``rate`` as many channels. F_s is that of the student's map, from a translator with as many. Powers
and norms are RepDistiller's; of two sizes the larger factor is pooled.

Paper and RepDistiller train the paraphraser by its reconstruction error for 30 epochs, and leave it
alone while the student learns: `stages=factors loss.ft.learns=translator` does so. In one run
(``learns="both"``) the paraphraser learns beside the student: the distance has no gradient for it,
and the error none for the student. The gradient of the error weighs 1 whatever ``weight`` is, which
is why it is divided by this here (a schedule, or several teachers, scale it with the term); it is
no part of the value. Every convolution has BatchNorm behind it, without which the paraphraser
diverges at a high learning rate; RepDistiller has it in the translator alone.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal, Self, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep.common.validation import check_positive
from kdsweep.losses.at import attention
from kdsweep.losses.base.feature_term import LearnedFeatureTerm
from kdsweep.losses.base.shapes import Shape, check_maps, to_same_size

SLOPE = 0.1  # of the leaky ReLUs


Learns = Literal["both", "paraphraser", "translator"]


class FT(LearnedFeatureTerm):
    """Distance of the factors of two maps. RepDistiller: last map, rate .5, weight 200.

    ``learns``: "both"; "paraphraser", for a stage: the value is the reconstruction error, the
    student learns nothing; or "translator": the paraphraser is the stage's, in eval mode. Raises
    ValueError for another word, and unless ``rate`` is a finite number > 0.
    """

    def __init__(
        self,
        pairs: Sequence[Sequence[str]],
        weight: float,
        rate: float = 0.5,
        learns: Learns = "both",
    ) -> None:
        super().__init__(pairs, weight)
        check_positive("rate", rate, repr)
        if learns not in get_args(Learns):
            raise ValueError(f"learns must be one of {', '.join(get_args(Learns))}, got {learns!r}")
        self.rate, self.learns = rate, learns
        self.needs_stage = learns == "translator"

    def check(self, feature: Shape, target: Shape) -> None:
        check_maps(feature, target)

    def link(self, feature: Shape, target: Shape) -> nn.Module:
        factor = max(1, int(self.rate * target[1]))
        return Factors(feature[1], target[1], factor, self.weight, self.learns)

    def load_stage_state(self, learned: Mapping[str, Tensor]) -> None:
        """Take the paraphrasers over. Raises ValueError if they are those of other maps."""
        own = self.state_dict()
        ours = {key for key in own if not key.split(".")[2].startswith("translator")}
        if any(key not in learned or learned[key].shape != own[key].shape for key in ours):
            raise ValueError("the stage's paraphrasers are of other pairs or of another rate")
        self.load_state_dict({**own, **{key: learned[key] for key in ours}})


class Factors(nn.Module):
    """A translator for the student's map and a paraphraser for the teacher's, compared.

    Args:
        feature, target, factor: channels.
        weight: of the term, by which the gradient of the paraphraser's own error is divided.
        learns: as in `FT`.
    """

    def __init__(
        self, feature: int, target: int, factor: int, weight: float, learns: Learns = "both"
    ) -> None:
        super().__init__()
        self.weight, self.learns = weight, learns
        self.translator = convolutions([feature, feature, factor, factor], nn.Conv2d)
        self.encoder = convolutions([target, target, factor, factor], nn.Conv2d)
        # The last layer has no activation and no BatchNorm: a map may have any values.
        self.decoder = convolutions([factor, factor, target], nn.ConvTranspose2d)
        self.decoder.append(nn.ConvTranspose2d(target, target, 3, 1, 1))
        if learns == "translator":
            self.encoder.requires_grad_(False)
            self.decoder.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> Self:
        """A paraphraser that is not to learn stays in eval mode."""
        super().train(mode)
        self.encoder.train(mode and self.learns != "translator")
        return self

    def forward(self, feature: Tensor, target: Tensor) -> Tensor:
        factor = self.encoder(target)
        if self.learns == "paraphraser":
            return self.error(factor, target)
        distance = factor_distance(self.translator(feature), factor.detach())
        if self.learns == "translator":
            return distance
        error = self.error(factor, target)
        return distance + (error - error.detach()) / (self.weight or 1.0)

    def error(self, factor: Tensor, target: Tensor) -> Tensor:
        """Of the reconstruction, squared, a mean over everything."""
        return F.mse_loss(self.decoder(factor), target)


def convolutions(channels: Sequence[int], kind: type[nn.Module]) -> nn.Sequential:
    """3x3 convolutions of either kind from each number of channels to the next."""
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        layers += [kind(before, after, 3, 1, 1), nn.BatchNorm2d(after), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers)


def factor_distance(ours: Tensor, theirs: Tensor) -> Tensor:
    """Maps (B, channels, H, W) of any two sizes -> mean over B and positions."""
    ours, theirs = to_same_size(ours, theirs)
    return F.l1_loss(attention(ours), attention(theirs))
