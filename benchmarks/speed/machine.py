"""The machine and the software that figures were measured with; no names of hosts, no paths."""

import os
import platform
from importlib.metadata import version

import torch

from kdsweep.common.machine import cpu_model
from kdsweep.training.arithmetic import computes_bf16

# Variables with which a user limits the instructions that torch and oneDNN use.
LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")


def describe_machine(device: str, threads: int) -> dict[str, str]:
    """What figures depend on, by name, each as a short text."""
    described = {
        "cpu": cpu_model(),
        "instructions": instructions(),
        "cores": str(usable_cores()),
        "threads": str(threads),
        "system": f"{platform.system()} {platform.machine()}",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "kdsweep": version("kdsweep"),
    }
    if torch.device(device).type == "cuda":
        described["gpu"] = gpu(device)
    return described


def instructions() -> str:
    """The instruction set that torch uses, bf16 arithmetic, and the limits that are set."""
    features = [torch.backends.cpu.get_cpu_capability()]
    if has_bf16_arithmetic():
        features.append("bf16 arithmetic")
    features += [f"{name}={os.environ[name]}" for name in LIMITS if name in os.environ]
    return ", ".join(features)


def has_bf16_arithmetic() -> bool:
    """Whether the CPU multiplies in bf16 (AVX512-BF16, AMX), and no variable forbids it."""
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "ALL").upper()
    is_allowed = limit in ("ALL", "DEFAULT") or "BF16" in limit or "AMX" in limit
    return is_allowed and computes_bf16("cpu")


def usable_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpu(device: str) -> str:
    """Name, compute capability and memory of a card."""
    properties = torch.cuda.get_device_properties(torch.device(device))
    gib = properties.total_memory / 2**30
    return f"{properties.name}, capability {properties.major}.{properties.minor}, {gib:.0f} GiB"
