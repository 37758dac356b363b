"""The device that `trainer.device` names."""

import torch

from kdsweep.common.suggestions import did_you_mean
from kdsweep.errors import UserError


def resolve_device(name: str) -> str:
    """`auto` becomes the accelerator that is there, else `cpu`; other names must exist.

    Raises UserError if the device is unknown or not present.
    """
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator.type if accelerator else "cpu"
    try:
        torch.zeros(1, device=name).cpu()  # `meta` has no data to copy
    except (RuntimeError, AssertionError) as error:
        there = _accelerators()
        devices = f" ({', '.join(there)})" if there else ", which has no accelerator"
        raise UserError(
            f"trainer.device must be auto, cpu or a device of this machine{devices},"
            f" got {name}{did_you_mean(name, ['auto', 'cpu', *there])}"
        ) from error
    return name


def _accelerators() -> list[str]:
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        return []
    return [f"{accelerator.type}:{index}" for index in range(torch.accelerator.device_count())]
