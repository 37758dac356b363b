"""Norms of gradients: of the soft terms relative to that of the hard term."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from kdsweep.losses.base.objective import HARD
from kdsweep.training.step import GradientChange

RATIO = "grad_ratio/"  # prefix of the metrics, before the name of the term


def gradient_ratios(
    values: Mapping[str, Tensor],
    weights: Mapping[str, float],
    model: nn.Module,
    change: GradientChange | None = None,
) -> dict[str, Tensor]:
    """|weight * gradient| of each soft term by name, in units of that of the hard term.

    ``values`` are unweighted and attached to their graph, which is kept: nothing is recomputed or
    written, so that training continues with the same bits. Gradients are those of the model's
    parameters, which ``change`` may change in place before; norms the L2 norms over all of them.
    Terms of weight 0 are left out; without a hard term the result is empty.
    """
    soft = [name for name, value in values.items() if name != HARD and value.requires_grad]
    if not soft or not values[HARD].requires_grad:
        return {}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def norm(name: str) -> Tensor:
        return weights[name] * gradient_norm(values[name], trained, change)

    hard = norm(HARD)
    return {name: norm(name) / hard for name in soft}


def gradient_norm(
    value: Tensor,
    parameters: Sequence[nn.Parameter],
    change: GradientChange | None = None,
) -> Tensor:
    """The L2 norm of a scalar's gradient; 0 from parameters that it does not depend on."""
    gradients = torch.autograd.grad(value, parameters, retain_graph=True, materialize_grads=True)
    if change is not None:
        # Of its own memory, for several may share theirs.
        gradients = tuple(gradient.clone() for gradient in gradients)
        change(list(zip(parameters, gradients, strict=True)))
    return nn.utils.get_total_norm(gradients)
