"""The gradients of an optimizer step: backward passes of losses, and the bound of their norm."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kdsweep.losses.base.objective import HARD, Loss
from kdsweep.training.dot import DOT

# Changes gradients in place, which are given with their parameters.
GradientChange = Callable[[list[tuple[nn.Parameter, Tensor]]], None]


class StepGradients:
    """The gradients of an optimizer's next step: those of the mean over a group of batches.

    Every image of the group counts the same: the gradient of a batch of B images is added B times,
    and the sum divided by all images. So it is that of one large batch, as far as a loss is a mean
    over images. A group of a single batch has the bits of its backward pass.

    Args:
        most: the largest L2 norm over all gradients; they are scaled down to it.
        batches: of a group, >= 1; the last one of an epoch has those that are left.
        per_epoch: batches in an epoch.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        most: float | None = None,
        batches: int = 1,
        per_epoch: int = 1,
    ) -> None:
        self.optimizer, self.most = optimizer, most
        self.batches, self.per_epoch = batches, per_epoch
        self._images = 0  # of the group so far

    def begins(self, step: int) -> bool:
        """Whether the batch of this number in its epoch, from 0, is the first of its group."""
        return step % self.batches == 0

    def ends(self, step: int) -> bool:
        """Whether the batch of this number is the last of its group."""
        return (step + 1) % self.batches == 0 or step + 1 == self.per_epoch

    def add(self, loss: Loss, step: int, images: int, *, counts: bool = True) -> None:
        """Add the gradients of a batch; without ``counts`` they are zeros."""
        if self.begins(step):
            self.optimizer.zero_grad(set_to_none=True)
            self._images = 0
        self._images += images
        if self.batches > 1:
            loss = scaled(loss, images if counts else 0)
        add_gradients(self.optimizer, loss)

    def finish(self, change: GradientChange | None = None) -> None:
        """Make them those of the mean; ``change`` may change them before their norm is bounded."""
        if self.batches > 1:
            scale_gradients(self.optimizer, 1 / self._images)
        if change is not None:
            change(gradients_of(self.optimizer))
        if self.most is not None:
            bound_gradients(self.optimizer, self.most)


def add_gradients(optimizer: Optimizer, loss: Loss) -> None:
    """Add the gradients of a loss to those that an optimizer steps by.

    DOT takes those of the hard term and of the others apart.
    """
    if not isinstance(optimizer, DOT):
        loss.total.backward()
        return
    soft = [value for name, value in loss.weighted.items() if name != HARD]
    optimizer.backward(loss.weighted.get(HARD), torch.stack(soft).sum() if soft else None)


def scaled(loss: Loss, factor: float) -> Loss:
    """The loss with total and summands multiplied by a factor."""
    weighted = {name: factor * value for name, value in loss.weighted.items()}
    return loss._replace(total=factor * loss.total, weighted=weighted)


def gradients_of(optimizer: Optimizer) -> list[tuple[nn.Parameter, Tensor]]:
    """The gradients that an optimizer steps by, with their parameters; DOT has two of each."""
    if isinstance(optimizer, DOT):
        return optimizer.gradients()
    return [(p, p.grad) for p in _parameters(optimizer) if p.grad is not None]


def scale_gradients(optimizer: Optimizer, factor: float) -> None:
    """Multiply all gradients that an optimizer steps by with a factor."""
    if isinstance(optimizer, DOT):
        optimizer.scale_gradients(factor)
    elif gradients := [gradient for _, gradient in gradients_of(optimizer)]:
        torch._foreach_mul_(gradients, factor)


def bound_gradients(optimizer: Optimizer, most: float) -> None:
    """Scale gradients so that the L2 norm over all, for DOT that of the sums, is at most this."""
    if isinstance(optimizer, DOT):
        optimizer.clip_gradient(most)
    else:
        nn.utils.clip_grad_norm_(_parameters(optimizer), most)


def _parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]
