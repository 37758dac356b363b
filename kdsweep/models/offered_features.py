"""Which features the networks of libraries offer where a config names none."""

from collections.abc import Mapping
from typing import Any

from kdsweep.models.hf_features import hf_features
from kdsweep.models.hf_folder import read_architecture
from kdsweep.models.timm_features import Features, timm_features

TIMM = "kdsweep.models.timm_model.Timm"
TRANSFORMERS = "kdsweep.models.hf_model.HuggingFace"


def offered_features(model: Mapping[str, Any]) -> Features | None:
    """Those of the family of a network, by its config node; None if its family has none.

    Raises ValueError for a folder that is none of Hugging Face.
    """
    target = model.get("_target_")
    if target == TIMM:
        return timm_features(str(model.get("name")))
    if target == TRANSFORMERS and (folder := model.get("path")) is not None:
        return hf_features(read_architecture(str(folder)), has_head=model.get("head", True))
    return None
