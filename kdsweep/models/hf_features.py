"""Names of features of the networks of Hugging Face's transformers, version 5, by architecture."""

from collections.abc import Mapping
from typing import Any

from kdsweep.models.timm_features import Features, block_paths

# Where the blocks of a transformer are, below the attribute that a classifier has it as.
BLOCKS = {
    **{"vit": ("vit", "layers"), "deit": ("deit", "layers"), "beit": ("beit", "layers")},
    **{name: (name, "encoder.layer") for name in ("dinov2", "dinov2_with_registers")},
    "dinov3_vit": ("", "model.layer"),
    "siglip": ("vision_model", "encoder.layers"),
    "clip": ("vision_model", "encoder.layers"),
}
STAGES = ("convnext", "convnextv2", "resnet", "regnet")  # four stages of maps
KEEPS_PREFIX = ("clip",)  # its tower with a projection
DEPTH = 12  # of a config that does not give it, as in all of transformers'
CLASSIFIED = "classifier:input"  # the vector that the classifier takes


def hf_features(architecture: Mapping[str, Any], has_head: bool) -> Features:
    """The features of an architecture; the maps of others than the above are not known.

    Args:
        architecture: the config of transformers.
        has_head: whether it is a classifier, or the vision tower alone.
    """
    name = str(architecture.get("model_type"))
    vector = CLASSIFIED if has_head else "embedding"
    if name in STAGES:
        parent = f"{name}.encoder.stages" if has_head else "encoder.stages"
        maps = tuple(f"{parent}.{number}" for number in range(4))
        return Features(maps, vector, maps[1])
    if name not in BLOCKS:
        return Features(None, vector, vector)
    prefix, path = BLOCKS[name]
    parts = [prefix if has_head or name in KEEPS_PREFIX else "", path]
    depth = architecture.get("vision_config", architecture).get("num_hidden_layers", DEPTH)
    return Features(tuple(block_paths(depth, ".".join(filter(None, parts)))), vector, vector)
