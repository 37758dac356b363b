"""Every tensor of every model is drawn from the distribution of its published code.

Compared are mean, variance and extremes, with tolerances by the number of values: small models are
built, whose tensors still have hundreds of values together.
"""

import importlib
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from kdsweep.models.convnet4 import ConvNet4
from kdsweep.models.vgg import VGG

STUDENTS = Path(__file__).parents[2] / "conf" / "student"
# Initialised by their libraries, or by the network inside.
ELSEWHERE = {"timm", "torchvision", "hf", "simkd"}
SIGMAS = 5.0  # by which a mean or a variance may miss


class Drawn(NamedTuple):
    """A distribution with mean zero: normal of this scale, or uniform up to this bound."""

    kind: str
    scale: float


def fan_in(layer: nn.Module) -> int:
    return layer.weight[0].numel()


def he(layer: nn.Module) -> Drawn:
    """He et al. 2015 by fan-out, as a product of kernel and output channels."""
    return Drawn("normal", math.sqrt(2 / (layer.weight[0, 0].numel() * len(layer.weight))))


def he_in(layer: nn.Module) -> Drawn:
    """The same by fan-in, which is the default of ``kaiming_normal_`` and fastai's."""
    return Drawn("normal", math.sqrt(2 / fan_in(layer)))


def small(layer: nn.Module) -> Drawn:
    return Drawn("normal", 0.01)


def default(layer: nn.Module) -> Drawn:
    """PyTorch's, of weights and biases."""
    return Drawn("uniform", 1 / math.sqrt(fan_in(layer)))


def deit(layer: nn.Module) -> Drawn:
    """Of linear layers and learned tokens; cut at 100 deviations, that is not at all."""
    return Drawn("normal", 0.02)


def zero(layer: nn.Module) -> Drawn:
    return Drawn("uniform", 0.0)


RESNETS = "resnet8 resnet14 resnet20 resnet32 resnet44 resnet56 resnet110 resnet8x4 resnet32x4"
# The models, then the distributions of the convolutions' weights and biases (None: there is no such
# tensor) and of the linear layers' weights and biases. Norms' are one and zero,
# but for the scales of ZERO.
PUBLISHED = [
    # RepDistiller (models/*.py), and the same in mdistiller (mdistiller/models/cifar/*.py)
    (RESNETS, he, None, default, default),  # resnet.py
    ("resnet50", he, None, default, default),  # resnetv2.py
    ("wrn16_2 wrn16_4 wrn28_2 wrn28_4 wrn40_1 wrn40_2", he, None, default, zero),  # wrn.py
    ("vgg8 vgg11 vgg13 vgg19", he, zero, small, zero),  # vgg.py
    ("mobilenetv2", he, None, small, zero),  # mobilenetv2.py
    ("shufflenetv1 shufflenetv2", default, None, default, default),  # ShuffleNetv1.py, v2.py
    # yzd-v/cls_KD (mmcls/models/backbones/resnet.py, zero_init_residual; heads/linear_head.py)
    ("resnet18_cifar resnet34_cifar", he, None, small, zero),
    # JoonyoungYi/KD-pytorch (models/studentnet.py, models/vgg.py)
    ("convnet4 vgg16", default, default, default, default),
    # pytorch/tutorials (beginner_source/knowledge_distillation_tutorial.py)
    ("deepnn lightnn", default, default, default, default),
    # IvLabs/stagewise-knowledge-distillation (5fm.py, and medium_model.py with fastai's conv_layer)
    ("imagenette_plain", default, default, default, default),
    ("imagenette_residual", he_in, None, default, default),
    # facebookresearch/deit (models.py, with timm 0.3.2, vision_transformer.py)
    ("vit_tiny vit_tiny_distilled", default, default, deit, zero),
    # our own
    ("mlp", None, None, default, default),
    ("cnn", he, None, default, default),
]
# Of these models, the scale of the last BatchNorm of every block is zero.
ZERO = {"resnet18_cifar": "bn2", "resnet34_cifar": "bn2"}
TABLE = {name: row for names, *row in PUBLISHED for name in names.split()}
SMALL = {
    "cnn": 8,
    "mlp": 64,
    "convnet4": 32,
    "vit_tiny": 48,
    "vit_tiny_distilled": 48,
}  # channels or units; others: share of the channels


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    options = dict(OmegaConf.load(STUDENTS / f"{name}.yaml").model)
    module, _, constructor = options.pop("_target_").rpartition(".")
    family = getattr(importlib.import_module(module), constructor)
    return family((3, 32, 32), 100, **{**options, "width": SMALL.get(name, 0.25)})


