"""BatchNorm over the batch of all processes.

torch.nn.SyncBatchNorm computes the same, on GPUs only, and takes the place of the modules; a
network that calls `batch_norm` by itself, as timm's do, would keep its own. Here the function is
exchanged that all of them call.

    y = w x' + b,  x' = (x - m) / sqrt(v + eps)
    dL/dx = (g - mean(g) - x' mean(g x')) / sqrt(v + eps),  g = dL/dx'

m and v, the mean and the biased variance of a channel, and both means are over all processes.

Shapes: x and y (R, channels, ...).
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode


class SynchronizedBatchNorms(TorchFunctionMode):
    """Within it, every BatchNorm in training mode is that of the batch of all processes."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is F.batch_norm:
            return batch_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`torch.nn.functional.batch_norm`; in training mode every process must call it."""
    if not training:
        given = (running_mean, running_var, weight, bias)
        return F.batch_norm(input, *given, training=False, momentum=momentum, eps=eps)
    normalized, mean, variance, count = Normalize.apply(input, eps)
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            unbiased = variance * (count / (count - 1))
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    shape = per_channel(input)
    # Of its own memory in any case: a layer behind it may change it in place.
    scaled = normalized.clone() if weight is None else normalized * weight.view(shape)
    shifted = scaled if bias is None else scaled + bias.view(shape)
    result: Tensor = shifted.to(input.dtype)
    return result


class Normalize(torch.autograd.Function):
    """Each channel of x with mean 0 and variance 1 over all processes, in float32 at least.

    Also the mean and the biased variance (channels,), and the number of values of a channel, in
    float64 and without gradient.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        dims, shape = [0, *range(2, x.dim())], per_channel(x)
        own = torch.full((1,), x.numel() // x.shape[1], dtype=torch.float64, device=x.device)
        sums = torch.cat([wide.sum(dims).double(), own])
        dist.all_reduce(sums)
        count, mean = sums[-1], sums[:-1] / sums[-1]
        centred = wide - mean.to(wide.dtype).view(shape)
        # In a second pass: the difference of mean square and squared mean would cancel.
        squares = centred.square().sum(dims).double()
        dist.all_reduce(squares)
        variance = squares / count
        scale = (variance + eps).rsqrt()
        normalized = centred * scale.to(wide.dtype).view(shape)
        ctx.save_for_backward(normalized, scale, count)
        ctx.dtype = x.dtype
        ctx.mark_non_differentiable(mean, variance, count)
        ctx.set_materialize_grads(False)
        return normalized, mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Any, *_: object) -> tuple[Tensor | None, None]:
        normalized, scale, count = ctx.saved_tensors
        assert gradient is not None, "the other outputs have no gradient"
        dims, shape = [0, *range(2, normalized.dim())], per_channel(normalized)
        products = gradient * normalized
        sums = torch.stack([gradient.sum(dims), products.sum(dims)]).double()
        dist.all_reduce(sums)
        mean, along = (sums / count).to(gradient.dtype)
        rest = gradient - mean.view(shape) - normalized * along.view(shape)
        return (rest * scale.to(gradient.dtype).view(shape)).to(ctx.dtype), None


def per_channel(x: Tensor) -> list[int]:
    """The shape in which (channels,) go with x."""
    return [1, -1, *[1] * (x.dim() - 2)]
