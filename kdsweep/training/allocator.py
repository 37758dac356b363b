"""How the process's memory comes from the system: kept and used again, rather than given back.

glibc maps every block above 32 MB anew and unmaps it when it is freed, so that a step on larger
activations has the kernel clear the same pages again and again: a third of the CPU time of a cohort
of convnets. Told to keep them, the process holds on to the largest amount that it ever needed.
"""

import ctypes
import functools
import platform

# From glibc's malloc.h
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST = 2**31 - 1  # a C int


@functools.cache
def keep_freed_memory() -> bool:
    """Ask glibc to keep freed memory, once a process; returns False where that cannot be asked."""
    if platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all([mallopt(option, LARGEST) for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD)])
