"""Safetensors files whose bytes depend on their content alone."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

LENGTH = 8  # bytes at the beginning, little endian: how long the header is


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors by name, with string metadata; equal content gives equal bytes.

    Raises OSError if the file cannot be written.
    """
    on_cpu = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    # Not {}: beside no tensors safetensors makes a damaged file of it.
    save_file(on_cpu, path, dict(metadata) if metadata else None)
    _sort_header(path)


def _sort_header(path: Path) -> None:
    """Sort the names in the header: safetensors writes metadata in a random order."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(LENGTH), "little")
        names = json.loads(file.read(length))
        header = json.dumps(names, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        encoded = header.encode().ljust(length)
        if len(encoded) != length:  # the tensors begin right behind it
            raise ValueError(f"{path} has a header of {length} bytes, got {len(encoded)} sorted")
        file.seek(LENGTH)
        file.write(encoded)
