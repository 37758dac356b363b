"""The device that `trainer.device` names."""

import torch

from kdsweep.errors import UserError


def resolve_device(name: str) -> str:
    """`auto` becomes the accelerator that is there, else `cpu`; other names must exist.

    Raises UserError if the device is unknown or not present.
    """
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator.type if accelerator else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"trainer.device must be auto, cpu or a device of this machine, got {name}"
        ) from error
    return name
