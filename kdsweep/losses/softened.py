"""Softened predictions compared without cancellation: what every term with a temperature needs.

With p = softmax(z_t / T) and q = softmax(z_s / T), what a term compares is small when T is large:
q - p shrinks with 1 / T and KL(p || q) with 1 / T^2, while p and q stay near 1 / C. So neither is
taken as a difference of p and q, or of their logarithms. With x = (z_s - z_t) / T less its mean
under p,

    KL(p || q) = log sum_j p_j exp(x_j) = log(1 + sum_j p_j (exp(x_j) - 1 - x_j))
    q_j - p_j  = p_j (exp(x_j - KL) - 1)

where no summand of the sum is negative. Together with float64, in which all of it is evaluated,
values and gradients are exact to 1e-5 for any logits of float32 and T in [1e-6, 1e6]. Logits are
(B, C), so this costs next to nothing beside a network's forward pass.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

NEAR = 1e-2  # below it, exp(x) - 1 - x is a series
LARGE = 1e300


class Divergence(torch.autograd.Function):
    """KL(p || q) of each image, (B,), of log p (B, C) and the logits of q less those of p.

    The gradient, for the logits alone, is q - p.
    """

    @staticmethod
    def forward(ctx: Any, log_p: Tensor, shift: Tensor) -> Tensor:
        value, ratio = divergence_and_ratio(log_p, shift)
        ctx.save_for_backward(log_p, softmax_of(log_p, shift), ratio)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, gradient.unsqueeze(1) * difference(*ctx.saved_tensors)


class Gap(torch.autograd.Function):
    """q - p, (B, C), of log p and the logits of q less those of p; the gradient is for these."""

    @staticmethod
    def forward(ctx: Any, log_p: Tensor, shift: Tensor) -> Tensor:
        _, ratio = divergence_and_ratio(log_p, shift)
        q = softmax_of(log_p, shift)
        ctx.save_for_backward(q)
        return difference(log_p, q, ratio)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        (q,) = ctx.saved_tensors
        return None, q * (gradient - (gradient * q).sum(dim=1, keepdim=True))


def divergence(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """KL(teacher || student) of each image, (B,); logits (B, C), divided by T already."""
    theirs = teacher_logits.detach()
    value: Tensor = Divergence.apply(theirs.log_softmax(dim=1), student_logits - theirs)
    return value


def probability_gap(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """softmax of the student less softmax of the teacher; logits (B, C), divided by T already."""
    theirs = teacher_logits.detach()
    value: Tensor = Gap.apply(theirs.log_softmax(dim=1), student_logits - theirs)
    return value


def divergence_and_ratio(log_p: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """KL(p || q), (B,), and log q - log p, (B, C)."""
    p = log_p.exp()
    x = shift - (p * shift).sum(dim=1, keepdim=True)
    # p exp(x) is one power where x is large: neither factor may overflow or vanish alone.
    far = (log_p + x).exp() * (1 - (1 + x) * (-x).exp())
    excess = torch.where(x > 1, far, p * beyond_linear(x.clamp(max=1))).sum(dim=1)
    value = torch.where(excess < LARGE, excess.log1p(), (log_p + x).logsumexp(dim=1))
    return value, x - value.unsqueeze(1)


def softmax_of(log_p: Tensor, shift: Tensor) -> Tensor:
    """q; not exp(log p + ratio), in which huge logits leave a rounding error."""
    return (log_p + shift).softmax(dim=1)


def difference(log_p: Tensor, q: Tensor, ratio: Tensor) -> Tensor:
    """q - p, of log p, q and log q - log p."""
    p = log_p.exp()
    return torch.where(ratio > 1, q - p, p * ratio.clamp(max=1).expm1())


def beyond_linear(x: Tensor) -> Tensor:
    """exp(x) - 1 - x, which is never negative."""
    series = x.square() / 2 * (1 + x / 3 * (1 + x / 4 * (1 + x / 5 * (1 + x / 6))))
    return torch.where(x.abs() < NEAR, series, x.expm1() - x)
