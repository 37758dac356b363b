"""Seeds derived from names, so that no random draw depends on what was drawn before it."""

import hashlib

import torch


def derive(*parts: object) -> int:
    """A stable 63-bit seed for the given parts, e.g. ``derive("stream", seed, epoch)``.

    Python's ``hash()`` is salted per process, so it cannot be used here. Equal parts give equal
    seeds on every machine; ``1`` and ``"1"`` are different parts.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def reseed_all(*parts: object) -> None:
    """Seed the default generators of the CPU and of all accelerators there are from the parts.

    Without an accelerator not `torch.manual_seed`, for the reason that `reseed` gives.
    """
    seed = derive(*parts)
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def reseed(device: torch.device, *parts: object) -> None:
    """Seed the default generators of the CPU and of `device` from the parts.

    Not `torch.manual_seed`, which seeds every accelerator: for each unused one it queues the call
    with a formatted stack trace, which takes longer than a small student's step.
    """
    seed = derive(*parts)
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)
