"""The skeleton of the configuration: names, types and ranges of the keys that kdsweep reads itself.

Leaves (a model, a loss term, an optimizer) have no dataclass: the constructor of the object that
uses them is their schema. Nothing here imports torch, so that `--help`, `--cfg job` and a wrong
key answer at once. Nothing anywhere changes a config value after it was composed.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from kdsweep.errors import UserError

# What a config may call. A `_target_` outside of these is refused by Hydra.
EXECUTION_WHITELIST = ("kdsweep.*", "torch.optim.*", "torchvision.models.*")

PRECISIONS = ("fp32", "bf16")
PLOTS = ("run", "sweep", "none")
NETWORKS = ("student", "teacher")
SAY_THE_PAIRS = "or say the pairs themselves, [[student,teacher],...]"


@dataclass
class AugmentConfig:
    crop_padding: int = 0
    flip: bool = False
    mixup: float = 0.0
    cutmix: float = 0.0


@dataclass
class DatasetConfig:
    name: str = MISSING
    source: dict[str, Any] = MISSING
    root: str | None = None
    val_fraction: float = 0.1
    test_fraction: float | None = None
    split_seed: int = 0
    train_fraction: float = 1.0
    limit: int | None = None
    per_class: int | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    classes: int | None = None
    augment: AugmentConfig = field(default_factory=AugmentConfig)


@dataclass
class HardConfig:
    label_smoothing: float = 0.0


@dataclass
class TrainerConfig:
    epochs: int = 60
    batch_size: int = 64
    device: str = "auto"
    precision: str = "fp32"
    threads: int = 1
    grad_clip: float | None = None
    test_curve: bool = False


@dataclass
class FeaturesConfig:
    """What a network offers to loss terms: module paths, under names that all networks share."""

    maps: list[str] | None = None
    hint: str | None = None
    embedding: str | None = None


@dataclass
class StudentConfig:
    name: str = MISSING
    model: dict[str, Any] = MISSING
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    checkpoint: str | None = None


@dataclass
class TeacherConfig:
    """A teacher's whole recipe. It follows no key of the root, so that a sweep has one teacher."""

    name: str = MISSING
    model: dict[str, Any] | None = None
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    checkpoint: str | None = None
    store: str = "teachers"
    seed: int = 0
    hard: HardConfig = field(default_factory=HardConfig)
    optimizer: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


@dataclass
class TrackingConfig:
    uri: str | None = None
    experiment: str = "kdsweep"
    artifacts: str = "mlartifacts"
    plots: str = "sweep"
    checkpoint_seconds: float = 1.0


@dataclass
class SearchConfig:
    """What a search of ours knows beside the sweeper's own keys; set by conf/search/."""

    name: str | None = None
    seeds: list[int] = field(default_factory=lambda: [0])
    objectives: list[str] = field(default_factory=lambda: ["val/acc"])
    pruner: dict[str, Any] | None = None
    finalists: int = 3
    finalist_seeds: int = 3
    max_failures: int = 10
    workers: int = 1
    timeout: str | None = None


@dataclass
class TrainConfig:
    T: float = 4.0
    alpha: float = 0.5
    seed: int = 0
    hard_weight: float | None = None
    hard: HardConfig = field(default_factory=HardConfig)
    resume: bool = False
    dry_run: bool = False
    debug: bool = False
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    loss: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    search: SearchConfig = field(default_factory=SearchConfig)


def register() -> None:
    """Make known the skeleton, as `kdsweep_schema` in conf/train.yaml, and the `pairs` resolver."""
    # Twice in one process is normal: the launcher's entry point and the command line both ask.
    OmegaConf.register_resolver("pairs", pairs, replace=True)
    ConfigStore.instance().store(
        name="kdsweep_schema", node=TrainConfig, provider="kdsweep", replace=True
    )


def pairs(*kinds: str, _root_: DictConfig) -> list[list[str]]:
    """`${pairs:maps}` in a loss term: what the student offers beside what the teacher offers.

    Args:
        kinds: of `maps`, `last_map`, `hint` and `embedding`; the pairs come in this order.

    Raises:
        ValueError: if a network does not offer them, or if they are not equally many.
    """
    if _root_.teacher.model is None:
        raise ValueError("teacher must be a model, got none")
    return [pair for kind in kinds for pair in _pairs_of(kind, _root_)]


def _pairs_of(kind: str, root: DictConfig) -> list[list[str]]:
    ours, theirs = (_offered(root[network].features, network, kind) for network in NETWORKS)
    if len(ours) != len(theirs):
        raise ValueError(
            f"student.features.{kind} must be as many as teacher.features.{kind}, "
            f"got {len(ours)} and {len(theirs)}; {SAY_THE_PAIRS}"
        )
    return [list(pair) for pair in zip(ours, theirs, strict=True)]


