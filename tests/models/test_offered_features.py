"""What every yaml of a student or teacher says that its network offers to loss terms."""

import importlib
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from kdsweep.models.components.feature_extractor import FeatureExtractor

CONF = Path(__file__).parents[2] / "conf"
FILES = [
    path
    for group in ("student", "teacher")
    for path in sorted((CONF / group).glob("*.yaml"))
    if path.stem not in ("torchvision", "timm")  # networks by name, of which any may be meant
    and "_target_" in (OmegaConf.load(path).get("model") or {})
]


@pytest.fixture(scope="module", params=FILES, ids=lambda path: f"{path.parent.stem}-{path.stem}")
def offered(request):
    """The `features` node of a yaml, and the shapes that its network gives them, without B."""
    config = OmegaConf.load(request.param)
    model = dict(config.model)
    module, _, constructor = model.pop("_target_").rpartition(".")
    network = getattr(importlib.import_module(module), constructor)(
        in_shape=(3, 32, 32), num_classes=10, **model
    )
    maps = [*config.features.maps, *(config.features.get("before_relu") or [])]
    names = {*maps, config.features.hint, config.features.embedding}
    with torch.no_grad():
        output = FeatureExtractor(network.eval(), names)(torch.rand(2, 3, 32, 32))
    return config.features, Shapes(output.features)


class Shapes:
    """The shape of each feature, without B."""

    def __init__(self, features):
        self.features = features

    def __getitem__(self, name):
        return self.features[name].shape[1:]


def test_maps_are_maps_from_large_to_small(offered):
    features, shapes = offered
    maps = [shapes[name] for name in features.maps]
    assert all(len(shape) == 3 for shape in maps)
    heights = [height for _, height, _ in maps]
    assert heights == sorted(heights, reverse=True)


def test_the_embedding_is_a_vector(offered):
    features, shapes = offered
    channels, *positions = shapes[features.embedding]
    assert channels > 1
    assert all(size == 1 for size in positions)


def test_the_hint_is_a_map_or_a_vector(offered):
    features, shapes = offered
    assert len(shapes[features.hint]) in (1, 3)


def test_maps_before_their_relu_become_the_maps(offered):
    features, shapes = offered
    if (before := features.get("before_relu")) is None:
        pytest.skip("its maps are as they are")
    assert len(before) == len(features.maps)
    for place, name in enumerate(before):
        value, then = shapes.features[name], shapes.features[features.maps[place]]
        assert value.shape == then.shape
        assert value.min() < 0
        if name.endswith(":before_relu"):
            assert torch.equal(value.relu(), then)
