"""A student and a teacher for every loss of conf/ and four families, in milliseconds.

The options are those of the yaml files; networks and images are small.
"""

from copy import deepcopy
from functools import cache
from typing import Any, NamedTuple

import torch
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.optim import Optimizer

from kdsweep.builders.instantiate import instantiate_node
from kdsweep.cli import CONF
from kdsweep.common.classifier import classifier_of
from kdsweep.common.rng import derive
from kdsweep.common.types import Batch, Output
from kdsweep.config.register import register
from kdsweep.losses.base.objective import Objective
from kdsweep.losses.base.term import Term
from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.training.schedule import Cosine
from kdsweep.training.student import Student
from kdsweep.training.teacher import Teacher

SHAPE, CLASSES, IMAGES, NUM_TRAIN = (3, 16, 16), 4, 8, 20
LOSSES = sorted(path.stem for path in (CONF / "loss").glob("*.yaml"))
VIT = "vit_tiny_distilled"
# Options of a family's student, and of its teacher.
FAMILIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "cnn": ({"width": 4}, {"width": 8}),
    "resnet8": ({"width": 0.25}, {"width": 0.5}),
    "vgg8": ({"width": 0.0625}, {"width": 0.125}),
    "wrn16_2": ({"depth": 10, "width": 0.25}, {"depth": 10, "width": 0.5}),
    VIT: ({"width": 12, "depth": 2, "heads": 3}, {}),
}
CONVOLUTIONAL = [family for family in FAMILIES if family != VIT]
STUDENT = {"deit": VIT}  # of losses that need a certain one
EQUAL = ("fsp", "kdsvd")  # compare channel by channel
OPTIONS = {"crd": {"negatives": 16, "dim": 8}, "cc": {"dim": 8}}


class Parts(NamedTuple):
    """Of a student and its teacher, on the CPU; those of other losses have the same networks."""

    model: nn.Module
    teacher: nn.Module
    objective: Objective  # with its term, set up for both
    output: Output  # of the model for two images
    target: Output  # of the teacher


class Pair(NamedTuple):
    student: Student
    teacher: Teacher


def make_parts(loss: str, family: str) -> Parts:
    """The networks of a family, and the objective of a loss."""
    model, teacher = _network(loss, family), _teacher(loss, family)
    torch.manual_seed(derive("term", loss, 0))
    terms = _terms(loss, _config(loss, family))
    for term in terms.values():
        term.prepare_student(model)
    objective = Objective(terms, hard_weight=0.5, alpha=0.5)
    output = _output(model, objective.student_features)
    target = _output(teacher, objective.teacher_features)
    for term in terms.values():  # as `builders.losses.set_up_terms` does
        term.setup(output, target, torch.arange(NUM_TRAIN) % CLASSES)
        term.read_teacher(teacher)
        term.initialize_student(model, teacher)
    return Parts(model, teacher, objective, output, target)


def make_pair(loss: str, family: str, device: str = "cpu", **options: Any) -> Pair:
    """A student with the term and a teacher of the family, both on the device.

    ``options`` are those of `Student`, and ``tensors``: where the tensors are, if not there.
    """
    tensors, parts = options.pop("tensors", device), make_parts(loss, family)
    model, objective = deepcopy(parts.model).to(tensors), parts.objective.to(tensors)
    trained = [p for p in (*model.parameters(), *objective.parameters()) if p.requires_grad]
    network = FeatureExtractor(model, objective.student_features)
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    student = make_student(network, objective, optimizer, device=device, **options)
    teacher = FeatureExtractor(deepcopy(parts.teacher).to(tensors), objective.teacher_features)
    return Pair(student, Teacher(teacher, device=device))


def make_student(
    network: FeatureExtractor, objective: Objective, optimizer: Optimizer, **options: Any
) -> Student:
    schedule = Cosine().build(optimizer, epochs=10, steps_per_epoch=2)
    return Student(network, objective, optimizer, schedule, seed=0, **options)


def make_batch(device: str = "cpu", images: int = IMAGES) -> Batch:
    """Random images, labels of all classes, the first positions of the training split."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(images, *SHAPE, generator=generator)
    index = torch.arange(images)
    return Batch(pixels.to(device), (index % CLASSES).to(device), index.to(device))


@cache
def _output(model: nn.Module, features: tuple[str, ...]) -> Output:
    network = FeatureExtractor(model.eval(), features)
    with torch.no_grad():
        output = network.with_train_features(torch.zeros(2, *SHAPE))
    network.close()
    model.train()
    return output


def _terms(loss: str, config: DictConfig) -> dict[str, Term]:
    nodes: Any = OmegaConf.to_container(config.loss, resolve=True) or {}
    terms = {}
    for name, node in nodes.items():
        constructor, _ = node.pop("_target_"), node.pop("schedule")
        terms[name] = get_class(constructor)(**node | OPTIONS.get(name, {}))
    return terms


register_once = cache(register)


def _config(loss: str, family: str) -> DictConfig:
    """What `${...}` in the yaml of a loss refers to."""
    register_once()
    features = _yaml("student", STUDENT.get(loss, family)).features
    teacher = {"features": _yaml("student", family).features, "model": {}}
    root: dict[str, Any] = {"T": 4.0, "alpha": 0.5, "loss": _yaml("loss", loss)}
    root["student"] = {"features": features}
    root["teacher"] = {**teacher, "members": {}, "peers": {}}
    return OmegaConf.create(root)


def _network(loss: str, family: str) -> nn.Module:
    if loss == "simkd":
        return _reused_classifier(family)
    return _built(STUDENT.get(loss, family), wider=False)


def _teacher(loss: str, family: str) -> nn.Module:
    return _built(family, wider=loss not in EQUAL, seed=1)


@cache
def _built(name: str, *, wider: bool, seed: int = 0) -> nn.Module:
    return _instance(_node(name, FAMILIES[name][wider]), seed)


@cache
def _reused_classifier(family: str) -> nn.Module:
    teacher = _built(family, wider=True, seed=1)
    network = {**_node(family, FAMILIES[family][0]), "_partial_": True}
    node = {
        "_target_": "kdsweep.models.reused_classifier.ReusedClassifier",
        "network": {"model": network, "features": {"embedding": "pool"}},
        "channels": classifier_of(teacher).in_features,
    }
    return _instance(node, seed=0)


def _instance(node: dict[str, Any], seed: int) -> nn.Module:
    torch.manual_seed(derive("student", seed))
    model = instantiate_node(node, "student.model", in_shape=SHAPE, num_classes=CLASSES)
    assert isinstance(model, nn.Module)
    return model


def _node(name: str, options: dict[str, Any]) -> dict[str, Any]:
    node: Any = OmegaConf.to_container(_yaml("student", name).model)
    return {**node, **options}


@cache
def _yaml(group: str, option: str) -> Any:
    return OmegaConf.load(CONF / group / f"{option}.yaml")
