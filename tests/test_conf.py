"""Every yaml of conf/ composes, builds, and takes one step beside a different neighbour, with the
bits of a step taken alone."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pytest
import torch
from commands import Compose, said
from optuna.pruners import BasePruner

from kdsweep.build import (
    asked,
    build_dataset,
    build_source,
    build_stream,
    build_teacher_network,
    build_unit,
)
from kdsweep.cli import CONF
from kdsweep.config.recipes import teacher_recipe, teachers
from kdsweep.config.resolve import resolve_config
from kdsweep.config.validate import validation_errors
from kdsweep.data.fake import Fake
from kdsweep.data.types import Source
from kdsweep.search.sampling import make_pruner
from kdsweep.training.checkpoint import sha256
from kdsweep.training.student import Student
from kdsweep.training.teacher import Ensemble, Teacher
from kdsweep.training.trainer import fit

pytestmark = pytest.mark.slow  # a minute

Values = dict[str, Any]

# What is in a cohort with the run under test: it draws random numbers, and shares no other part.
NEIGHBOUR = (
    "student=cnn",
    "student.model.width=3",
    "student.model.dropout=0.5",
    "loss=mse",
    "alpha=0.3",
    "optimizer=sgd",
    "schedule=constant",
)
MADE = ("dataset=fake", "dataset.source.num_train=40", "dataset.source.num_test=8")
ONE_STEP = ("trainer.device=cpu", "trainer.epochs=1")
# Of as many images as there are classes: small ones where the network is not what is tested.
PHOTOS = (
    *MADE,
    *ONE_STEP,
    "dataset.source.shape=[3,32,32]",
    "dataset.source.num_classes=2",
    "dataset.limit=2",
    "trainer.batch_size=2",
)
SMALL = (
    *MADE,
    *ONE_STEP,
    "dataset.source.shape=[1,8,8]",
    "dataset.source.num_classes=4",
    "dataset.limit=4",
    "trainer.batch_size=4",
    "teacher.model.width=8",
)

CNNS = (*ONE_STEP, "teacher.model.width=2", "student=cnn", "student.model.width=2")

# group -> the words beside `group=option`, and how many options there are at least
GROUPS = {
    "dataset": (CNNS, 11),
    "student": ((*PHOTOS, "teacher.model.width=4"), 30),
    "teacher": ((*PHOTOS, "student.model.width=4"), 21),
    "loss": ((*SMALL, "student=cnn"), 25),
    "optimizer": (SMALL, 3),
    "schedule": (SMALL, 4),
    "scale": (SMALL, 2),
    "trainer": (SMALL, 1),
    "tracking": (SMALL, 3),
    "search": (SMALL, 2),
    "search/pruner": ((*SMALL, "search=bayes"), 4),
}
ELSEWHERE = {
    ".": "the map itself, composed by every test",
    "hydra/help": "test_cli.py",
    "teacher/recipe": "the teachers and experiments that name it",
    "stages": "test_stages.py",
    **dict.fromkeys(("experiment", "experiment/base", "experiment/pair"), "test_experiments.py"),
}
# Shape of an image, and classes: images are made in place of files, which tests/data reads.
READ = {
    "cifar10": ((3, 32, 32), 10),
    "cifar100": ((3, 32, 32), 100),
    "svhn": ((3, 32, 32), 10),
    "mnist": ((1, 28, 28), 10),
    "fashion_mnist": ((1, 28, 28), 10),
    "imagenette": ((3, 224, 224), 10),
    "tiny_imagenet": ((3, 64, 64), 200),
    "image_folder": ((3, 20, 30), 4),
    "huggingface": ((1, 20, 30), 4),
}
# Networks that are slow at their own width, which tests/models builds.
NARROW = {
    **dict.fromkeys(("resnet50", "vgg8", "vgg11", "vgg13", "vgg16", "vgg19"), 0.25),
    **dict.fromkeys(("imagenette_plain", "imagenette_residual", "deepnn"), 0.25),
    **dict.fromkeys(("resnet8x4", "resnet32x4"), 1.0),
}
# These take any network of a library, by its name.
NAMED = {
    "torchvision": "shufflenet_v2_x0_5",
    "timm": "mobilenetv3_small_050",
    "resnet34": "resnet18",
}
NEEDED = {
    "teacher=none": ("loss=ce",),
    "dataset=image_folder": ("dataset.root=here",),
    "dataset=huggingface": ("dataset.source.path=here",),
}


def words_of(group: str, option: str) -> tuple[str, ...]:
    """`group=option` and what it needs beside it."""
    words = [f"{group}={option}"]
    if group in ("student", "teacher"):
        if option in NARROW:
            words.append(f"{group}.model.width={NARROW[option]}")
        if option in NAMED:
            words.append(f"{group}.model.name={NAMED[option]}")
    if group == "dataset":
        _, classes = READ.get(option, ((), 10))
        words += [f"dataset.limit={classes}", f"trainer.batch_size={classes}"]
    words += NEEDED.get(words[0], ())
    return tuple(words)


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


CASES = [(group, option) for group in GROUPS for option in options(group)]


@pytest.fixture(scope="session")
def values_of(compose: Compose) -> Callable[..., Values]:
    """The resolved config of some words, composed once."""
    return cache(lambda *words: resolve_config(compose(*words)))


def test_every_yaml_is_found() -> None:
    for group, (_, least) in GROUPS.items():
        assert len(options(group)) >= least, group
    folders = {str(path.parent.relative_to(CONF)) for path in CONF.rglob("*.yaml")}
    assert folders == {*GROUPS, *ELSEWHERE}


def test_every_recipe_is_named_by_a_teacher_or_an_experiment() -> None:
    teachers = "".join(path.read_text() for path in (CONF / "teacher").glob("*.yaml"))
    experiments = "".join(path.read_text() for path in (CONF / "experiment").glob("*.yaml"))
    recipes = options("teacher/recipe")
    assert len(recipes) >= 2
    for recipe in recipes:
        assert (
            f"recipe@_here_: {recipe}" in teachers
            or f"/teacher/recipe@teacher: {recipe}" in experiments
        )


@pytest.mark.parametrize(("group", "option"), CASES)
def test_a_step_in_company_is_the_step_alone(
    values_of: Callable[..., Values], group: str, option: str
) -> None:
    if option == "timm":
        pytest.importorskip("timm")
    words, around = words_of(group, option), GROUPS[group][0]
    shared = words if group in ("dataset", "teacher") else ()  # a cohort has one
    beside = [word for word in NEIGHBOUR if not said(word, (*shared, *around))]
    values, neighbour = values_of(*words, *around), values_of(*shared, *around, *beside)
    assert_same_step(values, neighbour)
    for recipe in map(teacher_recipe, teachers(values).values() if group == "teacher" else ()):
        trainer = {key: values["trainer"][key] for key in ("device", "epochs", "batch_size")}
        recipe["trainer"] = {**recipe["trainer"], **trainer}
        recipe["dataset"] = values["dataset"]
        assert_same_step(recipe, {**neighbour, "teacher": recipe["teacher"], "loss": {}})


@pytest.mark.parametrize("option", options("search/pruner"))
def test_a_pruner_is_built(values_of: Callable[..., Values], option: str) -> None:
    node = values_of(f"search/pruner={option}", *GROUPS["search/pruner"][0])["search"]["pruner"]
    pruner = make_pruner(node)
    assert isinstance(pruner, BasePruner)


def assert_same_step(values: Values, neighbour: Values) -> None:
    assert validation_errors(values) == []
    (alone,) = trained([values])
    _, together = trained([neighbour, values])
    assert sha256(together.model) == sha256(alone.model)
    assert sha256(together.objective) == sha256(alone.objective)


def source_of(node: Values) -> Source:
    """What the node names; made images in place of files."""
    named: Source = build_source(node)
    if node["name"] not in READ:
        return named
    shape, classes = READ[node["name"]]
    return Fake(num_train=3 * classes, num_test=classes, num_classes=classes, shape=shape)


def trained(runs: Sequence[Values]) -> list[Student]:
    """The runs after one step in lockstep, taught by a teacher that has learned nothing."""
    values, wanted = runs[-1], [asked(run) for run in runs]
    dataset = build_dataset(values["dataset"], "cpu", source_of(values["dataset"]))
    stream = build_stream(values, dataset, "cpu")
    networks, teacher = [], None
    if any(each.needs_teacher for each in wanted):
        features = sorted({name for each in wanted for name in each.teacher_features})
        networks = [
            build_teacher_network(one, dataset, features, key)
            for key, one in teachers(values).items()
        ]
        frozen = [Teacher(network) for network in networks]
        teacher = Ensemble(frozen) if len(frozen) > 1 else next(iter(frozen), None)
    units = [build_unit(run, dataset, networks, stream.steps_per_epoch) for run in runs]
    students = [unit.students[0] for unit in units]
    before = [weights(student) for student in students]
    fit(
        units,
        stream,
        teacher=teacher,
        splits=[],
        epochs=1,
        threads=1,
        record=lambda student, metrics: None,
    )
    for student, start in zip(students, before, strict=True):
        assert student.failure is None
        assert student.epoch == stream.steps_per_epoch == 1
        assert not torch.equal(weights(student), start)
    return students


def weights(student: Student) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(student.model.parameters())
