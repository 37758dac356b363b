"""Telling a full memory from other errors."""

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an accelerator, torch's allocator or Python had no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # torch's CPU allocator raises a plain RuntimeError
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
