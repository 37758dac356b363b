"""Folders that `save_pretrained` of transformers writes: tiny networks with random weights."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

WIDTH, PATCH = 16, 8
SIZES = {
    **{"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"intermediate_size": 32, "patch_size": PATCH},
}
OF_CLIP = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.261302, 0.2757777]}


def transformers() -> Any:
    """The package; a test is skipped where it is not installed."""
    return pytest.importorskip("transformers", reason="transformers: pip install 'kdsweep[hf]'")


def vit_config(labels: int = 4, side: int = 32, **options: Any) -> Any:
    given = {**SIZES, "image_size": side, "num_labels": labels, **options}
    return transformers().ViTConfig(**given)


def write_vit(folder: Path, labels: int = 4, side: int = 32, **options: Any) -> nn.Module:
    """A classifier in a folder, with its preprocessing; returns it in eval mode."""
    return _write(
        transformers().ViTForImageClassification, vit_config(labels, side, **options), folder
    )


def write_resnet(folder: Path, labels: int = 4) -> nn.Module:
    config = transformers().ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], num_labels=labels
    )
    return _write(transformers().ResNetForImageClassification, config, folder)


def write_clip(folder: Path, side: int = 32) -> nn.Module:
    """CLIP with both towers, of which the vision tower is read."""
    vision = {**SIZES, "image_size": side, "projection_dim": 12}
    text = {**SIZES, "vocab_size": 20, "max_position_embeddings": 8, "projection_dim": 12}
    text.pop("patch_size")
    config = transformers().CLIPConfig(vision_config=vision, text_config=text, projection_dim=12)
    return _write(transformers().CLIPModel, config, folder)


def write_dinov2(folder: Path, side: int = 32) -> nn.Module:
    """A tower without a classifier, under the names of the tower."""
    config = transformers().Dinov2Config(**{**SIZES, "image_size": side})
    return _write(transformers().Dinov2Model, config, folder)


def write_preprocessing(folder: Path, **options: Any) -> None:
    content = {
        **{"do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True},
        **{"image_mean": OF_CLIP["mean"], "image_std": OF_CLIP["std"]},
        "size": {"height": 32, "width": 32},
        **options,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(content))


def _write(network: Any, config: Any, folder: Path) -> nn.Module:
    torch.manual_seed(7)
    model: nn.Module = network._from_config(config).eval()
    for parameter in model.parameters():  # heads of zeros and such would hide an error
        parameter.data += 0.05 * torch.randn(parameter.shape)
    model.save_pretrained(folder)
    write_preprocessing(folder)
    return model
