"""DOT, SGD with a momentum of its own for distillation: Zhao et al. 2023, arXiv 2307.08436.

Of a step's two gradients, g of the labels (the task) and h of the loss terms (distillation), each
has its own average; weight decay belongs to the task:

    v <- (momentum - delta) v + g + weight_decay p
    w <- (momentum + delta) w + h
    p <- p - lr (v + w)

With delta 0 this is SGD on the sum, as long as every step has both. A parameter that only one of
the two reaches in a step, such as a regressor's, is averaged with ``momentum`` and decays; the
other average then stays as it is, as after a loss term that its schedule ends. As in the authors'
repository (megvii-research/mdistiller, mdistiller/engine/dot.py), averages begin with the first
gradient, and a parameter that is reached by distillation alone does not decay in its first step.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kdsweep.common.validation import (
    check_fraction,
    check_not_negative,
    check_positive,
    require,
)

TASK, DISTILLATION = "momentum_buffer", "distillation_momentum_buffer"


class DOT(Optimizer):
    """Call ``backward`` with the two losses instead of theirs, then ``step``.

    Args:
        lr: > 0.
        momentum: in [0, 1).
        delta: in [0, momentum], with momentum + delta < 1.
        weight_decay: >= 0.

    Raises ValueError for values out of range.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.9,
        delta: float = 0.075,
        weight_decay: float = 0.0,
    ) -> None:
        check_positive("lr", lr)
        check_fraction("momentum", momentum, one=False)
        check_not_negative("weight_decay", weight_decay)
        check_not_negative("delta", delta)
        in_range = delta <= momentum and momentum + delta < 1
        allowed = f"in [0, momentum] and less than 1 - momentum, with momentum {momentum:g}"
        require(in_range, "delta", allowed, delta)
        # None of the two is named `momentum`, which OneCycleLR would move.
        momenta = {"task_momentum": momentum - delta, "distillation_momentum": momentum + delta}
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, **momenta})
        self._distillation: dict[nn.Parameter, Tensor] = {}  # gradients of the next step

    def backward(self, task: Tensor | None, distillation: Tensor | None) -> None:
        """Add the gradients of both losses, of which there is at least one, to those there are.

        That of the task is added to each parameter's ``grad``, as ``task.backward()`` does.
        """
        if distillation is not None:
            trained = self._parameters()
            gradients = torch.autograd.grad(
                distillation, trained, retain_graph=task is not None, allow_unused=True
            )
            for parameter, gradient in zip(trained, gradients, strict=True):
                if gradient is not None:
                    before = self._distillation.get(parameter)
                    self._distillation[parameter] = (
                        gradient if before is None else before + gradient
                    )
        if task is not None:
            task.backward()

    def gradients(self) -> list[tuple[nn.Parameter, Tensor]]:
        """Every gradient of the next step, of a parameter up to two: those of the task first."""
        task = [(p, p.grad) for p in self._parameters() if p.grad is not None]
        return [*task, *self._distillation.items()]

    @torch.no_grad()
    def clip_gradient(self, most: float) -> None:
        """Scale both gradients by one factor, so that the L2 norm of their sum is at most this."""
        sums = [sum(self._gradients(p), torch.zeros_like(p)) for p in self._parameters()]
        scale = (most / (nn.utils.get_total_norm(sums) + 1e-6)).clamp(max=1)  # as in torch
        self.scale_gradients(scale)

    @torch.no_grad()
    def scale_gradients(self, factor: float | Tensor) -> None:
        """Multiply both gradients of every parameter."""
        for parameter in self._parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(factor)
        self._distillation = {p: factor * gradient for p, gradient in self._distillation.items()}

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget both gradients of every parameter."""
        super().zero_grad(set_to_none)
        self._distillation = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update the parameters. A ``closure`` would compute one gradient, so there is none."""
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                self._update(parameter, group)
        self._distillation = {}

    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def _gradients(self, parameter: nn.Parameter) -> list[Tensor]:
        both = (parameter.grad, self._distillation.get(parameter))
        return [gradient for gradient in both if gradient is not None]

    def _update(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        task, distillation = parameter.grad, self._distillation.get(parameter)
        lr, decay = group["lr"], group["weight_decay"]
        momenta = group["task_momentum"], group["distillation_momentum"]
        if task is None or distillation is None:
            momenta = (sum(momenta) / 2,) * 2
        if task is not None:
            average = self._average(parameter, TASK, task.add(parameter, alpha=decay), momenta[0])
            parameter.add_(average, alpha=-lr)
        if distillation is not None:
            if task is None and DISTILLATION in self.state[parameter]:
                distillation = distillation.add(parameter, alpha=decay)
            average = self._average(parameter, DISTILLATION, distillation, momenta[1])
            parameter.add_(average, alpha=-lr)

    def _average(
        self, parameter: nn.Parameter, name: str, gradient: Tensor, momentum: float
    ) -> Tensor:
        """The moving average of one of a parameter's two gradients, updated."""
        state = self.state[parameter]
        if name not in state:
            state[name] = gradient.clone()
        else:
            state[name].mul_(momentum).add_(gradient)
        average: Tensor = state[name]
        return average
