"""Kernels of an accelerator that give the same bits every time.

On CUDA some operations have several kernels, and cuDNN chooses among its own by timing them. While
a cohort is trained or evaluated there

- PyTorch takes the deterministic kernel of an operation where it has one. For another operation
  it warns and continues: a run does not end in the middle because of it (docs/gpu.md lists them);
- cuDNN takes deterministic kernels and does not time them;
- float32 is float32: no TF32, which cuDNN uses for convolutions by default;
- attention is computed by matrix products: the backward pass of the fused kernels is not
  deterministic unless every such operation is to be an error.

No configuration key changes these, so they are part of `NUMERICS` and of the device's kind in a
run's fingerprint. On the CPU all kernels in use are deterministic for a number of threads.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"  # read by the first matrix product of a process on CUDA
CUBLAS_WORKSPACE = ":4096:8"  # eight buffers of 4 MiB: the faster one of the two that cuBLAS allows


@contextmanager
def deterministic_kernels(device: torch.device | str) -> Iterator[None]:
    """Deterministic kernels inside, the settings of before afterwards; without effect on a CPU.

    ``CUBLAS_WORKSPACE_CONFIG`` is set unless it is, and stays: cuBLAS reads it once a process.
    """
    if torch.device(device).type != "cuda":
        yield
        return
    os.environ.setdefault(CUBLAS, CUBLAS_WORKSPACE)
    with ExitStack() as before:
        for getter, setter, value in _settings():
            before.callback(setter, getter())
            setter(value)
        yield


Setting = tuple[Callable[[], Any], Callable[[Any], None], Any]


def _settings() -> list[Setting]:
    """What reads and what sets each setting, and its value."""
    cuda, memory = torch.backends.cuda, torch.utils.deterministic
    cudnn: Any = torch.backends.cudnn  # whose `conv` has no type
    return [
        (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode, "warn"),
        # Else every new tensor would be filled, for operations that read what was never written.
        _attribute(memory, "fill_uninitialized_memory", False),
        _attribute(cudnn, "deterministic", True),
        _attribute(cudnn, "benchmark", False),
        _attribute(cuda.matmul, "fp32_precision", "ieee"),
        # Not by the older `allow_tf32`: PyTorch raises where a program sets it in both ways.
        # That of all of cuDNN last, so that it is restored first: it sets the others, too.
        _attribute(cudnn.conv, "fp32_precision", "ieee"),
        _attribute(cudnn.rnn, "fp32_precision", "ieee"),
        _attribute(cudnn, "fp32_precision", "ieee"),
        (cuda.flash_sdp_enabled, cuda.enable_flash_sdp, False),
        (cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp, False),
        (cuda.cudnn_sdp_enabled, cuda.enable_cudnn_sdp, False),
        (cuda.math_sdp_enabled, cuda.enable_math_sdp, True),
    ]


def _attribute(owner: Any, name: str, value: Any) -> Setting:
    return lambda: getattr(owner, name), lambda new: setattr(owner, name, new), value
