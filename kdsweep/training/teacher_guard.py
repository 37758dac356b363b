"""The comparison of a teacher in bf16, or with folded BatchNorms, with plain fp32, contiguous."""

from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from kdsweep.training.arithmetic import BF16, contiguous
from kdsweep.training.teacher import Teacher

# Of the spread of the logits. docs/precision.md has what the networks of the repository reach.
MOST = 0.5


class Deviation(NamedTuple):
    """How far logits (B, C) are from those of fp32.

    Attributes:
        agreement: the share of images with the same largest logit, in [0, 1].
        largest: the largest difference of a logit, in units of the spread of those of fp32.
    """

    agreement: float
    largest: float

    @property
    def is_too_large(self) -> bool:
        """Whether it is beyond what rounding explains, or not a number."""
        return not self.largest <= MOST

    def __str__(self) -> str:
        return (
            f"argmax agreement {self.agreement:.1%}, largest logit difference {self.largest:.2g} of"
            " the logits' spread"
        )


def is_approximate(teacher: Teacher) -> bool:
    """Whether a teacher computes other logits than its network does in fp32."""
    return teacher.precision == BF16 or teacher.folding is not None


def deviation(teacher: Teacher, images: Tensor) -> Deviation | None:
    """How far a teacher is from its own network in fp32 on a batch (B, channels, H, W).

    None for one in fp32 without folded BatchNorms, or without logits. It costs a forward pass in
    both, and leaves weights, their strides and buffers as they were.
    """
    if not is_approximate(teacher) or not teacher.gives_logits:
        return None
    computed, folding = teacher(images).logits, teacher.folding
    with (
        torch.no_grad(),
        nullcontext() if folding is None else folding.undone(),
        contiguous(teacher.network.model) as forward,
    ):
        exact = forward(images)
    return compare(computed, exact.float())


def compare(computed: Tensor, exact: Tensor) -> Deviation:
    """The deviation of logits (B, C) from exact ones.

    A number added to all logits of an image changes no softmax, so it counts neither as a
    difference nor as spread. The spread is the root mean square of the centred, exact logits.
    """
    same = computed.argmax(1) == exact.argmax(1)
    centred = exact - exact.mean(1, keepdim=True)
    difference = computed - computed.mean(1, keepdim=True) - centred
    smallest = torch.finfo(exact.dtype).tiny  # of a constant network
    spread = centred.square().mean().sqrt().clamp_min(smallest)
    values = torch.stack([same.float().mean(), difference.abs().max() / spread])
    agreement, largest = values.tolist()
    return Deviation(agreement, largest)
