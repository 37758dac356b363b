"""The source code that a network is made of."""

import hashlib
import sys
from contextlib import suppress
from functools import cache
from importlib import metadata
from importlib.metadata import PackageNotFoundError
from pathlib import Path

from torch import nn


def source_digest(model: nn.Module) -> str:
    """sha256 over the files that define the classes of a network's modules, in hex.

    With the versions of the packages that these are from, whose functions they may call. Those of
    torch are left out.
    """
    names = {type(module).__module__ for module in model.modules()}
    own = sorted(name for name in names if name.partition(".")[0] != "torch")
    return hashlib.sha256("".join(map(_file_digest, own)).encode()).hexdigest()


@cache  # a file that is edited later is not the code that this process runs
def _file_digest(module: str) -> str:
    """Of the name of a module, its file and the version of its package, if it has them."""
    version = ""
    with suppress(PackageNotFoundError):
        version = metadata.version(module.partition(".")[0])
    file = getattr(sys.modules.get(module), "__file__", None)
    content = b"" if file is None else Path(file).read_bytes()
    return hashlib.sha256(f"{module}\0{version}\0".encode() + content).hexdigest()
