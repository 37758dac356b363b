"""Softened predictions compared without cancellation, for every term with a temperature.

With p = softmax(z_t / T) and q = softmax(z_s / T), what a term compares is small when T is large:
q - p shrinks with 1 / T and KL(p || q) with 1 / T^2, while p and q stay near 1 / C. Neither is
computed as a difference of p and q, or of their logarithms. With x = (z_s - z_t) / T less its mean
under p,

    KL(p || q) = log sum_j p_j exp(x_j) = log(1 + sum_j p_j (exp(x_j) - 1 - x_j))
    q_j - p_j  = p_j (exp(r_j) - 1) = q_j (1 - exp(-r_j)),  r_j = log q_j - log p_j = x_j - KL

where no summand of the sum is negative. Evaluated in float64, values and gradients have a relative
error below 1e-5 for logits from 1e-3 to 1e4 and T in [1e-6, 1e6]. The exception is a prediction
that is nearly certain: where p_j is near 1, x_j cancels against its mean, so that elements of a
gradient where q and p differ by less than 1e-12 may have a larger relative error. Their absolute
error stays near 1e-16, which is irrelevant for training.

On one CPU core and for 128 images, the value and gradient of ``kl`` take 1.9 times as long as those
of ``kl_div`` in float32 for C = 10, 2.8 times for C = 100 and 3.3 times for C = 1000;
docs/losses.md has the other terms.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

NEAR = 1e-3  # below it, exp(x) - 1 - x is a series, else the difference is exact enough


class SoftTargetComparison(torch.autograd.Function):
    """KL(p || q) of each image, (B,), q - p, (B, C), and p, (B, C).

    Arguments: the logits of p, and those of q minus those of p, (B, C). The former have a gradient
    where T is learned (ctkd).
    """

    @staticmethod
    def forward(ctx: Any, target: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        value, gap, p = kl_gap_and_target(target, shift)
        learned = ctx.needs_input_grad[0]
        ctx.save_for_backward(gap, p, shift if learned else None)
        if not learned:
            ctx.mark_non_differentiable(p)
        ctx.set_materialize_grads(learned)
        return value, gap, p

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_value: Any, grad_gap: Any, grad_p: Any
    ) -> tuple[Tensor | None, Tensor | None]:
        gap, p, shift = ctx.saved_tensors
        gradient = None if grad_value is None else grad_value.unsqueeze(1) * gap
        if grad_gap is not None:
            through_q = through_softmax(p + gap, grad_gap)
            gradient = through_q if gradient is None else gradient + through_q
        if shift is None:
            return None, gradient
        assert gradient is not None, "gradients are materialized"
        # The target moves q as the shift does, and p.
        of_p = grad_p - grad_gap - grad_value.unsqueeze(1) * shift
        return gradient + through_softmax(p, of_p), gradient


def through_softmax(probabilities: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of the logits, from that of their softmax, both (B, C)."""
    return probabilities * (gradient - (gradient * probabilities).sum(dim=1, keepdim=True))


def compare_soft_targets(
    student_logits: Tensor, teacher_logits: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """KL(p || q), (B,), q - p and p, (B, C); logits (B, C), already divided by T.

    The teacher's have a gradient only where T has one.
    """
    shift = student_logits - teacher_logits
    value, gap, p = SoftTargetComparison.apply(teacher_logits, shift)
    return value, gap, p


def kl_gap_and_target(target: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """KL(p || q), (B,), q - p and p, (B, C); in place where possible, to save memory."""
    powers = target.log_softmax(dim=1)
    p = powers.exp()
    x = shift - (p * shift).sum(dim=1, keepdim=True)
    powers += x  # log(p exp(x))
    # Large powers are divided by the largest of their image to avoid an overflow.
    largest = powers.amax(dim=1, keepdim=True)
    scale = torch.where(largest > 1, largest, 0.0)
    q = powers.sub_(scale).exp_()
    total = q.sum(dim=1, keepdim=True)
    beyond = excess(p, q, x).sum(dim=1, keepdim=True)
    value = torch.where(scale > 0, scale + total.log(), beyond.log1p())
    gap = difference(p, q.div_(total), x.sub_(value))
    return value.squeeze(1), gap, p


def excess(p: Tensor, moved: Tensor, x: Tensor) -> Tensor:
    """p (exp(x) - 1 - x), from p, p exp(x) and x."""
    series = x.div(24).add_(1 / 6).mul_(x).add_(1 / 2).mul_(x).mul_(x).mul_(p)
    direct = (moved - p).addcmul_(p, x, value=-1)
    return torch.where(x.abs() < NEAR, series, direct)


def difference(p: Tensor, q: Tensor, ratio: Tensor) -> Tensor:
    """q - p, from p, q and log q - log p."""
    size = ratio.abs().neg_().expm1_().neg_().mul_(torch.maximum(p, q))
    return size.copysign_(ratio)
