"""A forward pass in which BatchNorm normalises by the batch, and which changes nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Within it, the BatchNorms of a model in eval mode use mean and variance of each batch.

    Their running statistics do not change, and every other layer stays in eval mode, dropout too:
    the outputs depend on weights and batch alone, so that a resumed run has the same ones.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    before = [(norm.training, norm.track_running_stats) for norm in norms]
    try:
        for norm in norms:
            norm.training, norm.track_running_stats = True, False
        yield
    finally:
        for norm, (training, track) in zip(norms, before, strict=True):
            norm.training, norm.track_running_stats = training, track
