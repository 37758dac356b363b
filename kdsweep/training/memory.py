"""Memory of the process: keeping what is freed, and recognising when there is none left.

glibc maps every block above 32 MB anew and unmaps it when it is freed. The activations of a convnet
are such blocks, so at every step the kernel has to clear the same pages again, for a third of a
cohort's CPU time. With both turned off the process keeps its peak memory until it ends.
"""

import ctypes
import functools
import gc
import platform

# From glibc's malloc.h. M_MMAP_THRESHOLD would do, too, but before glibc 2.35 not above 32 MB.
M_TRIM_THRESHOLD, NEVER = -1, -1
M_MMAP_MAX, NO_BLOCK = -4, 0


@functools.cache
def disable_malloc_trim() -> bool:
    """Have glibc keep freed memory, set once a process; False with another C library."""
    if platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_MAX, NO_BLOCK)) and bool(mallopt(M_TRIM_THRESHOLD, NEVER))


def release_memory() -> None:
    """Give back what a cohort has left behind: to the process, and to the accelerator.

    A network and its hooks for features refer to each other, so that without the garbage collector
    their memory would still be taken when the next cohort begins.
    """
    import torch

    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an accelerator, torch's allocator or Python had no memory left."""
    import torch  # here, so that the settings of malloc can be tested in a process without it

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # torch's CPU allocator raises a plain RuntimeError
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
