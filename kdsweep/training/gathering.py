"""The rows of a batch that several processes have computed, gathered with their gradient."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


class GatherRows(torch.autograd.Function):
    """The rows (R, ...) of every process, in the order of their ranks: (B, ...).

    Every process computes the same function of the result. So its own rows have the whole of their
    gradient already: nothing is sent in the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: Sequence[int], rank: int) -> Tensor:
        ctx.own = sum(counts[:rank]), counts[rank]
        most = max(counts)
        sent = rows.contiguous()
        if len(rows) < most:  # all processes send the same number
            sent = torch.cat([sent, sent.new_zeros(most - len(rows), *rows.shape[1:])])
        received = [torch.empty_like(sent) for _ in counts]
        dist.all_gather(received, sent)
        return torch.cat([part[:count] for part, count in zip(received, counts, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        start, count = ctx.own
        return gradient.narrow(0, start, count), None, None
