"""The software and the machine that a run is trained with: what may alter its last bits."""

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from kdsweep.tracking.mlflow.provenance import git_tags

PACKAGES = ("kdsweep", "torch", "torchvision", "numpy")


@cache
def environment(device: str) -> dict[str, str]:
    """Versions, the commit of kdsweep's code if it is a git checkout, and the machine.

    Args:
        device: as torch names it, such as `cpu` or `cuda`; what it is, is part of the machine.
    """
    versions = {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}
    tags = git_tags([Path(__file__).parent])
    commit = tags.get("mlflow.source.git.commit", "none")
    changed = " with changes" if "kdsweep.git.dirty" in tags else ""
    return {
        **versions,
        "commit": f"{commit}{changed}",
        "system": f"{platform.system()} {platform.machine()}",
        "device": _device(device),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _device(name: str) -> str:
    """The instruction set that torch computes with on a CPU, or the model of a GPU."""
    import torch

    kind = name.partition(":")[0]
    if kind == "cpu":
        return f"cpu {torch.backends.cpu.get_cpu_capability()}"
    return f"cuda {torch.cuda.get_device_name(name)}" if kind == "cuda" else kind
