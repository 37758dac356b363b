"""From a config to live objects. The only place that instantiates what a config names."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from torch import nn

from kdsweep.common.rng import derive
from kdsweep.common.types import Output
from kdsweep.config.recipes import ITSELF, how_many_teach, peers
from kdsweep.config.schema import EXECUTION_WHITELIST
from kdsweep.data.pipeline.augment import Augment
from kdsweep.data.pipeline.mixup import BatchMixer
from kdsweep.data.pipeline.split import Dataset, SplitOptions, load_dataset
from kdsweep.data.pipeline.stream import Stream, evaluation_batches
from kdsweep.data.types import LabelledImages, Source
from kdsweep.errors import UserError
from kdsweep.losses.base.multi_teacher import Averaged, parts
from kdsweep.losses.base.objective import Objective
from kdsweep.losses.base.term import Term
from kdsweep.losses.base.weight_schedule import WeightSchedule, weight_schedule
from kdsweep.models.components.feature_extractor import FeatureTap
from kdsweep.models.components.input_normalization import bridge
from kdsweep.training.checkpoint import fit_weights, load_weights
from kdsweep.training.evaluation import Split
from kdsweep.training.memory import is_out_of_memory
from kdsweep.training.mutual import Peers
from kdsweep.training.schedule import Schedule
from kdsweep.training.student import Student
from kdsweep.training.teacher import Teacher

Made = TypeVar("Made")

EVALUATION_BATCH = 256  # at least this many images per forward when nothing is learnt
TRAINING_SAMPLE = 1000  # images to measure a teacher on where nothing is held out


def make(node: dict[str, Any], key: str, **kwargs: Any) -> Any:
    """Build the object that a config node describes.

    Raises:
        UserError: in one sentence that begins with the config key.
    """
    try:
        return instantiate(
            node, **kwargs, _convert_="all", _execution_whitelist_=EXECUTION_WHITELIST
        )
    except InstantiationException as error:
        if is_out_of_memory(error.__cause__ or error):
            raise UserError(f"{key} must fit into memory, got {node}") from error
        raise UserError(_with_key(key, error.__cause__ or error)) from error
    except (ValueError, TypeError, OSError) as error:
        raise UserError(_with_key(key, error)) from error
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise UserError(f"{key} must fit into memory, got {node}") from error
        raise


def _with_key(key: str, error: BaseException) -> str:
    text = str(error).split("\nfull_key")[0].strip()
    return text if text.startswith(key) else f"{key}: {text}"


def resolve_device(name: str) -> str:
    """`auto` becomes the accelerator that is there, else `cpu`; other names must exist.

    Raises:
        UserError: if the device is unknown or not present.
    """
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator.type if accelerator else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"trainer.device must be auto, cpu or a device of this machine, got {name}"
        ) from error
    return name


def build_source(dataset: dict[str, Any]) -> Any:
    """The data source that a dataset node names, without reading its images."""
    return make(dataset["source"], "dataset")


def build_dataset(dataset: dict[str, Any], device: str, source: Source | None = None) -> Dataset:
    """Load, split and measure a data set, resident on the device.

    Args:
        source: what its node names, where the caller has it already.

    Raises:
        UserError: if the data is missing or damaged or cannot be split as asked.
    """
    try:
        return load_dataset(
            source or build_source(dataset), SplitOptions.from_config(dataset), device=device
        )
    except (ValueError, OSError) as error:
        raise UserError(_with_key("dataset", error)) from error


def build_stream(values: dict[str, Any], dataset: Dataset, device: str) -> Stream:
    """The cohort's stream of training batches."""
    options = values["dataset"]["augment"]
    mixing = {key: options[key] for key in ("mixup", "cutmix")}
    moving = {key: options[key] for key in ("crop_padding", "flip")}
    augment = _checked("dataset.augment", lambda: Augment(**moving))
    mix = _checked("dataset.augment", lambda: BatchMixer(**mixing))
    return _checked(
        "trainer.batch_size",
        lambda: Stream(
            dataset.train,
            batch_size=values["trainer"]["batch_size"],
            seed=values["seed"],
            augment=augment,
            mix=mix,
            mean=dataset.mean,
            std=dataset.std,
            device=device,
        ),
    )


def _checked(key: str, make: Callable[[], Made]) -> Made:
    try:
        return make()
    except (ValueError, TypeError, OSError) as error:
        raise UserError(_with_key(key, error)) from error


