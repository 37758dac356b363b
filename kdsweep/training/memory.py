"""Memory of the process: keeping what is freed, and recognising when there is none left.

glibc maps every block above 32 MB anew and unmaps it when it is freed. The activations of a convnet
are such blocks, so at every step the kernel has to clear the same pages again, for a third of a
cohort's CPU time. With both turned off all blocks are in one heap, and the process keeps its peak
memory until it ends, or `release_memory` gives it back.

A first step is the exception (`large_blocks_mapped`), for the sake of the heap's order.
"""

import ctypes
import functools
import gc
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# From glibc's malloc.h. M_MMAP_THRESHOLD would do, too, but before glibc 2.35 not above 32 MB.
M_TRIM_THRESHOLD, NEVER = -1, -1
M_MMAP_MAX, NO_BLOCK, EVERY_BLOCK = -4, 0, 65536
M_MMAP_THRESHOLD, LARGE = -3, 128 * 1024  # bytes; EVERY_BLOCK and LARGE are glibc's defaults


@functools.cache
def disable_malloc_trim() -> bool:
    """Have glibc keep freed memory, set once a process; False with another C library."""
    glibc = _glibc()
    if glibc is None:
        return False
    kept = glibc.mallopt(M_MMAP_MAX, NO_BLOCK) and glibc.mallopt(M_TRIM_THRESHOLD, NEVER)
    return bool(kept)


@contextmanager
def large_blocks_mapped() -> Iterator[None]:
    """Within it, glibc maps large blocks outside of its heap; with another C library, nothing.

    For the first step of students. It leaves small blocks behind for good (momenta, metrics, what
    autograd and oneDNN keep). Were they cut out of chunks of activations just freed, these would
    not hold the same activations again, and the heap would grow with every student. Activations
    that are mapped leave no such chunks: the small blocks lie close together, and all students use
    the same chunks from their second step on. The page faults take as long as one or two steps.

    Use it after `disable_malloc_trim`, to whose settings it returns.
    """
    glibc = _glibc()
    if glibc is None:
        yield
        return
    glibc.mallopt(M_MMAP_THRESHOLD, LARGE)
    glibc.mallopt(M_MMAP_MAX, EVERY_BLOCK)
    try:
        yield
    finally:
        glibc.mallopt(M_MMAP_MAX, NO_BLOCK)


def release_memory() -> None:
    """Give back what a cohort has left behind: to the system, and to the accelerator.

    A network and its hooks for features refer to each other, so that without the garbage collector
    their memory would still be taken when the next cohort begins.
    """
    gc.collect()
    torch = sys.modules.get("torch")  # whose import takes longer than a command that is refused
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if (glibc := _glibc()) is not None:
        glibc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library of this process; None if it is not glibc."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an accelerator, torch's allocator or Python had no memory left."""
    import torch  # here, so that the settings of malloc can be tested in a process without it

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # torch's CPU allocator raises a plain RuntimeError
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
