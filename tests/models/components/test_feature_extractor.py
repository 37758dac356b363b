import pytest
import torch
from torch import nn

from kdsweep.models.cnn import CNN
from kdsweep.models.components.feature_extractor import FeatureExtractor

IMAGES = torch.rand(3, 1, 8, 8)


def cnn() -> CNN:
    torch.manual_seed(0)
    return CNN((1, 8, 8), 10, width=4)


class Overwriting(nn.Module):
    """Writes into a stage's output afterwards, as torchvision's ResNets do."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = nn.Linear(4, 4, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = self.stage(images)
        hidden += 100
        return self.relu(hidden)


class Odd(nn.Module):
    """One module is never run, another returns no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Identity()
        self.pair = Pair()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.pair(images)[0]


class Pair(nn.Module):
    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return images, images


def test_logits_are_those_of_the_model():
    model = cnn().eval()
    assert torch.equal(FeatureExtractor(model, ["stage2"])(IMAGES).logits, model(IMAGES))


def test_features_come_by_module_path_in_the_order_of_the_names():
    output = FeatureExtractor(cnn(), ["stage2.0", "pool", "stage1"])(IMAGES)
    assert {name: tuple(feature.shape) for name, feature in output.features.items()} == {
        "stage2.0": (3, 8, 8, 8),
        "pool": (3, 16),
        "stage1": (3, 4, 8, 8),
    }
    assert list(output.features) == ["stage2.0", "pool", "stage1"]


def test_the_pool_is_the_mean_of_the_last_stage():
    features = FeatureExtractor(cnn(), ["stage3", "pool"])(IMAGES).features
    torch.testing.assert_close(features["pool"], features["stage3"].mean(dim=(2, 3)))


def test_without_names_there_are_no_hooks_and_no_features():
    extractor = FeatureExtractor(cnn())
    assert not any(module._forward_hooks for module in extractor.model.modules())
    assert extractor(IMAGES).features == {}


def test_close_removes_every_hook():
    extractor = FeatureExtractor(cnn(), ["stage1", "pool"])
    assert sum(len(module._forward_hooks) for module in extractor.model.modules()) == 2
    extractor.close()
    assert not any(module._forward_hooks for module in extractor.model.modules())


def test_two_extractors_of_one_model_are_independent():
    model = cnn()
    first, second = FeatureExtractor(model, ["stage1"]), FeatureExtractor(model, ["stage2"])
    assert list(first(IMAGES).features) == ["stage1"]
    assert list(second(IMAGES).features) == ["stage2"]


def test_gradients_flow_through_a_feature():
    extractor = FeatureExtractor(cnn(), ["stage1"])
    extractor(IMAGES).features["stage1"].sum().backward()
    assert extractor.model.get_submodule("stage1.0").weight.grad.abs().sum() > 0


def test_a_feature_is_not_changed_when_the_model_modifies_it_in_place():
    extractor = FeatureExtractor(Overwriting(), ["stage"])
    images = torch.rand(2, 4)
    captured = extractor(images).features["stage"]
    assert torch.equal(captured, extractor.model.stage(images))


@pytest.mark.parametrize("grad_mode", [torch.no_grad, torch.inference_mode])
def test_works_without_gradients(grad_mode):
    with grad_mode():
        assert FeatureExtractor(cnn(), ["pool"])(IMAGES).features["pool"].shape == (3, 16)


def test_unknown_feature_is_named_with_the_nearest_paths():
    with pytest.raises(ValueError, match=r"feature 'stage22' must be .* stage1, .*near to it: st"):
        FeatureExtractor(cnn(), ["stage22"])


def test_the_model_itself_is_no_feature():
    with pytest.raises(ValueError, match="feature '' must be a module path"):
        FeatureExtractor(cnn(), [""])


def test_a_refused_name_leaves_no_hook_behind():
    model = cnn()
    with pytest.raises(ValueError, match="stage9"):
        FeatureExtractor(model, ["stage1", "stage9"])
    assert not any(module._forward_hooks for module in model.modules())


def test_a_module_that_never_runs_is_named():
    with pytest.raises(ValueError, match="feature 'unused' is never computed by Odd"):
        FeatureExtractor(Odd(), ["unused"])(IMAGES)


def test_an_output_that_is_no_tensor_is_named():
    with pytest.raises(ValueError, match="feature 'pair' is no tensor but a tuple"):
        FeatureExtractor(Odd(), ["pair"])(IMAGES)


