"""Weights fit a network of the same names and shapes, and are finite."""

import pytest
import torch
from torch import Tensor, nn

from kdsweep.training.weight_fit import fit_weights

State = dict[str, Tensor]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"weight": torch.zeros(2, 3)}, "lacks 'bias', which the model has"),
        (
            {"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "more": torch.zeros(1)},
            "has 'more', which the model lacks",
        ),
        (
            {"weight": torch.zeros(5, 3), "bias": torch.zeros(5)},
            r"has 'bias' of shape \(5,\), the model needs \(2,\)",
        ),
    ],
)
def test_weights_must_fit(weights: State, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_weights(nn.Linear(3, 2), weights, "the file")


def test_a_mask_may_hold_infinities() -> None:
    class Masked(torch.nn.Linear):
        def __init__(self) -> None:
            super().__init__(2, 2)
            self.register_buffer("mask", torch.tensor([0.0, float("-inf")]))

    fit_weights(Masked(), Masked().state_dict(), "file")
    with pytest.raises(ValueError, match="file must hold finite weights, got nan or inf in 'mask'"):
        fit_weights(
            Masked(), {**Masked().state_dict(), "mask": torch.full((2,), -torch.inf)}, "file"
        )
