import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kdsweep.builders.losses import build_objective
from kdsweep.common.types import Output
from kdsweep.config.resolve import resolve_config
from kdsweep.losses.base.regressors import regressor_between
from kdsweep.losses.fitnet import FitNet, Hint
from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.models.tutorial import DeepNN, LightNN


def outputs(*shapes):
    """An Output with features f0, f1, ... of the shapes given, and gradients."""
    generator = torch.Generator().manual_seed(0)
    features = {
        f"f{i}": torch.randn(shape, generator=generator, requires_grad=True)
        for i, shape in enumerate(shapes)
    }
    return Output(torch.zeros(len(features["f0"]), 5), features)


def bound(pairs, student, teacher):
    torch.manual_seed(0)
    term = FitNet(pairs=pairs, weight=100.0)
    term.setup(student, teacher, torch.arange(100) % 10)
    return term


def test_golden_value_with_the_identity_as_regressor(student, teacher, batch):
    term = bound([["student_map", "teacher_map"]], student, teacher)
    term.links[0] = Hint(nn.Identity())
    assert term(student, teacher, batch).item() == pytest.approx(0.4901060524, abs=1e-9)


def test_zero_when_the_regressed_feature_equals_the_teachers(student, batch):
    term = FitNet([["student_map", "student_map"]], weight=1.0)
    term.links.append(Hint(nn.Identity()))
    assert term(student, student, batch).item() == 0.0


@pytest.mark.parametrize(
    ("fs", "ft", "convolution"),
    [
        ((2, 3, 8, 8), (2, 5, 4, 4), nn.Conv2d(3, 5, 3, stride=2, padding=1)),
        ((2, 3, 4, 4), (2, 5, 8, 8), nn.ConvTranspose2d(3, 5, 4, stride=2, padding=1)),
        ((2, 3, 8, 8), (2, 5, 8, 8), nn.Conv2d(3, 5, 1)),
        ((2, 3, 8, 8), (2, 5, 6, 6), nn.Conv2d(3, 5, 3)),
        ((2, 3, 9, 7), (2, 5, 8, 7), nn.Conv2d(3, 5, (2, 1))),
    ],
)
def test_maps_get_the_convolution_of_conv_reg_then_batch_norm_and_relu(fs, ft, convolution):
    regressor = regressor_between(fs, ft)
    assert repr(regressor) == repr(nn.Sequential(convolution, nn.BatchNorm2d(5), nn.ReLU()))
    assert regressor(torch.rand(fs)).shape == ft


@pytest.mark.parametrize(
    ("fs", "ft", "convolution"),
    [
        ((2, 3, 8, 8), (2, 5, 8, 8), nn.Conv2d(3, 5, 3, padding=1)),
        ((2, 3, 8, 8), (2, 5, 4, 4), nn.Conv2d(3, 5, 3, stride=2, padding=1)),
    ],
)
def test_the_regressor_may_be_a_convolution_alone(fs, ft, convolution):
    regressor = regressor_between(fs, ft, "conv")
    assert repr(regressor) == repr(convolution)
    assert regressor(torch.rand(fs)).shape == ft


def test_features_of_equal_shapes_may_be_compared_as_they_are(case, golden):
    made = case(FitNet, [golden.fs, golden.es], [golden.ft3, golden.es], regressor="none")
    assert list(made.term.parameters()) == []
    assert made.value().item() == pytest.approx(0.4901060524 / 2, abs=1e-9)


def test_without_a_regressor_features_of_two_shapes_are_refused(case, golden):
    message = (
        r"^pairs \[f0, f0\]: features must have equal shapes with regressor=none, "
        r"got \(B, 3, 4, 4\) and \(B, 6, 4, 4\)$"
    )
    with pytest.raises(ValueError, match=message):
        case(FitNet, [golden.fs], [golden.ft], regressor="none")


@pytest.mark.parametrize(
    ("recipe", "number"), [("plain", 5), ("residual", 5), ("residual_4maps", 4)]
)
def test_the_recipes_for_imagenette_add_plain_distances_to_cross_entropy(
    compose, batch, recipe, number
):
    """The total of notebooks/main.ipynb of IvLabs/stagewise-knowledge-distillation, whose teacher's
    maps are the first ones, from that of the stem."""
    config = compose(f"experiment=fitnets_imagenette_{recipe}")
    objective = build_objective(resolve_config(config))
    pairs = objective.terms["fitnet"].pairs
    taken = [path for _, path in pairs]
    assert taken == ["relu", "layer1", "layer2", "layer3", "layer4"][:number]
    features = torch.randn(2, number, 4, 3, 8, 8, dtype=torch.float64)
    paths = zip(*pairs, strict=True)
    student, teacher = (
        Output(torch.randn(4, 10, dtype=torch.float64), dict(zip(names, maps, strict=True)))
        for names, maps in zip(paths, features, strict=True)
    )
    objective.terms["fitnet"].setup(student, teacher, batch.labels)
    loss = sum(F.mse_loss(*maps) for maps in zip(*features, strict=True))
    loss += F.cross_entropy(student.logits, batch.labels)
    torch.testing.assert_close(objective(student, teacher, batch)[0], loss, rtol=1e-14, atol=0)


