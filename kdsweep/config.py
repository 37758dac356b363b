"""The skeleton of the configuration: names, types and ranges of the keys that kdsweep reads itself.

Leaves (a model, a loss term, an optimizer) have no dataclass: the constructor of the object that
uses them is their schema. Nothing here imports torch, so that `--help`, `--cfg job` and a wrong
key answer at once. Nothing anywhere changes a config value after it was composed.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf, read_write
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from kdsweep.errors import UserError
from kdsweep.limits import excesses, odd_names, unknown_keys
from kdsweep.losses.checks import COLDEST, HOTTEST, TEMPERATURES
from kdsweep.passwords import KEYS, remember
from kdsweep.teaching import ITSELF, peers, teacher_recipe

# What a config may call. A `_target_` outside of these is refused by Hydra.
EXECUTION_WHITELIST = ("kdsweep.*", "torch.optim.*", "torchvision.models.*")

PRECISIONS = ("fp32", "bf16")
PLOTS = ("run", "sweep", "none")
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
    """What a network offers to loss terms: module paths, under names that all networks share.

    ``before_relu``: the maps before their last ReLU; None where they are as they are.
    """

    maps: list[str] | None = None
    before_relu: list[str] | None = None
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
    """A teacher's whole recipe. It follows no key of the root, so that a sweep has one teacher.

    ``teacher`` is a TeacherConfig itself (a structured config cannot say so): that of an assistant,
    which learns by the terms of ``loss`` with ``T`` and ``alpha`` of its own. ``members`` are
    TeacherConfigs by name: those of an ensemble, which has no model itself. ``peers`` are
    StudentConfigs by name: those that learn with the student, and there is no trained teacher.
    ``born_again`` makes a model, optimizer and schedule that are not said those of the root.
    ``online`` trains it beside the students, with epochs, batches and seed of the root.
    """

    name: str = MISSING
    model: dict[str, Any] | None = None
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    checkpoint: str | None = None
    store: str = "teachers"
    seed: int = 0
    T: float = 4.0
    alpha: float = 0.5
    hard_weight: float | None = None
    hard: HardConfig = field(default_factory=HardConfig)
    loss: dict[str, Any] = field(default_factory=dict)
    teacher: dict[str, Any] | None = None
    members: dict[str, Any] = field(default_factory=dict)
    peers: dict[str, Any] = field(default_factory=dict)
    born_again: bool = False
    online: bool = False
    optimizer: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


@dataclass
class StageConfig:
    """What a student learns before its run; ``optimizer`` and ``schedule`` are the run's if empty.

    ``T``, ``alpha`` and all else are those of the run.
    """

    epochs: int = MISSING
    loss: dict[str, Any] = field(default_factory=dict)
    hard_weight: float | None = None
    optimizer: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)


@dataclass
class ScaleConfig:
    """How conf/scale/ cuts a recipe down where keys have names of their own.

    ``stage_epochs``: most epochs of a stage that conf/stages/ gives; None: as given there.
    """

    stage_epochs: int | None = None


@dataclass
class TrackingConfig:
    uri: str | None = None
    experiment: str = "kdsweep"
    artifacts: str = "mlartifacts"
    plots: str = "sweep"
    answers: bool = True
    report: bool = True
    tensorboard: bool = False
    system_metrics: bool = False
    checkpoint_seconds: float = 1.0
    wait: float = 60.0


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
    stages: dict[str, Any] = field(default_factory=dict)  # StageConfigs by name, in their order
    loss: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    scale: ScaleConfig = field(default_factory=ScaleConfig)
    published: dict[str, Any] = field(default_factory=dict)  # what the literature says; never read


def register() -> None:
    """Make known the skeleton, as `kdsweep_schema` in conf/train.yaml, and our resolvers."""
    # Twice in one process is normal: the launcher's entry point and the command line both ask.
    OmegaConf.register_resolver("pairs", pairs, replace=True)
    OmegaConf.register_resolver("stage_epochs", stage_epochs, replace=True)
    ConfigStore.instance().store(
        name="kdsweep_schema", node=TrainConfig, provider="kdsweep", replace=True
    )


def stage_epochs(published: int, *, _root_: DictConfig) -> int:
    """`${stage_epochs:10}` in conf/stages/: as many epochs as published, or as the scale allows."""
    most = _root_.scale.stage_epochs
    return int(published) if most is None else min(int(published), int(most))


def pairs(*kinds: str, _root_: DictConfig) -> list[list[str]]:
    """`${pairs:maps}` in a loss term: what the student offers beside what the teacher offers.

    An ensemble offers what its first member does, peers what the first of the others does.

    Args:
        kinds: of `maps`, `before_relu`, `map_1`, `map_2` and so on, `last_map`, `hint` and
            `embedding`; the pairs come in this order.

    Raises:
        ValueError: if a network does not offer them, or if they are not equally many.
    """
    networks = {"student": _root_.student, **_first_teacher(_root_.teacher)}
    return [pair for kind in kinds for pair in _pairs_of(kind, networks)]


def _first_teacher(teacher: DictConfig) -> dict[str, DictConfig]:
    for kind in ("members", "peers"):
        for name, node in teacher[kind].items():
            return {f"teacher.{kind}.{name}": node}
    if teacher.model is None:
        raise ValueError("teacher must be a model, got none")
    return {"teacher": teacher}


def _pairs_of(kind: str, networks: dict[str, DictConfig]) -> list[list[str]]:
    ours, theirs = (_offered(node.features, key, kind) for key, node in networks.items())
    if len(ours) != len(theirs):
        lacking, enough = (f"{key}.features.{kind}" for key in networks)
        raise ValueError(
            f"{lacking} must be as many as {enough}, "
            f"got {len(ours)} and {len(theirs)}; {SAY_THE_PAIRS}"
        )
    return [list(pair) for pair in zip(ours, theirs, strict=True)]


def _offered(features: DictConfig, network: str, kind: str) -> list[str]:
    place = re.fullmatch(r"map_([1-9]\d*)", kind)
    as_they_are = kind == "before_relu" and features.before_relu is None
    key = "maps" if place or kind == "last_map" or as_they_are else kind
    if key not in features:
        allowed = " | ".join([*(str(key) for key in features), "map_1", "last_map"])
        raise ValueError(f"a kind of pairs must be {allowed}, got {kind}")
    found = features[key]
    if not found:
        said = "null" if found is None else "[]"
        raise ValueError(f"{network}.features.{key} must be given, got {said}; {SAY_THE_PAIRS}")
    names = [found] if isinstance(found, str) else list(found)
    if place and int(place[1]) > len(names):
        raise ValueError(
            f"{network}.features.maps must be at least {place[1]} for {kind}, got {len(names)};"
            f" {SAY_THE_PAIRS}"
        )
    if place:
        return [names[int(place[1]) - 1]]
    return names[-1:] if kind == "last_map" else names


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The config as plain Python values, interpolations followed.

    The loss terms of a teacher's recipe are those of a run of its own: `${T}`, `${alpha}` and
    `${pairs:...}` in them mean the recipe's, not the root's. `alpha_weighted` is added to root and
    recipes: whether some term's weight follows alpha, which only the interpolations tell and which
    gives the hard term 1 - alpha. So is `beside`, the name of a
    peer or of a teacher that trains beside the run itself, for which it is None.

    Raises:
        UserError: if an interpolation leads nowhere, such as to features that a network lacks.
    """
    rest = cfg.copy()
    for key, value in _prepared(_raw(cfg.teacher)).items():
        rest.teacher[key] = value
    values = {**_plain(rest), "alpha_weighted": _alpha_weighted(_raw(cfg.loss)), "beside": None}
    values["teacher"] = _recipe(values, cfg.teacher, "teacher")
    for name, stage in values["stages"].items():
        whole = _complete(StageConfig, stage, f"stages.{name}")
        if whole["epochs"] == MISSING:
            raise UserError(f"stages.{name}.epochs must be given")
        weighted = _alpha_weighted(_raw(cfg.stages[name].get("loss")))
        values["stages"][name] = {**whole, "alpha_weighted": weighted}
    for name, peer in values["teacher"]["peers"].items():
        whole = _complete(StudentConfig, peer, f"teacher.peers.{name}")
        values["teacher"]["peers"][name] = whole
    for name, own in peers(values).items():
        scope = OmegaConf.create({**own, "loss": _raw(cfg.loss)})
        values["teacher"]["peers"][name]["loss"] = _plain(scope, f"teacher.peers.{name}: ")["loss"]
    for key in ("uri", "artifacts"):  # an interpolation may have led to a password
        values["tracking"][key] = values["tracking"][key] and remember(values["tracking"][key])
    return values


