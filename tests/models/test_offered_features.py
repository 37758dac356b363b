"""The `features` of every yaml of a student or teacher, for the pairs of loss terms."""

import importlib
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from kdsweep.common.types import Batch, Output
from kdsweep.config.feature_pairs import pairs
from kdsweep.losses.review import Review
from kdsweep.models.components.feature_extractor import FeatureExtractor

CONF = Path(__file__).parents[2] / "conf"
# Any network of a library, by name, and any network at all.
NAMED = ("torchvision", "timm", "timm_features", "hf", "hf_features", "hf_zero_shot", "simkd")
NARROW = 0.25  # times the width of the yaml: at full size most of the time goes into the weights


def configs():
    """Each distinct model with its features, by the first yaml that has it."""
    distinct = {}
    for group in ("student", "teacher"):
        for path in sorted((CONF / group).glob("*.yaml")):
            if path.stem in NAMED:
                continue
            config = OmegaConf.load(path)
            if "_target_" in (config.get("model") or {}):
                model = dict(config.model)
                if isinstance(model.get("width"), float):
                    model["width"] *= NARROW
                distinct.setdefault(
                    repr((model, config.features)),
                    pytest.param((model, config.features), id=f"{group}-{path.stem}"),
                )
    return list(distinct.values())


@pytest.fixture(scope="module", params=configs())
def offered(request):
    """The `features` node of a yaml, and those features of its network."""
    model, features = request.param
    module, _, constructor = model["_target_"].rpartition(".")
    options = {key: value for key, value in model.items() if key != "_target_"}
    network = getattr(importlib.import_module(module), constructor)(
        in_shape=(3, 32, 32), num_classes=10, **options
    )
    for layer in network.modules():  # blocks whose last scale begins with 0 are their shortcuts
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
    maps = [*features.maps, *(features.get("before_relu") or [])]
    names = {*maps, features.hint, features.embedding}
    with torch.no_grad():
        output = FeatureExtractor(network.eval(), names)(torch.rand(2, 3, 32, 32))
    return features, Shapes(output.features)


class Shapes:
    """The shape of each feature, without B."""

    def __init__(self, features):
        self.features = features

    def __getitem__(self, name):
        return self.features[name].shape[1:]


def is_transformer(features):
    return any(name.startswith("blocks.") for name in features.maps)


def test_maps_are_maps_from_large_to_small(offered):
    features, shapes = offered
    maps = [shapes[name] for name in features.maps]
    if is_transformer(features):
        assert {len(shape) for shape in maps} == {2}  # rows of tokens
        return
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
        pytest.skip("its maps do not end in a ReLU")
    for name, map_name in zip(before, features.maps, strict=True):
        value, after = shapes.features[name], shapes.features[map_name]
        assert value.shape == after.shape
        assert value.min() < 0
        if name.endswith(":before_relu"):
            assert torch.equal(value.relu(), after)


def test_reviews_default_pairs_fit_a_teacher_of_the_same_network(offered):
    features, shapes = offered
    if not features.maps or is_transformer(features):
        pytest.skip("no maps")
    root = OmegaConf.create(
        {
            "student": {"features": {"before_relu": None, **features}},
            "teacher": {"members": {}, "peers": {}, "model": {}, "features": None},
        }
    )
    root.teacher.features = root.student.features
    found = pairs("maps/before_relu", "embedding", _root_=root)
    assert [student for student, _ in found] == [*features.maps, features.embedding]
    before = features.get("before_relu") or features.maps
    assert [teacher for _, teacher in found] == [*before, features.embedding]
    term = Review(found, weight=1.0)
    output, index = Output(torch.zeros(2, 10), shapes.features), torch.arange(2)
    term.setup(output, output, index)
    assert torch.isfinite(term(output, output, Batch(torch.zeros(2, 1), index, index)))
