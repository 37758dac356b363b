"""A run's student, ready for its first step."""

from collections.abc import Sequence

import torch
from torch import nn

from kdsweep.builders.arithmetic import resolve_trainer
from kdsweep.builders.class_order import Task, put_in_order
from kdsweep.builders.device import resolve_device
from kdsweep.builders.instantiate import naming_key
from kdsweep.builders.losses import (
    build_objective,
    init_seed,
    prepare_student_network,
    set_up_terms,
)
from kdsweep.builders.models import (
    build_network,
    extract_features,
    load_checkpoint,
    load_start,
)
from kdsweep.builders.optimizers import build_optimizer
from kdsweep.builders.schedules import build_schedule
from kdsweep.common.rng import reseed_all
from kdsweep.config.run_config import ALL, HEAD, RunConfig
from kdsweep.data.pipeline.split import Dataset
from kdsweep.errors import UserError
from kdsweep.losses.base.objective import Objective
from kdsweep.models.components.embedding_output import gives_logits
from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.training.arithmetic import put_in_format
from kdsweep.training.compilation import CompiledForward, compiler_fault
from kdsweep.training.linear_probe import freeze_backbone
from kdsweep.training.parameter_groups import parameter_groups
from kdsweep.training.student import Student


def build_student_network(
    config: RunConfig, dataset: Dataset, features: Sequence[str] = (), key: str = "student"
) -> tuple[FeatureExtractor, Objective]:
    """A run's network with its initial weights, and the terms whose features it returns.

    The random state of the caller changes: terms may draw after the network.
    """
    reseed_all("student", init_seed(config))
    student = config.student
    model = build_network(dataset, student.model, key, student.image_size)
    if not gives_logits(model):
        raise UserError(f"{key}.model.head must be true for a network that is trained, got false")
    if (path := student.checkpoint) is not None:
        load_checkpoint(model, path, key)
        put_in_order(model, path, f"{key}.checkpoint", Task.of(dataset))
    elif student.start is not None:
        load_start(model, student, Task.of(dataset), key)
    objective = build_objective(config)
    prepare_student_network(config, objective, model, key)
    required = sorted({*objective.student_features, *features})
    return extract_features(model, required, key, dataset, config.loss), objective


def _freeze_backbone(model: nn.Module, dataset: Dataset) -> None:
    try:
        freeze_backbone(model, torch.zeros(2, *dataset.image_shape), dataset.num_classes)
    except ValueError as error:
        raise UserError(
            f"trainer.train must be {ALL} with this network, got {HEAD}: {error}"
        ) from error


def _refuse_compilation(device: str) -> None:
    """Raise UserError if nothing can be compiled for a device."""
    if (fault := compiler_fault(device.partition(":")[0])) is not None:
        raise UserError(
            f"trainer.compile must be false on {device} without a compiler that torch.compile can"
            f" use ({fault}), got true"
        )


def build_student(
    config: RunConfig,
    dataset: Dataset,
    teachers: Sequence[FeatureExtractor],
    steps_per_epoch: int,
    *,
    features: Sequence[str] = (),
    key: str = "student",
) -> Student:
    """One run's student, ready for its first step.

    The order of random draws is part of the contract: the model right after seeding "student",
    each term built and set up right after seeding its own name, so that the initialisation of no
    part depends on another's.

    Args:
        steps_per_epoch: batches in an epoch.
        teachers: the networks of the cohort's teachers; none if no run of it requires one, several
            for an ensemble. Terms read their shapes, and some their weights (`Term.read_teacher`).
        features: what others require of its network, in addition to its own terms.
        key: the config key of its network.
    """
    seed, device = init_seed(config), resolve_device(config.trainer.device)
    trainer = resolve_trainer(config, device)
    with torch.random.fork_rng():
        network, objective = build_student_network(config, dataset, features, key)
        set_up_terms(config, objective, network, teachers, dataset)
    model = network.model
    if trainer.compile:
        _refuse_compilation(device)
    if trainer.train == HEAD:
        _freeze_backbone(model, dataset)
    for part in (model, objective):
        part.to(device)
    put_in_format(model, trainer.memory_format)
    groups = parameter_groups(
        model,
        list(objective.parameters()),
        layer_decay=trainer.layer_decay,
        decay_norms=trainer.decay_norms,
    )
    steps = -(-steps_per_epoch // trainer.accumulate)  # of the optimizer
    optimizer = build_optimizer(config.optimizer, groups)
    scheduler = build_schedule(config.schedule, optimizer, trainer.epochs, steps)
    if trainer.compile:
        network.run_in_training = CompiledForward(model, trainer.threads)
    with naming_key("trainer.ema"):
        return Student(
            network,
            objective,
            optimizer,
            scheduler,
            seed=seed,
            precision=trainer.precision,
            grad_clip=trainer.grad_clip,
            accumulate=trainer.accumulate,
            per_epoch=steps_per_epoch,
            ema=trainer.ema,
            ema_warmup=trainer.ema_warmup,
            device=device,
        )
