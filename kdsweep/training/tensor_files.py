"""Safetensors files with deterministic bytes."""

import json
from collections.abc import Mapping

from safetensors.torch import save
from torch import Tensor

LENGTH = 8  # bytes at the beginning, little endian: the length of the header


def tensors_as_bytes(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> bytearray:
    """A file of tensors by name, with string metadata; equal content gives equal bytes.

    Errors of a device or of its memory are raised here.
    """
    on_cpu = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    # None, not {}: with {} and no tensors safetensors writes a damaged file.
    content = bytearray(save(on_cpu, dict(metadata) if metadata else None))
    # Sort the names in the header: safetensors writes metadata in a random order.
    end = LENGTH + int.from_bytes(content[:LENGTH], "little")
    names = json.loads(content[LENGTH:end])
    header = json.dumps(names, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    encoded = header.encode().ljust(end - LENGTH)
    if LENGTH + len(encoded) != end:  # the tensors begin right after it
        raise ValueError(f"the header must have {end - LENGTH} bytes, got {len(encoded)} sorted")
    content[LENGTH:end] = encoded
    return content
