"""What a network consists of, whatever runs it."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from kdsweep.deploy.preprocessing import Preprocessing


def num_parameters(module: nn.Module) -> int:
    """Without buffers."""
    return sum(parameter.numel() for parameter in module.parameters())


def num_macs(module: nn.Module, preprocessing: Preprocessing) -> int:
    """Multiply-accumulate operations for one image: of convolutions and of matrix products.

    Half of the floating-point operations that torch counts.
    """
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        module(torch.zeros(1, *preprocessing.in_shape))
    return int(counter.get_total_flops()) // 2
