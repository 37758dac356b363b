"""The device that `trainer.device` names."""

import torch

from kdsweep.common.machine import usable_cores
from kdsweep.common.suggestions import did_you_mean
from kdsweep.config.schema import TrainerConfig
from kdsweep.errors import UserError

COUNTED = {"cpu": "cores", "cuda": "GPUs"}  # what several devices can be


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


def refuse_devices(trainer: TrainerConfig) -> None:
    """Raise UserError unless a cohort can be trained on `trainer.devices` devices here."""
    devices = trainer.devices
    if devices <= 1:
        return
    kind, _, index = resolve_device(trainer.device).partition(":")
    if kind not in COUNTED or not torch.distributed.is_available():
        has = f"trainer.device={kind}" if kind not in COUNTED else "this build of PyTorch"
        raise UserError(f"trainer.devices must be 1 with {has}, got {devices}")
    if index:
        raise UserError(
            f"trainer.device must be auto, cpu or cuda with trainer.devices={devices}, which are"
            f" the first ones, got {trainer.device}"
        )
    most = torch.cuda.device_count() if kind == "cuda" else usable_cores(physical=False)
    if devices > most:
        raise UserError(
            f"trainer.devices must be at most {most}, the number of {COUNTED[kind]} that this"
            f" process may use, got {devices}"
        )


def _accelerators() -> list[str]:
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        return []
    return [f"{accelerator.type}:{index}" for index in range(torch.accelerator.device_count())]