class Block(nn.Module):
    """One ReLU twice, in place, as torchvision's blocks have it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.relu(self.second(self.relu(self.first(images))) + images)


def test_before_relu_is_what_goes_into_the_last_relu_of_a_module():
    torch.manual_seed(0)
    model, images = nn.Sequential(Block(), nn.Linear(4, 2)), torch.randn(3, 4)
    features = FeatureExtractor(model, ["0:before_relu", "0"])(images).features
    hidden = model[0].first(images).relu()
    assert torch.equal(features["0:before_relu"], model[0].second(hidden) + images)
    assert features["0:before_relu"].min() < 0
    assert torch.equal(features["0"], features["0:before_relu"].relu())


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("pool:before_relu", "'pool:before_relu' must be a module with a ReLU"),
        ("stage9:before_relu", "'stage9:before_relu' must be a module path"),
        ("stage1:after_relu", "'stage1:after_relu' must be a module path"),
        ("stage9:class_maps", "'stage9:class_maps' must be a module path"),
    ],
)
def test_positions_that_are_not_there_are_refused(name, sentence):
    with pytest.raises(ValueError, match=sentence):
        FeatureExtractor(cnn(), [name])


def test_an_input_is_what_goes_into_a_module():
    features = FeatureExtractor(cnn(), ["pool:input", "stage3", "pool"])(IMAGES).features
    assert torch.equal(features["pool:input"], features["stage3"])
    assert torch.equal(features["pool:input"].mean(dim=(2, 3)), features["pool"])


def test_class_maps_are_the_logits_of_each_position():
    model = cnn()
    output = FeatureExtractor(model, ["pool:class_maps", "stage3"])(IMAGES)
    maps = output.features["pool:class_maps"]
    assert maps.shape == (3, 10, *output.features["stage3"].shape[2:])
    torch.testing.assert_close(maps.mean(dim=(2, 3)) + model.head.bias, output.logits)
    maps.sum().backward()
    assert model.head.weight.grad.abs().sum() > 0
    assert model.stage1[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("name", "got"), [("stage1:class_maps", r"\(B, 1, 8, 8\)"), ("head:class_maps", r"\(B, 16\)")]
)
def test_class_maps_of_something_else_than_the_last_map_are_refused(name, got):
    sentence = f"'{name}' must be of a module that takes a map with the 16 channels .*, got {got}"
    with pytest.raises(ValueError, match=sentence):
        FeatureExtractor(cnn(), [name])(IMAGES)


def test_class_maps_of_a_network_without_a_classifier_are_refused():
    with pytest.raises(ValueError, match="must have a linear layer as its classifier"):
        FeatureExtractor(nn.Sequential(nn.Conv2d(1, 4, 3)), ["0:class_maps"])


def test_a_feature_in_train_mode_is_normalised_by_the_batch():
    model, images = cnn().eval(), torch.randn(5, 1, 8, 8)
    names = ["stage2:train", "stage2", "stage1:before_relu:train"]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    output = FeatureExtractor(model, names).with_train_features(images)
    assert list(output.features) == names
    assert torch.equal(output.logits, model(images))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    training = FeatureExtractor(model.train(), ["stage2", "stage1:before_relu"])(images).features
    assert torch.equal(output.features["stage2:train"], training["stage2"])
    before_relu = training["stage1:before_relu"]
    assert torch.equal(output.features["stage1:before_relu:train"], before_relu)
    assert not torch.allclose(output.features["stage2"], training["stage2"])


def test_in_eval_mode_a_call_leaves_the_features_of_train_mode_out():
    extractor = FeatureExtractor(cnn().eval(), ["stage2:train", "stage2"])
    assert list(extractor(IMAGES).features) == ["stage2"]


def test_in_train_mode_a_model_runs_once():
    extractor, runs = FeatureExtractor(cnn().train(), ["stage2:train", "stage2"]), []
    extractor.model.register_forward_hook(lambda *_: runs.append(1))
    for output in (extractor(IMAGES), extractor.with_train_features(IMAGES)):
        assert torch.equal(output.features["stage2:train"], output.features["stage2"])
    assert len(runs) == 2


def test_dropout_stays_off_in_train_mode():
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(4), nn.Linear(4, 2)).eval()
    images = torch.randn(6, 4)
    features = FeatureExtractor(model, ["0:train"]).with_train_features(images).features
    assert torch.equal(features["0:train"], images)


def test_a_pass_that_fails_leaves_the_model_in_eval_mode():
    model = nn.Sequential(nn.BatchNorm1d(4)).eval()
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        FeatureExtractor(model, ["0:train"]).with_train_features(torch.randn(1, 4))
    assert not model[0].training
    assert model[0].track_running_stats


@pytest.mark.parametrize("name", ["stage1", "stage1:before_relu", "pool:class_maps"])
def test_the_model_by_itself_copies_no_feature(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = cnn()
    extractor = FeatureExtractor(model, [name])
    expected = extractor(IMAGES).logits
    copies: list[torch.Tensor] = []
    clone = torch.Tensor.clone
    monkeypatch.setattr(torch.Tensor, "clone", lambda self: copies.append(self) or clone(self))
    assert torch.equal(model(IMAGES), expected)
    assert copies == []
    extractor(IMAGES)
    assert len(copies) == 1
