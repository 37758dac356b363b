"""Where freed memory goes: kept and used again, rather than given back to the system.

glibc maps every block above 32 MB anew and unmaps it when it is freed. The activations of a convnet
are such blocks, so at every step the kernel has to clear the same pages again, for a third of a
cohort's CPU time. Told to keep them, the process holds on to the most it has ever needed at once.
"""

import ctypes
import functools
import platform

# From glibc's malloc.h. M_MMAP_THRESHOLD would do, too, but before glibc 2.35 not above 32 MB.
M_TRIM_THRESHOLD, NEVER = -1, -1
M_MMAP_MAX, NO_BLOCK = -4, 0


@functools.cache
def keep_freed_memory() -> bool:
    """Ask glibc to keep freed memory, once a process; False where there is none to ask."""
    if platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_MAX, NO_BLOCK)) and bool(mallopt(M_TRIM_THRESHOLD, NEVER))
