"""Factor transfer: Kim et al. 2018, arXiv 1802.04977.

    ft = sum over pairs of mean |q(F_s) - q(F_t)|,  q(F) = v / ||v||_2,  v_hw = mean_c F_chw^2

F_t is the factor of the teacher's map: its code in an autoencoder, the paraphraser, with ``rate``
times the channels. F_s is that of the student's map, from a translator with as many. Powers and
norms are RepDistiller's; of two sizes the larger factor is pooled.

Paper and RepDistiller train the paraphraser by its reconstruction error for 30 epochs, and freeze
it while the student learns: `stages=factors loss.ft.learns=translator` does so, with RepDistiller's
layers: convolution and leaky ReLU in the paraphraser, which has a learning rate of its own (.01 for
most students), with BatchNorm between them in the translator.

In one run (``learns="both"``) the paraphraser is trained together with the student: the distance
has no gradient for it, and the error none for the student. The gradient of the error has weight 1
whatever ``weight`` is, which is why it is divided by ``weight`` here (a schedule, or several
teachers, scale it with the term); it is not included in the value. At the student's learning rate
the paraphraser may diverge without BatchNorm; so it has it here (RepDistiller's ``use_bn``).
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep.common.validation import check_option, check_positive
from kdsweep.losses.at import attention
from kdsweep.losses.base.feature_term import LearnedFeatureTerm
from kdsweep.losses.base.shapes import Shape, to_same_size

SLOPE = 0.1  # of the leaky ReLUs


Learns = Literal["both", "paraphraser", "translator"]


class FT(LearnedFeatureTerm):
    """Distance of the factors of two maps. RepDistiller: last map, rate .5, weight 200.

    ``learns``: "both"; "paraphraser", for a stage: the value is the reconstruction error, without
    gradient for the student; or "translator": the paraphraser is the stage's, frozen. Raises
    ValueError for another value, and unless ``rate`` is a finite number > 0.
    """

    maps_only = True

    def __init__(
        self,
        pairs: Sequence[Sequence[str]],
        weight: float,
        rate: float = 0.5,
        learns: Learns = "both",
    ) -> None:
        super().__init__(pairs, weight)
        check_positive("rate", rate)
        check_option("learns", learns, get_args(Learns))
        self.rate, self.learns = rate, learns
        self.needs_stage = learns == "translator"

    def make_link(self, feature: Shape, target: Shape) -> nn.Module:
        factor = max(1, int(self.rate * target[1]))
        return Factors(feature[1], target[1], factor, self.weight, self.learns)

    def load_stage_state(self, state: Mapping[str, Tensor]) -> None:
        """Load the paraphrasers. Raises ValueError if they are those of other maps."""
        own = self.state_dict()
        keys = {key for key in own if not key.split(".")[2].startswith("translator")}
        if any(key not in state or state[key].shape != own[key].shape for key in keys):
            raise ValueError("the stage's paraphrasers are of other pairs or of another rate")
        self.load_state_dict({**own, **{key: state[key] for key in keys}})


class Factors(nn.Module):
    """The translator of the student's map and the paraphraser of the teacher's.

    Args:
        feature, target, factor: channels.
        weight: of the term, by which the gradient of the reconstruction error is divided.
        learns: as in `FT`.
    """

    def __init__(
        self, feature: int, target: int, factor: int, weight: float, learns: Learns = "both"
    ) -> None:
        super().__init__()
        self.weight, self.learns = weight, learns
        widths, norm = [target, target, factor, factor], learns == "both"
        self.translator = convolutions([feature, feature, factor, factor], nn.Conv2d, norm=True)
        self.encoder = convolutions(widths, nn.Conv2d, norm=norm)
        self.decoder = convolutions(widths[::-1], nn.ConvTranspose2d, norm=norm)
        if learns == "translator":
            self.encoder.requires_grad_(False)
            self.decoder.requires_grad_(False)

    def forward(self, feature: Tensor, target: Tensor) -> Tensor:
        factor = self.encoder(target)
        if self.learns == "paraphraser":
            return self.reconstruction_error(factor, target)
        distance = factor_distance(self.translator(feature), factor.detach())
        if self.learns == "translator":
            return distance
        error = self.reconstruction_error(factor, target)
        return distance + (error - error.detach()) / (self.weight or 1.0)

    def reconstruction_error(self, factor: Tensor, target: Tensor) -> Tensor:
        """Mean squared error over all elements."""
        return F.mse_loss(self.decoder(factor), target)


def convolutions(channels: Sequence[int], layer: type[nn.Module], *, norm: bool) -> nn.Sequential:
    """3x3 convolutions, or transposed ones, from each number of channels to the next.

    Each is followed by a leaky ReLU, with BatchNorm before it if ``norm``.
    """
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        layers.append(layer(before, after, 3, 1, 1))
        if norm:
            layers.append(nn.BatchNorm2d(after))
        layers.append(nn.LeakyReLU(SLOPE))
    return nn.Sequential(*layers)


def factor_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Maps (B, channels, H, W) of any two sizes -> mean over B and positions."""
    student, teacher = to_same_size(student, teacher)
    return F.l1_loss(attention(student), attention(teacher))