def drawn(model: nn.Module, row: Iterable) -> Iterator[tuple[str, Tensor, Drawn]]:
    """Each tensor with its path and its published distribution, without those of norms."""
    convolution, convolution_bias, linear, linear_bias = row
    for path, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            is_linear = isinstance(layer, nn.Linear)
            weight = linear if is_linear else convolution
            bias = linear_bias if is_linear else convolution_bias
            yield f"{path}.weight", layer.weight.detach(), weight(layer)
            assert (layer.bias is None) == (bias is None), path
            if bias is not None:
                yield f"{path}.bias", layer.bias.detach(), bias(layer)
    for path, tokens in model.named_parameters(recurse=False):
        yield path, tokens.detach(), deit(model)


def misses(values: Tensor, expected: Drawn) -> bool:
    """Whether values can be told from draws of a distribution."""
    kind, scale = expected
    values = values.flatten().double()
    if scale == 0:
        return bool(values.any())
    values, count = values / scale, len(values)
    # mean of the squares and its variance, of one value
    square, spread = (1.0, 2.0) if kind == "normal" else (1 / 3, 4 / 45)
    is_off_center = abs(values.mean()) > SIGMAS * math.sqrt(square / count)
    is_off_scale = abs(values.square().mean() - square) > SIGMAS * math.sqrt(spread / count)
    # A uniform distribution ends at its bound; of a normal one 4.6 % are beyond two scales, which
    # is further than a uniform one of the same variance has any.
    largest = float(values.abs().max())
    is_other_kind = largest > 1.000001 if kind == "uniform" else count > 300 and largest < 2
    return bool(is_off_center or is_off_scale or is_other_kind)


@pytest.mark.parametrize("name", TABLE)
def test_every_tensor_is_drawn_as_in_the_published_code(name: str) -> None:
    model, row = build(name), TABLE[name]
    checked = [*drawn(model, row)]
    assert [path for path, values, expected in checked if misses(values, expected)] == []
    kinds = nn.BatchNorm2d | nn.LayerNorm
    norms = {path: layer for path, layer in model.named_modules() if isinstance(layer, kinds)}
    scales = {path: 0 if path.split(".")[-1] == ZERO.get(name) else 1 for path in norms}
    assert all((norms[path].weight == scales[path]).all() for path in norms)
    assert not any(norm.bias.any() for norm in norms.values())
    assert len(checked) + 2 * len(norms) == len([*model.parameters()])


def test_every_model_is_in_the_table() -> None:
    assert TABLE.keys() == {path.stem for path in STUDENTS.glob("*.yaml")} - ELSEWHERE


def test_the_weights_of_kd_pytorchs_student_are_small() -> None:
    """A standard deviation of 0.024, where that of He et al. is 0.059."""
    torch.manual_seed(0)
    model = ConvNet4((3, 32, 32), 10)
    assert model.stage3[0].weight.std().item() == pytest.approx(0.024, abs=0.0005)


@pytest.mark.parametrize("init", ["xavier", None, 1])
def test_another_initialisation_is_refused(init: object) -> None:
    with pytest.raises(ValueError, match="init must be one of pytorch, he, got"):
        VGG((3, 32, 32), 10, width=0.125, init=init)
