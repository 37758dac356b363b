"""Properties of every own family: training steps, bf16, seeding, named features, its yamls."""

import copy
import importlib
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf

from kdsweep.models.basic_resnet import BasicResNet
from kdsweep.models.bottleneck_resnet import BottleneckResNet
from kdsweep.models.cifar_resnet import ResNet
from kdsweep.models.cnn import CNN
from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.models.convnet4 import ConvNet4
from kdsweep.models.imagenette import PlainNet, ResidualNet
from kdsweep.models.mlp import MLP
from kdsweep.models.mobilenetv2 import MobileNetV2
from kdsweep.models.shufflenetv1 import ShuffleNetV1
from kdsweep.models.shufflenetv2 import ShuffleNetV2
from kdsweep.models.tutorial import DeepNN, LightNN
from kdsweep.models.vgg import VGG
from kdsweep.models.vit import VisionTransformer
from kdsweep.models.wide_resnet import WideResNet
from kdsweep.training.arithmetic import put_in_format
from kdsweep.training.folding import Folding
from kdsweep.training.one_device import OneDevice

CONF = Path(__file__).parents[2] / "conf"
# Any network of a library, by name, and any network at all.
NAMED = ("torchvision", "timm", "timm_features", "hf", "hf_features", "hf_zero_shot", "simkd")
RECIPES = CONF / "teacher" / "recipe"
SMALL, LARGE = (1, 8, 8), (3, 32, 32)
# No BatchNorm, or none right after a convolution: Imagenette's come after a ReLU.
UNFOLDABLE = {"mlp", "lightnn", "deepnn", "vit", "imagenette_plain", "imagenette_residual"}