def hide_passwords(config: DictConfig, keys: Sequence[str] = KEYS) -> None:
    """Take the passwords out of a config's addresses, before Hydra writes it to its files.

    Interpolations stay: Hydra writes them as they are.
    """
    for key in keys:
        parent, _, name = key.rpartition(".")
        node = OmegaConf.select(config, parent)
        if not isinstance(node, DictConfig):
            continue
        value = _raw(node).get(name)
        if isinstance(value, str) and value != (hidden := remember(value)):
            with read_write(node):
                node[name] = hidden


def _plain(cfg: DictConfig, prefix: str = "") -> dict[str, Any]:
    try:
        values = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    except InterpolationResolutionError as error:
        # OmegaConf hides the resolver's own exception, and puts its words behind some of its own.
        sentence = str(error).splitlines()[0].split("while resolving interpolation: ")[-1]
        raise UserError(f"{prefix}{error.full_key}: {sentence}") from error
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _prepared(recipe: dict[str, Any]) -> dict[str, Any]:
    """What to change in a recipe and those below before its interpolations are followed.

    Terms that only the recipe itself can resolve are taken out. What is to be the student's is put
    in here and not in a yaml: there an override of a key below would alter the student itself.
    """
    below = recipe.get("teacher")
    members = recipe.get("members") or {}
    return {
        "loss": {},
        "teacher": below and {**below, **_prepared(below)},
        "members": {name: {**node, **_prepared(node)} for name, node in members.items()},
        "peers": {name: _as_student(peer) for name, peer in (recipe.get("peers") or {}).items()},
        **(_as_root(recipe) if recipe.get("born_again") else {}),
    }