def test_the_recipe_of_pytorchs_tutorial_has_its_regressor(compose, batch):
    """A 3x3 convolution from 16 to 32 channels, weight 0.25 against 0.75 of cross-entropy
    (pytorch/tutorials, beginner_source/knowledge_distillation_tutorial.py)."""
    config = compose("experiment=tutorial_fitnet")
    term = build_objective(resolve_config(config)).terms["fitnet"]
    ((student_path, teacher_path),) = term.pairs
    student = FeatureExtractor(LightNN((3, 32, 32), 10), [student_path])
    teacher = FeatureExtractor(DeepNN((3, 32, 32), 10), [teacher_path])
    images = torch.rand(2, 3, 32, 32)
    outputs = student(images), teacher(images)
    term.setup(*outputs, torch.arange(2))
    (regressor,) = (link.regressor for link in term.links)
    assert repr(regressor) == repr(nn.Conv2d(16, 32, 3, padding=1))
    hint = F.mse_loss(regressor(outputs[0].features[student_path]), *outputs[1].features.values())
    torch.testing.assert_close(term(*outputs, batch), hint)
    assert (term.weight, config.hard_weight) == (0.25, 0.75)


@pytest.mark.parametrize("regressor", ["linear", None])
def test_another_regressor_is_refused(regressor):
    with pytest.raises(ValueError, match=r"^regressor must be one of conv_reg, conv, none, got"):
        FitNet([["f0", "f0"]], weight=1.0, regressor=regressor)


@pytest.mark.parametrize(
    ("fs", "ft"), [((2, 64), (2, 128)), ((2, 16, 64), (2, 16, 32)), ((2, 7), (2, 7))]
)
def test_vectors_and_tokens_get_a_linear_layer(fs, ft):
    regressor = regressor_between(fs, ft)
    assert isinstance(regressor, nn.Linear)
    assert regressor(torch.rand(fs)).shape == ft


@pytest.mark.parametrize(
    ("fs", "ft"),
    [
        ((2, 3, 4, 4), (2, 3, 6, 6)),  # larger, but not twice as large
        ((2, 3, 8, 4), (2, 3, 4, 8)),
        ((2, 3), (2, 3, 4, 4)),
        ((2, 16, 64), (2, 17, 64)),
        ((2,), (2,)),
    ],
)
def test_a_pair_that_cannot_be_matched_is_named(fs, ft):
    with pytest.raises(ValueError, match=r"pairs \[f0, f0\]: features must be .* got"):
        bound([["f0", "f0"]], outputs(fs), outputs(ft))


def test_the_value_is_the_mean_over_the_pairs(batch):
    student, teacher = outputs((4, 6), (4, 6)), outputs((4, 6), (4, 6))
    term = FitNet([["f0", "f0"], ["f1", "f1"]], weight=1.0)
    term.links.extend([Hint(nn.Identity()), Hint(nn.Identity())])
    first, second = (F.mse_loss(student.features[f], teacher.features[f]) for f in ("f0", "f1"))
    torch.testing.assert_close(term(student, teacher, batch), (first + second) / 2)


def test_the_features_it_needs_are_declared_once_each():
    term = FitNet([["a", "x"], ["b", "x"], ["a", "y"]], weight=1.0)
    assert term.student_features == ("a", "b")
    assert term.teacher_features == ("x", "y")


def test_gradients_reach_regressor_and_student_but_not_the_teacher(batch):
    student, teacher = outputs((4, 3, 8, 8)), outputs((4, 5, 4, 4))
    term = bound([["f0", "f0"]], student, teacher)
    term(student, teacher, batch).backward()
    assert all(parameter.grad is not None for parameter in term.parameters())
    assert student.features["f0"].grad.abs().sum() > 0
    assert teacher.features["f0"].grad is None


def test_binding_is_seeded():
    student, teacher = outputs((4, 6)), outputs((4, 3))
    twins = [bound([["f0", "f0"]], student, teacher).links[0].regressor.weight for _ in range(2)]
    assert torch.equal(*twins)


def test_state_and_copies_hold_the_regressors(batch):
    student, teacher = outputs((4, 3, 8, 8)), outputs((4, 5, 4, 4))
    term = bound([["f0", "f0"]], student, teacher)
    twin = copy.deepcopy(term)
    assert list(twin.state_dict()) == list(term.state_dict())
    assert any(name.endswith("running_mean") for name in term.state_dict())
    assert torch.equal(term(student, teacher, batch), twin(student, teacher, batch))


def test_training_lowers_it(batch):
    student, teacher = outputs((4, 3, 8, 8)), outputs((4, 5, 4, 4))
    term = bound([["f0", "f0"]], student, teacher)
    optimizer = torch.optim.Adam(term.parameters(), lr=0.05)
    values = []
    for _ in range(20):
        value = term(student, teacher, batch)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.9 * values[0]


def test_bf16_features_are_compared_in_float32(batch):
    student, teacher = outputs((4, 3, 8, 8)), outputs((4, 5, 4, 4))
    term = bound([["f0", "f0"]], student, teacher)
    halved = [Output(o.logits, {"f0": o.features["f0"].bfloat16()}) for o in (student, teacher)]
    outside = term(*halved, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = term(*halved, batch)
    for value in (inside, outside):
        assert value.dtype == torch.float32
        assert torch.isfinite(value)


def test_a_step_before_setup_is_an_error(student, teacher, batch):
    with pytest.raises(RuntimeError, match="setup must be called"):
        FitNet([["student_map", "teacher_map"]], weight=1.0)(student, teacher, batch)


@pytest.mark.parametrize(
    "pairs", [[], None, "pool", ["pool", "pool"], [["a"]], [["a", "b", "c"]], [[1, 2]]]
)
def test_bad_pairs_are_refused(pairs):
    with pytest.raises(ValueError, match=r"pairs must be \[\[student_feature, "):
        FitNet(pairs, weight=1.0)