# name -> (constructor, its own options, shape of an image, features by name without B)
FAMILIES = {
    "mlp": (MLP, {"width": 64}, SMALL, {"hidden1": (64,), "hidden2": (64,)}),
    "cnn": (
        CNN,
        {"width": 8},
        SMALL,
        {"stage1": (8, 8, 8), "stage2": (16, 8, 8), "stage3": (32, 4, 4), "pool": (32,)},
    ),
    "resnet8": (
        ResNet,
        {"depth": 8},
        LARGE,
        {
            "stem": (16, 32, 32),
            "stage1": (16, 32, 32),
            "stage2": (32, 16, 16),
            "stage3": (64, 8, 8),
            "stage3.0": (64, 8, 8),
            "pool": (64,),
        },
    ),
    "vgg16": (
        VGG,
        {"depth": 16, "width": 0.125},
        LARGE,
        {
            "stage1": (8, 32, 32),
            "stage2": (16, 16, 16),
            "stage3": (32, 8, 8),
            "stage4": (64, 4, 4),
            "stage5": (64, 2, 2),
            "pool": (64,),
        },
    ),
    "convnet4": (
        ConvNet4,
        {"width": 16},
        LARGE,
        {
            "stage1": (16, 32, 32),
            "stage2": (16, 16, 16),
            "stage3": (16, 8, 8),
            "stage4": (16, 4, 4),
            "flatten": (64,),
        },
    ),
    "resnet50": (
        BottleneckResNet,
        {"depth": 50, "width": 0.125},
        LARGE,
        {
            "stem": (8, 32, 32),
            "stage1": (32, 32, 32),
            "stage2": (64, 16, 16),
            "stage3": (128, 8, 8),
            "stage4": (256, 4, 4),
            "stage4.0": (256, 4, 4),
            "pool": (256,),
        },
    ),
    "resnet18": (
        BasicResNet,
        {"depth": 18, "width": 0.125},
        LARGE,
        {
            "stem": (8, 32, 32),
            "stage1": (8, 32, 32),
            "stage2": (16, 16, 16),
            "stage3": (32, 8, 8),
            "stage4": (64, 4, 4),
            "stage4.0": (64, 4, 4),
            "pool": (64,),
        },
    ),
    "wide_resnet": (
        WideResNet,
        {"depth": 10, "width": 0.5},
        LARGE,
        {
            "stem": (16, 32, 32),
            "stage1": (8, 32, 32),
            "stage2": (16, 16, 16),
            "stage3": (32, 8, 8),
            "stage3.0": (32, 8, 8),
            "pool": (32,),
        },
    ),
    "mobilenetv2": (
        MobileNetV2,
        {"width": 0.25},
        LARGE,
        {
            "stem": (8, 16, 16),
            "stage1": (6, 16, 16),
            "stage2": (8, 8, 8),
            "stage3": (24, 4, 4),
            "stage4": (80, 2, 2),
            "last": (1280, 2, 2),
            "pool": (1280,),
        },
    ),
    "shufflenetv1": (
        ShuffleNetV1,
        {"width": 0.25},
        LARGE,
        {
            "stem": (24, 32, 32),
            "stage1": (60, 16, 16),
            "stage2": (120, 8, 8),
            "stage3": (240, 4, 4),
            "pool": (240,),
        },
    ),
    "shufflenetv2": (
        ShuffleNetV2,
        {"width": 0.25},
        LARGE,
        {
            "stem": (24, 32, 32),
            "stage1": (28, 16, 16),
            "stage2": (58, 8, 8),
            "stage3": (116, 4, 4),
            "last": (1024, 4, 4),
            "pool": (1024,),
        },
    ),
    "lightnn": (
        LightNN,
        {"width": 0.5},
        LARGE,
        {"stage1": (8, 16, 16), "stage2": (8, 8, 8), "flatten": (512,), "hidden": (128,)},
    ),
    "deepnn": (
        DeepNN,
        {"width": 0.125},
        LARGE,
        {"stage1": (8, 16, 16), "stage2": (4, 8, 8), "flatten": (256,), "hidden": (64,)},
    ),
    "imagenette_plain": (
        PlainNet,
        {"width": 0.125},
        LARGE,
        {
            "stage1": (8, 16, 16),
            "stage2": (8, 8, 8),
            "stage3": (16, 4, 4),
            "stage4": (32, 2, 2),
            "stage5": (64, 1, 1),
            "hidden": (64,),
        },
    ),
    "imagenette_residual": (
        ResidualNet,
        {"width": 0.125},
        LARGE,
        {
            "stem": (8, 16, 16),
            "stage1": (8, 8, 8),
            "stage2": (16, 4, 4),
            "stage3": (32, 2, 2),
            "stage4": (64, 1, 1),
            "pool": (128,),
            "hidden": (32,),
        },
    ),
    "vit": (
        VisionTransformer,
        {"patch": 8, "width": 24, "depth": 2, "distillation_token": True},
        LARGE,
        {
            "patch_embed": (16, 24),
            "blocks.0": (18, 24),
            "norm": (18, 24),
            "pool": (24,),
            "head": (10,),
            "head_dist": (10,),
        },
    ),
}

every_family = pytest.mark.parametrize("name", FAMILIES)


def build(name):
    constructor, options, in_shape, _ = FAMILIES[name]
    return constructor(in_shape=in_shape, num_classes=10, **options)


def random_batch(name, count=16):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, *FAMILIES[name][2], generator=generator), torch.arange(count) % 10


@every_family
def test_a_training_step_reaches_every_parameter_and_lowers_the_loss(name):
    torch.manual_seed(0)
    model, (images, labels) = build(name), random_batch(name)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    losses = []
    for _ in range(2):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert losses[1] < losses[0]


@every_family
def test_every_operation_has_a_deterministic_kernel_on_cuda(name):
    model, (images, labels) = build(name), random_batch(name, 4)
    with OneDevice() as seen:
        F.cross_entropy(model(images), labels).backward()
    assert not seen.nondeterministic


