"""Small classifiers on disk, without any training."""

from pathlib import Path

import torch

from kdsweep.deploy.architecture import build_module
from kdsweep.deploy.bundle import write_bundle
from kdsweep.deploy.manifest import Manifest
from kdsweep.deploy.preprocessing import Preprocessing

MLP = {"_target_": "kdsweep.models.mlp.MLP", "width": 8, "dropout": 0.0}
RGB = Preprocessing(3, (6, 8), (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), crop=True)


def manifest(**options: object) -> Manifest:
    """That of an MLP for colour images of 6 x 8 pixels, of cats and dogs."""
    given = {"model": MLP, "classes": ("cat", "dog"), "preprocessing": RGB, **options}
    return Manifest(**given)  # type: ignore[arg-type]


def written(folder: Path, seed: int = 0, **options: object) -> Path:
    """A bundle with random weights."""
    content = manifest(**options)
    module = build_module(content)
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data.normal_(generator=generator)
    return write_bundle(folder, module, content)
