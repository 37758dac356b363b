"""The gradients of one optimizer step: the backward pass of a loss, and the bound of their norm."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kdsweep.losses.base.objective import HARD, Loss
from kdsweep.training.dot import DOT

# Changes gradients in place, which are given with their parameters.
GradientChange = Callable[[list[tuple[nn.Parameter, Tensor]]], None]


def compute_gradients(
    optimizer: Optimizer,
    loss: Loss,
    most: float | None = None,
    change: GradientChange | None = None,
) -> None:
    """Replace the gradients that an optimizer steps by with those of a loss.

    With ``most``, they are scaled so that the L2 norm over all of them is at most this number;
    before that, ``change`` may change them in place. The only place that distinguishes optimizers:
    DOT takes the hard term and the others apart.
    """
    optimizer.zero_grad(set_to_none=True)
    if isinstance(optimizer, DOT):
        soft = [value for name, value in loss.weighted.items() if name != HARD]
        optimizer.backward(loss.weighted.get(HARD), torch.stack(soft).sum() if soft else None)
        if change is not None:
            change(optimizer.gradients())
        if most is not None:
            optimizer.clip_gradient(most)
        return
    loss.total.backward()
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    if change is not None:
        change([(p, p.grad) for p in trained if p.grad is not None])
    if most is not None:
        nn.utils.clip_grad_norm_(trained, most)