@every_family
def test_bf16_autocast_gives_finite_logits(name):
    model, (images, _) = build(name), random_batch(name, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(images)
    assert logits.dtype == torch.bfloat16
    assert torch.isfinite(logits).all()


@every_family
def test_channels_last_gives_the_same_logits_and_gradients(name):
    torch.manual_seed(0)
    model, (images, labels) = build(name).double(), random_batch(name, 4)
    found = []
    for memory_format in ("contiguous", "channels_last"):
        network = copy.deepcopy(model)
        put_in_format(network, memory_format)
        torch.manual_seed(1)  # of dropout
        logits = network(images.double())
        gradients = torch.autograd.grad(F.cross_entropy(logits, labels), network.parameters())
        found.append((logits.detach(), gradients))
    torch.testing.assert_close(*found)


@every_family
def test_folded_batchnorms_give_the_same_logits(name):
    torch.manual_seed(0)
    model, (images, _) = build(name).double(), random_batch(name, 4)
    for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            torch.nn.init.uniform_(tensor, 0.5, 1.5)
    if name in UNFOLDABLE:
        with pytest.raises(
            ValueError, match=r"BatchNorm that directly follows|torch\.fx can trace"
        ):
            Folding(model)
        return
    with torch.no_grad():
        expected = model.eval()(images.double())
        folding = Folding(model.train())  # which freezes it
        torch.testing.assert_close(model(images.double()), expected, rtol=1e-9, atol=1e-9)
        convolutions = sum(isinstance(m, torch.nn.Conv2d) for m in model.modules())
        assert 1 <= len(folding) <= convolutions
        with folding.undone():
            assert torch.equal(model(images.double()), expected)


@every_family
def test_the_seed_decides_the_initial_weights(name):
    def weights(seed):
        torch.manual_seed(seed)
        return torch.nn.utils.parameters_to_vector(build(name).parameters())

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


@every_family
def test_features_keep_their_names_and_shapes(name):
    shapes = FAMILIES[name][3]
    output = FeatureExtractor(build(name), shapes)(torch.rand(2, *FAMILIES[name][2]))
    assert output.logits.shape == (2, 10)
    assert {path: tuple(f.shape[1:]) for path, f in output.features.items()} == shapes


@every_family
def test_no_layer_works_in_place(name):
    """A feature that is modified in place afterwards would be another one."""
    layers = list(build(name).modules())
    assert len(layers) > 4
    assert not any(getattr(layer, "inplace", False) for layer in layers)


@pytest.mark.parametrize(("channels", "num_classes"), [(1, 2), (4, 11)])
@every_family
def test_images_and_classes_decide_the_channels_and_the_number_of_logits(
    name, channels, num_classes
):
    constructor, options, (_, height, width), _ = FAMILIES[name]
    model = constructor(in_shape=(channels, height, width), num_classes=num_classes, **options)
    assert model(torch.rand(2, channels, height, width)).shape == (2, num_classes)


@every_family
def test_a_copy_is_on_its_own(name):
    model = build(name)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        next(twin.parameters()).add_(1)
    assert not torch.equal(next(model.parameters()), next(twin.parameters()))


@every_family
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "width must be .* > 0, got 0"),
        ({"num_classes": 1}, "num_classes must be at least 2, got 1"),
    ],
)
def test_bad_values_are_refused(name, change, message):
    """The checks themselves are tested in components/test_checks.py."""
    constructor, options, in_shape, _ = FAMILIES[name]
    with pytest.raises(ValueError, match=message):
        constructor(**({"in_shape": in_shape, "num_classes": 10} | options | change))


SMALLEST = {
    "cnn": 2,
    "resnet8": 4,
    "vgg16": 32,
    "convnet4": 16,
    "resnet50": 8,
    "resnet18": 8,
    "wide_resnet": 4,
    "mobilenetv2": 16,
    "shufflenetv1": 8,
    "shufflenetv2": 8,
    "lightnn": 4,
    "deepnn": 4,
    "imagenette_plain": 32,
    "imagenette_residual": 32,
    "vit": 8,
}


@pytest.mark.parametrize(("name", "smallest"), SMALLEST.items())
def test_the_smallest_image_fits_and_a_smaller_one_is_refused(name, smallest):
    constructor, options, (channels, _, _), _ = FAMILIES[name]
    model = constructor((channels, smallest, smallest), 10, **options).eval()
    assert model(torch.rand(2, channels, smallest, smallest)).shape == (2, 10)
    too_small = f"{name} needs images of at least {smallest} x {smallest}, got 64 x {smallest - 1}"
    with pytest.raises(ValueError, match=too_small):
        constructor((channels, 64, smallest - 1), 10, **options)


