"""The source code that a network is made of."""

import hashlib
import sys
from pathlib import Path

from torch import nn


def source_digest(model: nn.Module) -> str:
    """sha256 over the files that define the classes of a network's modules, in hex.

    Those of torch are left out: its version identifies them.
    """
    names = {type(module).__module__ for module in model.modules()}
    digest = hashlib.sha256()
    for name in sorted(names):
        if name.partition(".")[0] == "torch":
            continue
        file = getattr(sys.modules.get(name), "__file__", None)
        digest.update(f"{name}\0".encode())
        digest.update(b"" if file is None else Path(file).read_bytes())
    return digest.hexdigest()