def _offered(features: DictConfig, network: str, kind: str) -> list[str]:
    key = "maps" if kind == "last_map" else kind
    if key not in features:
        allowed = " | ".join([*(str(key) for key in features), "last_map"])
        raise ValueError(f"a kind of pairs must be {allowed}, got {kind}")
    found = features[key]
    if not found:
        said = "null" if found is None else "[]"
        raise ValueError(f"{network}.features.{key} must be given, got {said}; {SAY_THE_PAIRS}")
    names = [found] if isinstance(found, str) else list(found)
    return names[-1:] if kind == "last_map" else names


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The config as plain Python values, interpolations followed.

    `alpha_weighted` is added: whether some term's weight follows alpha, which only the
    interpolations tell and which gives the hard term 1 - alpha.

    Raises:
        UserError: if an interpolation leads nowhere, such as to features that a network lacks.
    """
    try:
        values = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    except InterpolationResolutionError as error:
        # OmegaConf hides the resolver's own exception, and puts its words behind some of its own.
        sentence = str(error).splitlines()[0].split("while resolving interpolation: ")[-1]
        raise UserError(f"{error.full_key}: {sentence}") from error
    assert isinstance(values, dict)
    weighted = any(
        path.endswith(".weight") and text == "${alpha}" for path, text in _interpolations(cfg.loss)
    )
    return {**{str(key): value for key, value in values.items()}, "alpha_weighted": weighted}


def teacher_recipe(values: dict[str, Any]) -> dict[str, Any] | None:
    """The config of the run that trains this run's teacher; None without a teacher.

    A teacher is trained by the very path that trains a student on hard labels. It shares the data
    set and its split, but sees all training images whatever the students see.
    """
    teacher = values["teacher"]
    if teacher["model"] is None:
        return None
    whole = {"limit": None, "per_class": None, "train_fraction": 1.0}
    return {
        **values,
        "dataset": {**values["dataset"], **whole},
        "student": {"name": teacher["name"], "model": teacher["model"], "checkpoint": None},
        "teacher": {**teacher, "model": None, "checkpoint": None},
        "loss": {},
        "alpha_weighted": False,
        "hard_weight": None,
        **{key: teacher[key] for key in ("hard", "optimizer", "schedule", "trainer", "seed")},
    }


def follows(cfg: DictConfig, key: str) -> bool:
    """Whether the root key (`T` or `alpha`) is interpolated anywhere in the loss terms."""
    return any(f"${{{key}}}" in text for _, text in _interpolations(cfg.loss))


def _interpolations(loss: DictConfig) -> Iterator[tuple[str, str]]:
    def walk(path: str, node: Any) -> Iterator[tuple[str, str]]:
        if isinstance(node, dict):
            for key, child in node.items():
                yield from walk(f"{path}.{key}", child)
        elif isinstance(node, list):
            for child in node:
                yield from walk(path, child)
        elif isinstance(node, str) and "${" in node:
            yield path, node

    yield from walk("loss", OmegaConf.to_container(loss, resolve=False))


def problems(values: dict[str, Any]) -> list[str]:
    """One sentence for every value of the skeleton that is out of range."""
    found = [
        *_range("T", values["T"], values["T"] > 0, "a finite number > 0"),
        *_range("alpha", values["alpha"], 0 <= values["alpha"] <= 1, "a number in [0, 1]"),
        *_range("seed", values["seed"], values["seed"] >= 0, "an integer >= 0"),
        *_recipe_problems("", values),
    ]
    if values["hard_weight"] is not None:
        weight = values["hard_weight"]
        found += _range("hard_weight", weight, weight >= 0, "null or a finite number >= 0")
    interval = values["tracking"]["checkpoint_seconds"]
    found += _range("tracking.checkpoint_seconds", interval, interval >= 0, "a number >= 0")
    if values["tracking"]["plots"] not in PLOTS:
        found.append(_sentence("tracking.plots", values["tracking"]["plots"], " | ".join(PLOTS)))
    if values["teacher"]["model"] is not None:
        found += _recipe_problems("teacher.", values["teacher"])
    return found


def _recipe_problems(prefix: str, recipe: dict[str, Any]) -> list[str]:
    trainer, found = recipe["trainer"], []
    for key in ("epochs", "batch_size", "threads"):
        found += _range(f"{prefix}trainer.{key}", trainer[key], trainer[key] >= 1, "at least 1")
    if trainer["precision"] not in PRECISIONS:
        allowed = " | ".join(PRECISIONS)
        found.append(_sentence(f"{prefix}trainer.precision", trainer["precision"], allowed))
    if (clip := trainer["grad_clip"]) is not None:
        found += _range(f"{prefix}trainer.grad_clip", clip, clip > 0, "null or a number > 0")
    smoothing = recipe["hard"]["label_smoothing"]
    key = f"{prefix}hard.label_smoothing"
    found += _range(key, smoothing, 0 <= smoothing < 1, "a number in [0, 1)")
    ranges = {"lr": "> 0", "weight_decay": ">= 0", "momentum": ">= 0"}
    for name, allowed in ((name, f"a finite number {range}") for name, range in ranges.items()):
        if name in recipe["optimizer"]:
            found += _number(f"{prefix}optimizer.{name}", recipe["optimizer"][name], allowed)
    return found


def _number(key: str, value: Any, allowed: str) -> list[str]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return [_sentence(key, value, allowed)]
    return _range(key, value, value >= 0 if ">=" in allowed else value > 0, allowed)


def _range(key: str, value: float, inside: bool, allowed: str) -> list[str]:
    return [] if inside and math.isfinite(value) else [_sentence(key, value, allowed)]


def _sentence(key: str, value: Any, allowed: str) -> str:
    return f"{key} must be {allowed}, got {number(value)}"


def number(value: Any) -> str:
    """A value as a person writes it: 4.0 as `4`."""
    return f"{value:g}" if isinstance(value, float) else str(value)