@pytest.mark.parametrize("constructor", [MLP, CNN, LightNN, DeepNN])
def test_bad_dropout_is_refused(constructor):
    with pytest.raises(ValueError, match=r"dropout must be a number in \[0, 1\), got 1$"):
        constructor(SMALL, 10, dropout=1.0)


@pytest.mark.parametrize("constructor", [MLP, CNN])
def test_dropout_works_in_training_only(constructor):
    model, images = constructor(SMALL, 10, dropout=0.5), torch.rand(4, *SMALL)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


def models_of(group):
    """Every yaml of the group that sets its own model."""
    return [
        path
        for path in sorted((CONF / group).glob("*.yaml"))
        if path.stem not in NAMED and "_target_" in (with_defaults(path).get("model") or {})
    ]


@cache
def with_defaults(path):
    """The yaml merged over the student's and the teacher's recipe that it names."""
    config = OmegaConf.load(path)
    names = {}
    for entry in config.get("defaults", []):
        names |= entry if isinstance(entry, DictConfig) else {}
    below = []
    if student := names.get("/student@_here_"):
        below.append(OmegaConf.load(CONF / "student" / f"{student}.yaml"))
    if recipe := names.get("recipe@_here_"):
        below.append(OmegaConf.load(RECIPES / f"{recipe}.yaml"))
    return OmegaConf.merge(*below, config)


def test_the_yaml_files_are_all_there():
    students = {path.stem for path in models_of("student")}
    teachers = {path.stem for path in models_of("teacher")}
    resnets = {f"resnet{depth}" for depth in (8, 14, 20, 32, 44, 56, 110)}
    vggs = {f"vgg{depth}" for depth in (8, 11, 13, 16, 19)}
    wide = {"resnet8x4", "resnet32x4", "wrn16_2", "wrn40_1", "wrn40_2"}
    others = {"resnet50", "mobilenetv2", "shufflenetv1", "shufflenetv2"}
    assert students >= resnets | vggs | wide | others | {"mlp", "cnn", "convnet4"}
    assert students >= {"lightnn", "deepnn", "imagenette_plain", "imagenette_residual"}
    assert students >= {"vit_tiny", "vit_tiny_distilled"}
    assert teachers >= students | {"resnet34"}


@pytest.mark.parametrize(
    "path", models_of("student") + models_of("teacher"), ids=lambda p: f"{p.parent.stem}-{p.stem}"
)
def test_every_yaml_builds_its_model(path):
    """At full size, with weights that are never drawn; the slow tests of conf/ train a step."""
    config = with_defaults(path)
    assert config.name == path.stem
    assert config.checkpoint is None
    assert shape_of_logits(OmegaConf.to_yaml(config.model)) == (1, 5)


@cache  # a teacher's network is mostly a student's
def shape_of_logits(model_yaml):
    options = dict(OmegaConf.create(model_yaml))
    module, _, constructor = options.pop("_target_").rpartition(".")
    family = getattr(importlib.import_module(module), constructor)
    with torch.device("meta"):
        model = family(in_shape=LARGE, num_classes=5, **options)
    with torch.inference_mode():
        return model.to_empty(device="cpu").eval()(torch.rand(1, *LARGE)).shape


@pytest.mark.parametrize("path", models_of("teacher"), ids=lambda p: p.stem)
def test_a_teacher_has_a_complete_recipe(path):
    keys = {"name", "model", "checkpoint", "store", "seed", "hard"}
    assert keys <= set(with_defaults(path))


@pytest.mark.parametrize(
    "path", [*models_of("teacher"), *RECIPES.glob("*.yaml")], ids=lambda p: p.stem
)
def test_a_teacher_interpolates_no_key(path):
    assert "${" not in path.read_text()