def build_splits(values: dict[str, Any], dataset: Dataset, device: str) -> dict[str, Split]:
    """`val` (if there is one) and `test`, as they are measured."""
    parts = {"val": dataset.val, "test": dataset.test}
    return {
        name: _split(name, part, values, dataset, device)
        for name, part in parts.items()
        if part is not None
    }


def _split(
    name: str, part: LabelledImages, values: dict[str, Any], dataset: Dataset, device: str
) -> Split:
    size = max(values["trainer"]["batch_size"], EVALUATION_BATCH)

    def batches() -> Any:
        return evaluation_batches(
            part, batch_size=size, mean=dataset.mean, std=dataset.std, device=device
        )

    return Split(name, batches, part.labels.to(device))


def teacher_split(values: dict[str, Any], dataset: Dataset, device: str) -> Split:
    """What a teacher is measured on before it teaches: `val`, or a sample of the training split."""
    if dataset.val is not None:
        return _split("val", dataset.val, values, dataset, device)
    count = len(dataset.train.labels)
    # At even distances: images may be in the order of their classes.
    index = torch.linspace(0, count - 1, min(count, TRAINING_SAMPLE)).long()
    sample = dataset.train.subset(index.to(dataset.train.labels.device))
    name = f"no validation split, {len(index):,} training images"
    return _split(name, sample, values, dataset, device)


def build_model(
    node: dict[str, Any], key: str, shape: tuple[int, ...], num_classes: int
) -> nn.Module:
    """A model for images of (channels, H, W) and a number of classes."""
    model = make(node, f"{key}.model", in_shape=shape, num_classes=num_classes)
    assert isinstance(model, nn.Module)
    return model


def _model_for(dataset: Dataset, node: dict[str, Any], key: str) -> nn.Module:
    """A model for a data set's images, as the data set normalises them."""
    model = build_model(node, key, dataset.image_shape, dataset.num_classes)
    bridge(model, dataset.mean, dataset.std)
    return model


def load_checkpoint(model: nn.Module, path: str, key: str) -> None:
    """Start a model from a file of weights.

    Raises:
        UserError: if the file is missing, damaged, a pickle, or does not fit the model.
    """
    try:
        fit_weights(model, load_weights(Path(path)), path)
    except ValueError as error:
        raise UserError(f"{key}.checkpoint {error}") from error


def build_terms(values: dict[str, Any]) -> dict[str, Term]:
    """The loss terms in name order, each built right after seeding its own name."""
    return {name: _build_term(name, node, values) for name, node in sorted(values["loss"].items())}


def _build_term(name: str, node: Any, values: dict[str, Any]) -> Term:
    if not isinstance(node, dict):
        raise UserError(f"loss.{name} must be a term's options, got {node!r}")
    own = {key: value for key, value in node.items() if key != "schedule"}

    def build(place: int) -> Term:
        _seed_term(name, values, place)
        term = make(own, f"loss.{name}")
        if not isinstance(term, Term):
            raise UserError(f"loss.{name}._target_ must be a loss term, got {node['_target_']}")
        return term

    teaching, first = how_many_teach(values), build(0)
    if not teaching or not first.needs_teacher:
        return first
    return Averaged([first, *(build(place) for place in range(1, teaching))])


def _seed_term(name: str, values: dict[str, Any], place: int) -> None:
    """Seed a term by its name, and by the place of its teacher beyond the first of several."""
    torch.manual_seed(derive("term", name, own_seed(values), *([place] if place else [])))


def own_seed(values: dict[str, Any]) -> int:
    """The seed of all that is drawn for one network of a run; beside the run's own, by its name.

    No two start alike: they would say the same and have nothing to learn from each other.
    """
    if values["beside"] is None:
        return int(values["seed"])
    return derive("beside", values["seed"], values["beside"])


def build_weight_schedules(values: dict[str, Any]) -> dict[str, WeightSchedule]:
    """How the weight of each loss term changes over the epochs."""
    return {
        name: _checked(f"loss.{name}.schedule", partial(weight_schedule, node.get("schedule")))
        for name, node in values["loss"].items()
    }


@dataclass(frozen=True)
class Asked:
    """What a run's loss terms ask of the networks."""

    needs_teacher: bool
    student_features: tuple[str, ...]
    teacher_features: tuple[str, ...]


def asked(values: dict[str, Any]) -> Asked:
    """What the loss terms of a run need, found by building them once."""
    objective = build_objective(values)
    return Asked(objective.needs_teacher, objective.student_features, objective.teacher_features)


