"""Precision and memory format: what `auto` is, and how a network is put into a format.

`auto` is read from a table, never from a timing, so that it is the same in every run of a config.
The table follows from `benchmarks/memory_format.py` (docs/precision.md has its figures): on CPUs,
with and without bf16 arithmetic, no network with convolutions is slower in channels_last, and most
are faster. On CUDA it follows PyTorch's guide to the format, which is for tensor cores and mixed
precision; other devices keep PyTorch's default.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

AUTO, FP32, BF16 = "auto", "fp32", "bf16"
CONTIGUOUS, CHANNELS_LAST = "contiguous", "channels_last"

# Where networks with 2d convolutions are in channels_last: kind of device, precision.
FASTER_IN_CHANNELS_LAST = {("cpu", FP32), ("cpu", BF16), ("cuda", BF16)}
# Of bf16 relative to fp32 contiguous, on a CPU with AVX2 alone: whether a network has convolutions,
# memory format. Measured of one convolution, and of the forward pass of an MLP.
SLOWER_IN_BF16 = {
    (True, CONTIGUOUS): 31,
    (True, CHANNELS_LAST): 8,
    (False, CONTIGUOUS): 3,
    (False, CHANNELS_LAST): 3,
}
CUDA_WITH_BF16 = (8, 0)  # compute capability, of Ampere
CPU_BF16 = ("avx512_bf16", "amx_bf16", "sve_bf16")  # in `torch.cpu.get_capabilities`


class NetworkKind(NamedTuple):
    """What the table distinguishes of a network."""

    convolutions: bool = False  # it has weights of 2d convolutions
    depthwise: bool = False  # some convolve each channel by itself
    fault: str | None = None  # why its forward pass fails in channels_last; None if it does not

    @classmethod
    def of(cls, model: nn.Module, fault: str | None = None) -> Self:
        """The kind of a network."""
        grouped = (m for m in model.modules() if isinstance(m, nn.Conv2d) and m.groups > 1)
        return cls(
            convolutions=any(parameter.dim() == 4 for parameter in model.parameters()),
            depthwise=any(module.groups == module.in_channels for module in grouped),
            fault=fault,
        )

    @classmethod
    def of_all(cls, kinds: Iterable["NetworkKind"]) -> "NetworkKind":
        """One kind for networks that are to have the same precision and format."""
        all_kinds = list(kinds)
        faults = (kind.fault for kind in all_kinds if kind.fault is not None)
        return NetworkKind(
            any(kind.convolutions for kind in all_kinds),
            any(kind.depthwise for kind in all_kinds),
            next(faults, None),
        )


def computes_bf16(device: str) -> bool:
    """Whether a device has arithmetic for bfloat16; else it is emulated, or converted."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device) >= CUDA_WITH_BF16
    return device.startswith("cpu") and _cpu_computes_bf16()


def _cpu_computes_bf16() -> bool:
    if hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name, False) for name in CPU_BF16)
    # Before torch 2.11 there is no public function.
    avx512, amx = torch.cpu._is_avx512_bf16_supported, torch.cpu._is_amx_tile_supported
    return bool(avx512() or amx())


def bf16_warning(option: str, device: str, kind: NetworkKind, memory_format: str) -> str | None:
    """A warning about bf16 on a device that does not compute it; None for one that does."""
    if computes_bf16(device):
        return None
    warning = f"{option}=bf16 is emulated on {device}, which has no arithmetic for it"
    if not device.startswith("cpu"):
        return f"{warning}: fp32 is faster in most cases"
    work = "a convolution" if kind.convolutions else "the forward pass of an MLP"
    factor = SLOWER_IN_BF16[kind.convolutions, memory_format]
    return (
        f"{warning}: {work} ({memory_format}) takes about {factor} times as long as in fp32,"
        " as measured on an AVX2 CPU; fp32 and auto avoid it"
    )


def choose_precision(name: str, device: str, kind: NetworkKind, *, is_trained: bool) -> str:
    """`fp32` or `bf16`; ``name`` itself unless it is `auto`.

    `auto` is bf16 where the device computes it. On CPUs a training step of a network with depthwise
    convolutions is not faster in bf16: it is fp32 there, unless the network is frozen.
    """
    if name != AUTO:
        return name
    is_slow = kind.depthwise and is_trained and device.startswith("cpu")
    return BF16 if computes_bf16(device) and not is_slow else FP32


def choose_format(name: str, device: str, precision: str, kind: NetworkKind) -> str:
    """`contiguous` or `channels_last`; ``name`` itself unless it is `auto`."""
    if name != AUTO:
        return name
    is_faster = (device.partition(":")[0], precision) in FASTER_IN_CHANNELS_LAST
    return CHANNELS_LAST if is_faster and kind.convolutions and not kind.fault else CONTIGUOUS


def put_in_format(model: nn.Module, memory_format: str) -> None:
    """Compute a network in a memory format from now on: its weights, and every image it is given.

    It must be contiguous, as networks are built. Parameters keep their identity.
    """
    if memory_format == CHANNELS_LAST:
        model.to(memory_format=torch.channels_last)
        model.register_forward_pre_hook(_in_channels_last)


@contextmanager
def contiguous(model: nn.Module) -> Iterator[Callable[[Tensor], Tensor]]:
    """Yield the forward pass of a network with contiguous weights and images.

    Afterwards the weights have the strides that they had, and the same values.
    """
    is_last = any(hook is _in_channels_last for hook in model._forward_pre_hooks.values())
    if is_last:
        model.to(memory_format=torch.contiguous_format)
    try:
        # Not `model(images)`: the hook would convert the images.
        yield lambda images: model.forward(images.contiguous())
    finally:
        if is_last:
            model.to(memory_format=torch.channels_last)


def _in_channels_last(model: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    return inputs[0].to(memory_format=torch.channels_last)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context of a forward pass in a precision, entered anew for each.

    One context around a whole cohort would keep its cache of bf16 weights across optimizer steps,
    and train on stale ones.
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == BF16)
