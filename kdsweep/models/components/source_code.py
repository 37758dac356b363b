"""The source code that a network is made of."""

import hashlib
import sys
from functools import cache
from pathlib import Path

from torch import nn


def source_digest(model: nn.Module) -> str:
    """sha256 over the files that define the classes of a network's modules, in hex.

    Those of torch are left out: its version identifies them.
    """
    names = {type(module).__module__ for module in model.modules()}
    own = sorted(name for name in names if name.partition(".")[0] != "torch")
    return hashlib.sha256("".join(map(_file_digest, own)).encode()).hexdigest()


@cache  # a file that is edited later is not the code that this process runs
def _file_digest(module: str) -> str:
    """Of the name of an imported module and its file, if it has one."""
    file = getattr(sys.modules.get(module), "__file__", None)
    content = b"" if file is None else Path(file).read_bytes()
    return hashlib.sha256(f"{module}\0".encode() + content).hexdigest()