def build_objective(values: dict[str, Any]) -> Objective:
    """The weighted sum of the run's terms, not yet bound to networks."""
    with torch.random.fork_rng():
        terms = build_terms(values)
    for name, term in terms.items():
        if term.needs_labels and (mixing := _mixing(values)):
            raise UserError(
                f"{mixing} must be 0 with loss.{name}, which asks for the one class of an image,"
                f" got {values['dataset']['augment'][mixing.rpartition('.')[2]]:g}"
            )
        if term.needs_stage and name not in _last_stage(values):
            raise UserError(
                f"loss.{name} must begin with a stage that has it among its loss terms, as the last"
                f" of the stages, got stages {', '.join(values['stages']) or 'none'}"
            )
    schedules = build_weight_schedules(values)
    return _checked(
        "loss",
        lambda: Objective(
            terms,
            hard_weight=values["hard_weight"],
            alpha=values["alpha"] if values["alpha_weighted"] else None,
            label_smoothing=values["hard"]["label_smoothing"],
            schedules=schedules,
            epochs=values["trainer"]["epochs"],
        ),
    )


def _last_stage(values: dict[str, Any]) -> dict[str, Any]:
    """The loss terms of the stage that the run begins with; none without stages."""
    stages = list(values["stages"].values())
    return dict(stages[-1]["loss"]) if stages else {}


def _mixing(values: dict[str, Any]) -> str | None:
    """The key that mixes images, if one does."""
    augment = values["dataset"]["augment"]
    return next((f"dataset.augment.{k}" for k in ("mixup", "cutmix") if augment[k]), None)


def build_student(
    values: dict[str, Any],
    dataset: Dataset,
    teachers: Sequence[FeatureTap],
    steps_per_epoch: int,
    *,
    features: Sequence[str] = (),
    key: str = "student",
) -> Student:
    """One run's student, ready for its first step.

    The order of random draws is part of the contract: the model right after seeding "student",
    each term built and bound right after seeding its own name, so that no part's initialisation
    depends on another's.

    Args:
        teachers: the networks of the cohort's teachers (trained or not; only shapes are read); none
            if no term asks one, several for an ensemble.
        features: what others ask of its network, beside its own terms.
        key: where its network stands in the config.
    """
    trainer, seed = values["trainer"], own_seed(values)
    device = resolve_device(trainer["device"])
    with torch.random.fork_rng():
        torch.manual_seed(derive("student", seed))
        model = _model_for(dataset, values["student"]["model"], key)
        if (path := values["student"]["checkpoint"]) is not None:
            load_checkpoint(model, path, key)
        objective = build_objective(values)
        asked_of_it = sorted({*objective.student_features, *features})
        network = _tap(model, asked_of_it, key, dataset)
        bind(values, objective, network, teachers, dataset)
    model.to(device)
    objective.to(device)
    trained = [p for p in (*model.parameters(), *objective.parameters()) if p.requires_grad]
    recipe = make(values["optimizer"], "optimizer")
    optimizer = _checked("optimizer", lambda: recipe(trained))
    schedule = make(values["schedule"], "schedule")
    assert isinstance(schedule, Schedule)
    return Student(
        network,
        objective,
        optimizer,
        _checked(
            "schedule",
            lambda: schedule.build(
                optimizer, epochs=trainer["epochs"], steps_per_epoch=steps_per_epoch
            ),
        ),
        seed=seed,
        precision=trainer["precision"],
        grad_clip=trainer["grad_clip"],
        device=device,
    )


def build_unit(
    values: dict[str, Any],
    dataset: Dataset,
    teachers: Sequence[FeatureTap],
    steps_per_epoch: int,
) -> Student | Peers:
    """What a run trains: its student, or its student with the peers that learn with it."""
    others = peers(values)
    if not others:
        return build_student(values, dataset, teachers, steps_per_epoch)
    runs = {ITSELF: values, **others}
    wanted = {name: asked(run).teacher_features for name, run in runs.items()}

    def peer(name: str) -> Student:
        rest = [other for other in runs if other != name]
        shapes = [_shape_of(runs[other], dataset, wanted[name], _key(other)) for other in rest]
        features = [feature for other in rest for feature in wanted[other]]
        return build_student(
            runs[name], dataset, shapes, steps_per_epoch, features=features, key=_key(name)
        )

    return Peers({name: peer(name) for name in runs})


