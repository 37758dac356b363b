"""Checks all parts of a config, and a step of the run that they make."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from kdsweep.builders.checkpoints import CheckpointFiles
from kdsweep.builders.data import build_dataset, build_stream
from kdsweep.builders.losses import build_objective
from kdsweep.common.types import Batch
from kdsweep.config.allow import allow
from kdsweep.config.interpolation import missing_keys, raw, unknown_key_errors
from kdsweep.config.recipes import single_teachers
from kdsweep.config.resolve import resolve_config
from kdsweep.config.run_config import ResolvedPeer, ResolvedTeacher, RunConfig
from kdsweep.config.single import compose_single
from kdsweep.config.targets import target_errors
from kdsweep.config.validate import validation_errors
from kdsweep.data.pipeline.split import Dataset
from kdsweep.data.types import LabelledImages
from kdsweep.errors import UserError
from kdsweep.runs.build_specs import SpecBuilder
from kdsweep.runs.naming import Cell
from kdsweep.runs.spec import RunSpec
from kdsweep.runs.units import build_unit, build_untrained_teacher, view_of_teacher
from kdsweep.sweeps.check.contract import LOCKSTEP, Check, Part, require_equal
from kdsweep.sweeps.check.data import check_augmentation, check_source
from kdsweep.sweeps.check.networks import check_network
from kdsweep.sweeps.check.optimization import check_optimizer, check_schedule
from kdsweep.sweeps.check.terms import Networks, check_term
from kdsweep.training.trainer import CohortUnit, torch_state

IMAGES = 8  # in the batch that networks and terms are checked with


def check_words(words: Sequence[str]) -> list[Check]:
    """What is found of every part of the run that the words of a command line describe.

    Raises UserError for words that cannot be composed, and values that are not allowed.
    """
    cfg = compose_single(words)
    allow(cfg.allow)
    written = raw(cfg)
    if absent := missing_keys(written):
        raise UserError("\n".join(f"{key} must be given" for key in absent))
    config, errors = CheckpointFiles().resolve(resolve_config(cfg))
    errors += validation_errors(config) + target_errors(config) + unknown_key_errors(written)
    if errors:
        raise UserError("\n".join(errors))
    return check_parts(config)


def check_parts(config: RunConfig) -> list[Check]:
    """What is found of every part of a run: on the CPU, with a few training images."""
    checks: list[Check] = []
    with torch.random.fork_rng():
        for part in _independent_parts(config, checks):
            part()
        if any(check.fault is not None and check.key == "dataset.source" for check in checks):
            return checks  # whose images the others need
        # Its only step is one of the optimizer, and is not worth compiling.
        trainer = replace(config.trainer, device="cpu", accumulate=1, compile=False)
        cpu = replace(config, trainer=trainer)
        dataset = build_dataset(config.dataset, "cpu")
        batch = _batch(cpu, dataset)
        _check_run(cpu, dataset, batch, checks)
    return checks


def _independent_parts(config: RunConfig, checks: list[Check]) -> Iterator[Any]:
    """Checks that need no image."""
    source = Part("dataset.source", config.dataset.source, checks)
    yield lambda: check_source(source, config.dataset)
    optimizer = Part("optimizer", config.optimizer, checks)
    yield lambda: check_optimizer(optimizer)
    schedule = Part("schedule", config.schedule, checks)
    yield lambda: check_schedule(schedule, config.trainer.epochs)


def _batch(config: RunConfig, dataset: Dataset) -> Batch:
    """A small batch of the stream, without the user's augmentations, which are checked apart."""
    augment = replace(config.dataset.augment, own={}, mixup=0.0, cutmix=0.0, strong_view=0)
    size = min(IMAGES, len(dataset.train.labels))
    small = replace(
        config,
        dataset=replace(config.dataset, augment=augment),
        trainer=replace(config.trainer, batch_size=size),
    )
    return next(build_stream(small, dataset, "cpu").epoch(0))


def _check_run(config: RunConfig, dataset: Dataset, batch: Batch, checks: list[Check]) -> None:
    """The parts that need images, then the run."""
    images = dataset.train.subset(batch.index).images
    for name, node in config.dataset.augment.own.items():
        if isinstance(images, torch.Tensor):
            images = images if dataset.view is None else dataset.view(images)
            check_augmentation(Part(f"dataset.augment.own.{name}", node, checks), images)
    student = check_network(
        Part("student.model", config.student.model, checks),
        dataset,
        batch,
        "student",
        config.student.image_size,
    )
    teachers: dict[str, nn.Module] = {}
    if _needs_teacher(config):
        for key, network in _teacher_networks(config).items():
            part, size = Part(f"{key}.model", network.model or {}, checks), network.image_size
            if (teacher := check_network(part, dataset, batch, key, size)) is not None:
                teachers[key] = teacher
    if student is not None:
        networks = Networks(config, dataset, student, teachers)
        for name, node in config.loss.items():
            check_term(Part(f"loss.{name}", node, checks), name, networks, batch)
    if all(check.fault is None for check in checks):
        _check_lockstep(config, dataset, checks)


def _teacher_networks(config: RunConfig) -> Mapping[str, ResolvedTeacher | ResolvedPeer]:
    """The networks that a run learns from, by their keys: of its teacher, members or peers."""
    teacher = config.teacher
    if teacher.online:
        return {"teacher": teacher}
    peers = {f"teacher.peers.{name}": peer for name, peer in teacher.peers.items()}
    return peers or {key: one.teacher for key, one in single_teachers(config).items()}


def _needs_teacher(config: RunConfig) -> bool:
    try:
        return build_objective(config).needs_teacher
    except UserError:  # the checks of the terms report it
        return True


def _check_lockstep(config: RunConfig, dataset: Dataset, checks: list[Check]) -> None:
    """Whether a step of the run is the same bits alone and next to a run with another seed."""
    part = Part("the run", {"_target_": config.loss_name}, checks)
    with part.check(LOCKSTEP):
        few = replace(dataset, train=_first(dataset.train, config.trainer.batch_size))
        cell = Cell(config.loss_name, config.loss_name)
        builder = SpecBuilder()
        another = replace(config, hard_weight=(config.hard_weight or 1.0) + 1.0)
        spec, other = (builder.of_config(one, cell) for one in (config, another))
        (alone,) = _stepped([spec], config, few)
        _, together = _stepped([other, spec], config, few)
        require_equal("a step, alone and next to another run,", _state(alone), _state(together))


def _stepped(specs: list[RunSpec], config: RunConfig, dataset: Dataset) -> list[CohortUnit]:
    """The units of a cohort after one step."""
    stream = build_stream(config, dataset, "cpu", teacher_view=view_of_teacher(specs))
    with torch_state(specs[0].config.trainer.threads):
        teacher = build_untrained_teacher(specs, dataset, stream.steps_per_epoch)
        networks = teacher.networks if teacher else ()
        units = [build_unit(spec, dataset, networks, stream.steps_per_epoch) for spec in specs]
        batch = next(stream.epoch(0))
        target = teacher.targets(batch, 0) if teacher else None
        for unit in units:
            unit.step(batch, target, 0)
    return list(units)


def _state(unit: CohortUnit) -> dict[str, torch.Tensor]:
    return {
        f"{number} {name}": tensor
        for number, student in enumerate(unit.students)
        for module in (student.model, student.objective)
        for name, tensor in module.state_dict().items()
    }


def _first(data: LabelledImages, count: int) -> LabelledImages:
    return data.subset(torch.arange(min(count, len(data.labels))))