def _as_student(peer: dict[str, Any] | None) -> dict[str, Any]:
    """A peer, which is like the student in all that it does not say."""
    said = {key: value for key, value in (peer or {}).items() if value is not None}
    return {**{key: f"${{student.{key}}}" for key in ("name", "model", "features")}, **said}


def _as_root(recipe: dict[str, Any]) -> dict[str, Any]:
    origins = {"model": "${student.model}", "optimizer": "${optimizer}", "schedule": "${schedule}"}
    return {key: recipe.get(key) or origin for key, origin in origins.items()}


def _recipe(values: dict[str, Any], node: DictConfig, key: str) -> dict[str, Any]:
    """The recipe `values["teacher"]`, with the loss terms of it and of those below resolved."""
    teacher: dict[str, Any] = values["teacher"]

    def below(recipe: dict[str, Any], node: DictConfig, key: str) -> dict[str, Any]:
        whole = _complete(TeacherConfig, recipe, key)  # Hydra has completed the root's alone
        return _recipe({**values, "teacher": whole}, node, key)

    if teacher["teacher"] is not None:
        teacher["teacher"] = below(teacher["teacher"], node.teacher, f"{key}.teacher")
    for name, member in teacher["members"].items():
        member_key = f"{key}.members.{name}"
        teacher["members"][name] = below(member, node.members[name], member_key)
    loss = _raw(node.get("loss"))
    teacher["alpha_weighted"] = _alpha_weighted(loss)
    if any(_interpolations(loss)):
        recipe = teacher_recipe({**values, "teacher": teacher})
        loss = _plain(OmegaConf.create({**recipe, "loss": loss}), f"{key}.")["loss"]
    teacher["loss"] = loss
    return teacher


def _raw(node: DictConfig | None) -> dict[str, Any]:
    """A node as it is written, interpolations not followed."""
    found = {} if node is None else OmegaConf.to_container(node, resolve=False)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def _complete(skeleton: type, node: Any, key: str) -> dict[str, Any]:
    """A node of a dict with the keys it does not say; the skeleton types no deeper than that.

    Raises:
        UserError: for an unknown key, or a value of another type.
    """
    if not isinstance(node, dict):
        raise UserError(f"{key} must be a mapping of options, got {node}")
    try:
        whole = OmegaConf.merge(OmegaConf.structured(skeleton), node)
        assert isinstance(whole, DictConfig)
        return _plain(whole)
    except OmegaConfBaseException as error:
        where = f"{key}.{error.full_key}" if error.full_key else key
        raise UserError(f"{where}: {str(error).splitlines()[0]}") from error


def follows(cfg: DictConfig, key: str) -> bool:
    """Whether the root key (`T` or `alpha`) is interpolated in a loss term, or in a stage's."""
    terms = {"loss": _raw(cfg.loss), "stages": _raw(cfg.stages)}
    return any(f"${{{key}}}" in text for _, text in _interpolations(terms))


def _alpha_weighted(loss: dict[str, Any]) -> bool:
    return any(
        path.endswith(".weight") and text == "${alpha}" for path, text in _interpolations(loss)
    )


def _interpolations(loss: dict[str, Any]) -> Iterator[tuple[str, str]]:
    return ((path, text) for path, text in _texts(loss, "loss") if "${" in text)


def unknown(cfg: DictConfig) -> list[str]:
    """One sentence for every key that nothing reads: the skeleton lacks it, no value refers to it.

    Hydra itself refuses an unknown key, but not `+key=value`.
    """
    raw = _raw(cfg)
    texts = [text for _, text in _texts(raw, "")]
    return [
        f"{key} must be a key of the config, got +{key}, which nothing reads"
        for key in unknown_keys(TrainConfig, raw)
        if not any(re.search(rf"\$\{{{re.escape(key)}[.}}]", text) for text in texts)
    ]


