"""An exponential moving average of a network's weights (EMA), as timm's ModelEmaV3 computes it.

    m <- d_n m + (1 - d_n) w    after the optimizer step n = 1, 2, ..., with weights w

d_1 is 0, so that the average begins with the weights after the first step; later d_n is the decay,
or with a warm-up min(decay, 1 - n^(-2/3)). All of a network's state is averaged, running means and
variances of BatchNorm included; what is no floating-point number, such as its counter of batches,
is copied.

Polyak & Juditsky 1992, https://doi.org/10.1137/0330046; the warm-up is K. Crowson's.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from kdsweep.common.text import error_reason

POWER = -2 / 3  # of the number of steps, in the warm-up


class WeightAverage:
    """The average, as a network of its own.

    Attributes:
        model: the network with averaged weights.
        steps: of the optimizer that are in the average.
    """

    def __init__(self, model: nn.Module, decay: float, *, warmup: bool = False) -> None:
        """``decay``: in (0, 1). Raises ValueError for a model that cannot be copied."""
        try:
            self.model = deepcopy(model).eval()
        except Exception as error:  # a network of the user's may raise anything
            raise ValueError(
                f"must be null with a network that cannot be copied ({error_reason(error)}),"
                f" got {decay:g}"
            ) from error
        self.model.requires_grad_(False)
        self.decay, self.warmup, self.steps = decay, warmup, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Count in the weights of the network after another step."""
        self.steps += 1
        means: list[Tensor] = []
        values: list[Tensor] = []
        own, current = self.model.state_dict(), model.state_dict()
        for mean, value in zip(own.values(), current.values(), strict=True):
            if mean.is_floating_point():
                means.append(mean)
                values.append(value)
            else:
                mean.copy_(value)
        torch._foreach_lerp_(means, values, 1 - self._decay())

    def _decay(self) -> float:
        """That of the latest step."""
        if self.steps == 1:
            return 0.0
        return min(self.decay, 1 - self.steps**POWER) if self.warmup else self.decay

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes: plain types and tensors."""
        return {"steps": self.steps, "weights": self.model.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.steps = state["steps"]
        self.model.load_state_dict(state["weights"])
