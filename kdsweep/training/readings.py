"""Scalars on the device, read by the host for a whole cohort at once.

Each read of a single value (``item``, ``tolist``, ``cpu``) waits for all work queued on the device.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Readings = Mapping[str, Tensor]  # scalars by name, all on one device


def read(readings: Sequence[Readings]) -> list[dict[str, float]]:
    """The values of all scalars, as float64, in one transfer."""
    scalars = [scalar.detach().double() for one in readings for scalar in one.values()]
    values = iter(torch.stack(scalars).tolist() if scalars else ())
    return [{name: next(values) for name in one} for one in readings]