def missing(cfg: DictConfig) -> list[str]:
    """The keys that a config says must be given (`???`) and that nobody gave."""
    return sorted(path for path, text in _texts(_raw(cfg), "") if text == MISSING)


def _texts(node: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every string of a config, with the path of its key."""
    if isinstance(node, dict):
        for key, child in node.items():
            yield from _texts(child, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for child in node:
            yield from _texts(child, path)
    elif isinstance(node, str):
        yield path, node


def problems(values: dict[str, Any]) -> list[str]:
    """One sentence for every value of the skeleton that is out of range."""
    found = _recipe_problems("", values)
    interval = values["tracking"]["checkpoint_seconds"]
    found += _range("tracking.checkpoint_seconds", interval, interval >= 0, "a number >= 0")
    wait = values["tracking"]["wait"]
    found += _range("tracking.wait", wait, wait >= 0, "a number of seconds >= 0")
    if values["tracking"]["plots"] not in PLOTS:
        found.append(_sentence("tracking.plots", values["tracking"]["plots"], " | ".join(PLOTS)))
    found += _stage_problems(values) + excesses(values) + odd_names(values)
    return found + _teacher_problems("teacher.", values["teacher"])


def _stage_problems(values: dict[str, Any]) -> list[str]:
    found = []
    for name, stage in values["stages"].items():
        key, weight = f"stages.{name}", stage["hard_weight"]
        found += _range(f"{key}.epochs", stage["epochs"], stage["epochs"] >= 1, "at least 1")
        if weight is not None:
            allowed = "null or a finite number >= 0"
            found += _range(f"{key}.hard_weight", weight, weight >= 0, allowed)
    for company in ("peers", "online"):
        if values["stages"] and values["teacher"][company]:
            names = ", ".join(values["stages"])
            found.append(f"stages must be empty with teacher.{company}, got {names}")
    return found


def _teacher_problems(prefix: str, teacher: dict[str, Any] | None) -> list[str]:
    if teacher is None:
        return []
    found = [] if teacher["model"] is None else _recipe_problems(prefix, teacher)
    kinds = [kind for kind in ("model", "members", "peers") if teacher[kind]]
    if len(kinds) > 1:
        found.append(f"{prefix}{kinds[1]} must be empty beside {prefix}{kinds[0]}, got both")
    for name, member in teacher["members"].items():
        key = f"{prefix}members.{name}"
        if member["model"] is None:
            found.append(f"{key} must be a model, got none")
        found += _teacher_problems(f"{key}.", member)
    if teacher["online"]:
        found += _online_problems(prefix, teacher)
    if teacher["peers"] and prefix != "teacher.":
        found.append(f"{prefix}peers must be empty below the root: peers teach no one else")
    if ITSELF in teacher["peers"]:
        found.append(f"{prefix}peers must not be called {ITSELF}, which is the run's own")
    return found + _teacher_problems(f"{prefix}teacher.", teacher["teacher"])


def _online_problems(prefix: str, teacher: dict[str, Any]) -> list[str]:
    """A teacher that trains beside the students begins with nothing and learns the labels."""
    if prefix != "teacher.":
        return [f"{prefix}online must be false below the root, got true"]
    return [
        f"{prefix}{key} must be empty with {prefix}online=true, got {said}: such a teacher begins"
        " untrained and learns on hard labels alone"
        for key in ("checkpoint", "teacher", "members", "peers", "loss")
        if (said := _name_of(teacher[key]))
    ]


def _name_of(value: Any) -> str:
    """What a key holds, in a word: the name of a recipe, the names of loss terms."""
    if not isinstance(value, dict):
        return str(value or "")
    return str(value.get("name") or "+".join(value))


def _recipe_problems(prefix: str, recipe: dict[str, Any]) -> list[str]:
    T, alpha, seed, trainer = (recipe[key] for key in ("T", "alpha", "seed", "trainer"))
    found = [
        *_range(f"{prefix}T", T, COLDEST <= T <= HOTTEST, TEMPERATURES),
        *_range(f"{prefix}alpha", alpha, 0 <= alpha <= 1, "a number in [0, 1]"),
        *_range(f"{prefix}seed", seed, seed >= 0, "an integer >= 0"),
    ]
    if (weight := recipe["hard_weight"]) is not None:
        found += _range(f"{prefix}hard_weight", weight, weight >= 0, "null or a finite number >= 0")
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
