"""A network's forward and backward pass in training, compiled by `torch.compile`.

Evaluation is not compiled: figures are those of the network as everyone else loads it, and its
weights keep their names. Compiled kernels round differently, so that `trainer.compile` is part of a
run's identity; with it, too, a run has the same bits alone, in lockstep and after an interruption:

- each shape of a batch has kernels of its own (`dynamic=False`). Kernels for any shape, which torch
  would make when it meets a second one, would depend on what a process has trained before;
- students with equal networks share kernels, and none ever falls back to being interpreted because
  there are many: torch's limit of 8 is lifted.
"""

import logging
from functools import cache

import torch
from torch import Tensor, nn

from kdsweep.common.pacing import lines_while
from kdsweep.common.text import error_reason

LIMIT = 100_000  # of compilations of one function; torch would continue without compiling


class CompiledForward:
    """A model's forward pass in training, compiled: images (B, channels, H, W) -> logits (B, C).

    Kernels are compiled when a shape comes for the first time, which a line reports.
    """

    def __init__(self, model: nn.Module, threads: int) -> None:
        """``threads``: those of torch, for kernels are compiled for a number of them."""
        import torch._dynamo as dynamo  # takes a second to import

        dynamo.config.recompile_limit = dynamo.config.accumulated_recompile_limit = LIMIT
        dynamo.config.fail_on_recompile_limit_hit = True
        self._run = torch.compile(model, dynamic=False, options={"cpp.threads": threads})
        self._shapes: set[torch.Size] = set()

    def __call__(self, images: Tensor) -> Tensor:
        if images.shape in self._shapes:
            return self._compiled(images)
        shape = " x ".join(map(str, images.shape))
        with lines_while(f"compiling a network for batches of {shape}"):
            logits = self._compiled(images)
        self._shapes.add(images.shape)
        return logits

    def _compiled(self, images: Tensor) -> Tensor:
        logits: Tensor = self._run(images)
        return logits


@cache
def compiler_fault(kind: str) -> str | None:
    """Why nothing can be compiled for a kind of device, `cpu`; None if it can."""
    # Where there is no GPU torch warns of the folder of its own that it has found for CUDA.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    with lines_while("looking for a compiler"):
        try:
            torch.compile(_add_one, dynamic=False)(torch.zeros(2, device=kind))
        except Exception as error:
            return error_reason(error)
    return None


def _add_one(x: Tensor) -> Tensor:
    return x + 1
