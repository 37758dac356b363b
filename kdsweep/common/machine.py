"""The CPU: its cores, and what chooses the kernels of a computation, and so its last bits."""

import os
import platform
from functools import cache
from pathlib import Path

# Variables with which a user limits the instructions or the precision of torch's libraries.
VARIABLES = (
    *("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"),
    *("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"),
    *("MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE"),
    *("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"),
)


@cache
def cpu_model() -> str:
    """Such as `AMD EPYC 9354`; what the system knows elsewhere than on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


@cache
def usable_cores(*, physical: bool) -> int:
    """The cores that this process may use, hyper-threads included unless ``physical``.

    joblib counts those of its CPU affinity and of the quota of its container.
    """
    from joblib import cpu_count  # here, so that who counts none does not wait for it

    return int(cpu_count(only_physical_cores=physical))


def kernel_variables() -> dict[str, str]:
    """The `VARIABLES` that are set."""
    return {name: os.environ[name] for name in VARIABLES if name in os.environ}
