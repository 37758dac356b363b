"""Every yaml of conf/ composes, builds, and trains one step in a cohort with a different run,
bitwise equal to a step alone."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import pytest
import torch
from commands import Compose, overrides
from optuna.pruners import BasePruner
from specs import build_spec

from kdsweep.builders.data import build_dataset, build_source, build_stream
from kdsweep.cli import CONF
from kdsweep.config.recipes import single_teachers, teacher_recipe
from kdsweep.config.resolve import resolve_config
from kdsweep.config.run_config import RunConfig
from kdsweep.config.schema import DatasetConfig
from kdsweep.config.validate import validation_errors
from kdsweep.data.fake import Fake
from kdsweep.data.types import Source
from kdsweep.runs.units import build_unit, build_untrained_teacher
from kdsweep.search.sampling import make_pruner
from kdsweep.training.checkpoint import sha256
from kdsweep.training.student import Student
from kdsweep.training.trainer import fit

pytestmark = pytest.mark.slow  # a minute

# The other run of the cohort: it draws random numbers, and shares no optional part.
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
# One image per class: small images if the network is not under test.
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

# group -> the overrides in addition to `group=option`, and the minimum number of options
GROUPS = {
    "dataset": (CNNS, 12),
    "student": ((*PHOTOS, "teacher.model.width=4"), 32),
    "teacher": ((*PHOTOS, "student.model.width=4"), 38),
    "loss": ((*SMALL, "student=cnn"), 27),
    "optimizer": (SMALL, 3),
    "schedule": (SMALL, 4),
    "scale": (SMALL, 2),
    "trainer": (SMALL, 1),
    "tracking": (SMALL, 3),
    "deploy": (SMALL, 3),
    "search": (SMALL, 2),
    "search/pruner": ((*SMALL, "search=bayes"), 4),
}
ELSEWHERE = {
    ".": "the default config, composed by every test",
    "hydra": "sweep/test_recipe_grids.py",
    "hydra/help": "test_cli.py",
    "teacher/recipe": "the teachers and experiments that name it",
    "recipe": "sweep/test_finetuning.py",
    "dataset/augment": "sweeps/test_photographs.py",
    "stages": "test_stages.py",
    **dict.fromkeys(("experiment", "experiment/base", "experiment/pair"), "test_experiments.py"),
}
# Image shape and number of classes: synthetic images replace files, which tests/data reads.
READ = {
    "cifar10": ((3, 32, 32), 10),
    "cifar100": ((3, 32, 32), 100),
    "svhn": ((3, 32, 32), 10),
    "mnist": ((1, 28, 28), 10),
    "fashion_mnist": ((1, 28, 28), 10),
    "imagenette": ((3, 224, 224), 10),
    "tiny_imagenet": ((3, 64, 64), 200),
    "imagenet": ((3, 224, 224), 4),
    "image_folder": ((3, 20, 30), 4),
    "huggingface": ((1, 20, 30), 4),
}
# Networks that are slow at full width, which tests/models builds.
NARROW = {
    **dict.fromkeys(("resnet50", "vgg8", "vgg11", "vgg13", "vgg16", "vgg19"), 0.25),
    **dict.fromkeys(("imagenette_plain", "imagenette_residual", "deepnn"), 0.25),
    **dict.fromkeys(("resnet18_cifar", "resnet34_cifar"), 0.125),
    **dict.fromkeys(("resnet8x4", "resnet32x4", "wrn16_4", "wrn28_4"), 1.0),
}
# These accept the name of any network of a library.
NAMED = {
    "torchvision": "shufflenet_v2_x0_5",
    "timm": "mobilenetv3_small_050",
    "timm_features": "mobilenetv3_small_050",
    "resnet34": "resnet18",
}
# A tiny network of transformers, as a run keeps it in place of the path of a folder.
VIT = (
    "{model_type: vit, hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2,"
    " intermediate_size: 8, patch_size: 8}"
)
CLIP = "{model_type: clip, vision_config: " + VIT.replace("model_type: vit, ", "") + "}"
OF_A_FOLDER = {"hf": VIT, "hf_features": VIT, "hf_zero_shot": CLIP}
WITHOUT_LOGITS = ("timm_features", "hf_features")
NEEDED = {
    "student=hf": ("student.start=null",),
    "teacher=hf_zero_shot": (
        "teacher.model.texts=null",
        "+teacher.model.classes=['class 1','class 0']",
    ),
    **{f"teacher={name}": ("loss=embedding", "student=cnn") for name in WITHOUT_LOGITS},
    "teacher=none": ("loss=ce",),
    "dataset=image_folder": ("dataset.root=here",),
    "dataset=imagenet": ("dataset.root=here", "dataset.val_fraction=0.1"),
    "dataset=huggingface": ("dataset.source.path=here",),
    "loss=deit": ("student=vit_tiny_distilled", "student.model.width=12"),
    "student=simkd": ("loss=simkd", "student.model.channels=16", "hard_weight=0"),
    "loss=simkd": (
        *("student=simkd", "student@student.model.network=cnn"),
        *("student.model.network.model.width=2", "student.model.channels=32"),
    ),
}


def naming(group: str, option: str) -> list[str]:
    """The overrides that choose a network, where an option takes any."""
    if option in OF_A_FOLDER:
        return [f"{group}.model.path=null", f"+{group}.model.architecture={OF_A_FOLDER[option]}"]
    return [f"{group}.model.name={NAMED[option]}"] if option in NAMED else []


def words_of(group: str, option: str) -> tuple[str, ...]:
    """`group=option` and the overrides that it requires."""
    words = [f"{group}={option}"]
    if group in ("student", "teacher"):
        if option in NARROW:
            words.append(f"{group}.model.width={NARROW[option]}")
        words += naming(group, option)
    if group == "dataset":
        _, classes = READ.get(option, ((), 10))
        words += [f"dataset.limit={classes}", f"trainer.batch_size={classes}"]
    words += NEEDED.get(words[0], ())
    return tuple(words)


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


CASES = [(group, option) for group in GROUPS for option in options(group)]


@pytest.fixture(scope="session")
def config_of(compose: Compose) -> Callable[..., RunConfig]:
    """The resolved config of some overrides, composed once."""
    return cache(lambda *words: resolve_config(compose(*words)))


def test_every_yaml_is_found() -> None:
    for group, (_, least) in GROUPS.items():
        assert len(options(group)) >= least, group
    folders = {str(path.parent.relative_to(CONF)) for path in CONF.rglob("*.yaml")}
    assert folders == {*GROUPS, *ELSEWHERE}


def test_every_network_of_a_student_is_a_teacher_s_too(config_of: Callable[..., RunConfig]) -> None:
    assert set(options("student")) <= set(options("teacher"))
    for option in options("student"):
        words = [f"student={option}", f"teacher={option}"]
        words += [*naming("student", option), *naming("teacher", option)]
        config = config_of(*words)
        assert config.teacher.features == config.student.features, option
        if option != "cnn":  # the default teacher is wider
            assert config.teacher.model == config.student.model, option


def test_every_recipe_is_named_by_a_teacher_an_experiment_or_its_short_name() -> None:
    teachers = "".join(path.read_text() for path in (CONF / "teacher").glob("*.yaml"))
    experiments = "".join(path.read_text() for path in (CONF / "experiment").glob("*.yaml"))
    experiments += "".join(path.read_text() for path in (CONF / "recipe").glob("*.yaml"))
    recipes = options("teacher/recipe")
    assert len(recipes) >= 2
    for recipe in recipes:
        assert (
            f"recipe@_here_: {recipe}" in teachers
            or f"/teacher/recipe@teacher: {recipe}" in experiments
        )


@pytest.mark.parametrize(("group", "option"), CASES)
def test_a_step_in_a_cohort_equals_the_step_alone(
    config_of: Callable[..., RunConfig], group: str, option: str
) -> None:
    if option.startswith("timm"):
        pytest.importorskip("timm")
    if option in OF_A_FOLDER:
        pytest.importorskip("transformers", reason="transformers: pip install 'kdsweep[hf]'")
    words = words_of(group, option)
    around = tuple(word for word in GROUPS[group][0] if not overrides(words, word))
    shared = words if group in ("dataset", "teacher") else ()  # a cohort has one
    others = [word for word in NEIGHBOUR if not overrides((*shared, *around), word)]
    config, neighbour = config_of(*words, *around), config_of(*shared, *around, *others)
    assert_same_step(config, neighbour)
    # These are not trained by their recipes, but loaded.
    is_loaded = option in ("simkd", *OF_A_FOLDER, *WITHOUT_LOGITS)
    has_recipe = group == "teacher" and not is_loaded
    for single in single_teachers(config).values() if has_recipe else ():
        recipe, shared = teacher_recipe(single), config.trainer
        trainer = replace(
            recipe.trainer,
            device=shared.device,
            epochs=shared.epochs,
            batch_size=shared.batch_size,
        )
        recipe = replace(recipe, trainer=trainer, dataset=config.dataset)
        assert_same_step(recipe, replace(neighbour, teacher=recipe.teacher, loss={}))


@pytest.mark.parametrize("option", options("search/pruner"))
def test_a_pruner_is_built(config_of: Callable[..., RunConfig], option: str) -> None:
    node = config_of(f"search/pruner={option}", *GROUPS["search/pruner"][0]).search.pruner
    pruner = make_pruner(node)
    assert isinstance(pruner, BasePruner)


def assert_same_step(config: RunConfig, neighbour: RunConfig) -> None:
    assert validation_errors(config) == []
    (alone,) = trained([config])
    _, together = trained([neighbour, config])
    assert sha256(together.model) == sha256(alone.model)
    assert sha256(together.objective) == sha256(alone.objective)


def source_of(dataset: DatasetConfig) -> Source:
    """The source of a data set; synthetic images in place of files."""
    named: Source = build_source(dataset)
    if dataset.name not in READ:
        return named
    shape, classes = READ[dataset.name]
    return Fake(num_train=3 * classes, num_test=classes, num_classes=classes, shape=shape)


def trained(runs: Sequence[RunConfig]) -> list[Student]:
    """The students after one step in lockstep, with an untrained teacher."""
    config = runs[-1]
    dataset = build_dataset(config.dataset, "cpu", source_of(config.dataset))
    stream = build_stream(config, dataset, "cpu")
    digests = {"dataset": "made", "DEFAULT": "weights of a library"}
    specs = [build_spec(run, digests) for run in runs]
    # Of the last run, also where its teacher follows its student.
    teacher = build_untrained_teacher(specs[::-1], dataset, stream.steps_per_epoch)
    networks = teacher.networks if teacher else ()
    units = [build_unit(spec, dataset, networks, stream.steps_per_epoch) for spec in specs]
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
    """One vector of all, in whichever memory format each is."""
    return torch.cat([parameter.reshape(-1) for parameter in student.model.parameters()])