def _key(peer: str) -> str:
    return "student" if peer == ITSELF else f"teacher.peers.{peer}"


def _shape_of(
    values: dict[str, Any], dataset: Dataset, features: Sequence[str], key: str
) -> FeatureTap:
    """A network like a run's own, to bind the terms of those to that it teaches."""
    model = _model_for(dataset, values["student"]["model"], key)
    return _tap(model, features, key, dataset)


def bind(
    values: dict[str, Any],
    objective: Objective,
    student: FeatureTap,
    teachers: Sequence[FeatureTap],
    dataset: Dataset,
) -> None:
    """Show each term the outputs of one made batch, so that it can size its own parameters."""
    if not objective.terms:
        return
    answer = _answer(student, dataset)
    # A term that asks nobody is shown logits all the same.
    targets = [_answer(teacher, dataset) for teacher in teachers] or [_answer(None, dataset)]
    for name, term in objective.terms.items():
        assert isinstance(term, Term)
        for place, (part, target) in enumerate(zip(parts(term), targets, strict=False)):
            _seed_term(name, values, place)
            try:
                part.bind(answer, target, dataset.train.labels.cpu())
            except ValueError as error:
                raise UserError(_with_key(f"loss.{name}", error)) from error


def _answer(network: FeatureTap | None, dataset: Dataset) -> Output:
    """The output for a made batch of two images, leaving the network as it was."""
    if network is None:
        return Output(torch.zeros(2, dataset.num_classes), {})
    device = next(network.model.parameters()).device
    was_training = network.model.training
    network.model.eval()
    with torch.no_grad():
        output = network(torch.zeros(2, *dataset.image_shape, device=device))
    network.model.train(was_training)
    return Output(output.logits.cpu(), {k: v.cpu() for k, v in output.features.items()})


def _tap(model: nn.Module, names: Sequence[str], key: str, dataset: Dataset) -> FeatureTap:
    """The model, tapped; its logits are checked against the data's classes."""
    try:
        tap = FeatureTap(model, names)
    except ValueError as error:
        raise UserError(f"loss asks the {key} for a feature it does not have: {error}") from error
    try:
        logits = _answer(tap, dataset).logits
    except (RuntimeError, ValueError) as error:
        shape = " x ".join(map(str, dataset.image_shape))
        raise UserError(f"{key}.model does not take images of {shape}: {error}") from error
    if logits.shape != (2, dataset.num_classes):
        raise UserError(
            f"{key}.model must give {dataset.num_classes} logits, one a class of the data set,"
            f" got an output of shape {tuple(logits.shape[1:])}"
        )
    return tap


def build_teacher_network(
    values: dict[str, Any], dataset: Dataset, features: Sequence[str], key: str = "teacher"
) -> FeatureTap:
    """The teacher's architecture with its initial weights, tapped for the features."""
    with torch.random.fork_rng():
        torch.manual_seed(derive("student", values["teacher"]["seed"]))
        model = _model_for(dataset, values["teacher"]["model"], key)
    return _tap(model, features, key, dataset)


def build_teacher(
    values: dict[str, Any], dataset: Dataset, features: Sequence[str], weights: Path, key: str
) -> Teacher:
    """The trained teacher, frozen on its device."""
    network = build_teacher_network(values, dataset, features, key)
    load_checkpoint(network.model, str(weights), key)
    device = resolve_device(values["trainer"]["device"])
    network.model.to(device)
    return Teacher(network, precision=values["trainer"]["precision"], device=device)


def digests(values: dict[str, Any]) -> dict[str, str]:
    """Content digests of what the config only names: the data and given checkpoints.

    Raises:
        UserError: if something named is not there.
    """
    source = build_source(values["dataset"])
    found = {"dataset": _checked("dataset", source.digest)}
    for key, path in _checkpoints(values):
        if not Path(path).is_file():
            raise UserError(
                f"{key}.checkpoint must be a file of weights, got {path}, which does not exist"
            )
        found[path] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return found


def _checkpoints(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The files of weights that a config names, those of its teachers included, by their key."""
    nodes = [("student", values["student"]), ("teacher", values["teacher"])]
    while nodes:
        key, node = nodes.pop()
        if node["checkpoint"] is not None:
            yield key, node["checkpoint"]
        if (below := node.get("teacher")) is not None:
            nodes.append((f"{key}.teacher", below))
        for kind in ("members", "peers"):
            nodes += [(f"{key}.{kind}.{n}", child) for n, child in node.get(kind, {}).items()]
