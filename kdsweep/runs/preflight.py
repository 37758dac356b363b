"""Builds every run's parts once before training, so that errors are reported at once."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from kdsweep.builders.augmentations import refuse_own_augmentations
from kdsweep.builders.average_checks import refuse_dependent_average
from kdsweep.builders.class_order import Task
from kdsweep.builders.data import build_stream
from kdsweep.builders.device import resolve_device
from kdsweep.builders.losses import terms_with_teacher_features
from kdsweep.builders.models import build_teacher_network, load_given_weights
from kdsweep.builders.single_images import refuse_single_images
from kdsweep.builders.students import build_student_network
from kdsweep.common.files import can_be_made
from kdsweep.common.notices import warn_once
from kdsweep.common.pacing import with_lines
from kdsweep.config.run_config import RunConfig, to_values
from kdsweep.data.pipeline.split import Dataset
from kdsweep.errors import CollectedErrors, UserError, prefix_errors
from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.runs.errors_by_run import ErrorsByRun
from kdsweep.runs.spec import RunSpec, TeacherSpec
from kdsweep.runs.units import build_unit
from kdsweep.training.folding import foldable_pairs
from kdsweep.training.mutual import Peers
from kdsweep.training.student import Student

# Values that decide no shape, and that the specs have been built with: of a run, of a loss term.
OF_A_RUN = ("seed", "T", "alpha", "alpha_weighted", "hard_weight")
OF_A_TERM = ("T", "weight")
SLOW = 0.05  # of an average, the share of the first weights from which on there is a warning


def preflight(specs: Sequence[RunSpec], datasets: Callable[[RunConfig], Dataset]) -> None:
    """Build the parts of the distinct runs, and of the runs they depend on, and discard them.

    Runs that differ in seed, temperature and weights only have the same parts, built once.

    Args:
        datasets: gives the data set of a run; the process's cache.

    Raises UserError with everything that is wrong, each with the runs it is in.
    """
    errors = ErrorsByRun(len(specs))
    checker = _Preflight(datasets)
    checked: set[str] = set()
    for spec in with_lines(specs, "checking the runs"):
        if spec.fingerprint not in checked:
            checked.add(spec.fingerprint)
            with errors.of(spec.number, spec.swept):
                checker.check_once(spec)
    errors.raise_if_any()


def refuse_without_validation(
    specs: Sequence[RunSpec], datasets: Callable[[RunConfig], Dataset]
) -> None:
    """A search chooses by validation; a data set may bring a split of its own, so it is loaded.

    Raises UserError if a run's data set holds nothing out.
    """
    for spec in specs:
        if datasets(spec.config).val is None:
            raise UserError(
                "dataset.val_fraction must be > 0 in a search, got"
                f" {spec.config.dataset.val_fraction:g}: there is nothing to choose by"
            )


class _Preflight:
    """Builds what specs describe; what several share, such as a teacher, only once."""

    def __init__(self, datasets: Callable[[RunConfig], Dataset]) -> None:
        self.datasets = datasets
        self._teachers: dict[str, FeatureExtractor] = {}
        self._messages: dict[str, str | None] = {}  # by config, None where all can be built

    def check_once(self, spec: RunSpec) -> None:
        """Raise UserError as `check` does; the parts that several runs share are built once."""
        key = _parts(spec.config)
        if key not in self._messages:
            self._messages[key] = None
            try:
                self.check(spec)
            except UserError as error:
                self._messages[key] = str(error)
        if (message := self._messages[key]) is not None:
            raise UserError(message)

    def check(self, spec: RunSpec) -> None:
        dataset = self.datasets(spec.config)
        errors = CollectedErrors()
        steps = 1
        with errors.of():
            device = resolve_device(spec.config.trainer.device)
            stream = build_stream(spec.config, dataset, device)
            steps = stream.steps_per_epoch
            warn_of_slow_average(spec.config, steps)
            if spec.role not in ("teacher", "assistant"):  # whose images are those of their runs
                refuse_own_augmentations(stream, spec.config.dataset.augment)
        teachers: list[Sequence[FeatureExtractor]] = []
        with errors.of():
            teachers.append(self._networks(spec, dataset))
        with errors.of():
            for networks in teachers:
                self._check_unit(build_unit(spec, dataset, networks, steps), spec, networks)
            if not teachers:  # its terms cannot be set up, its own network can be built
                with torch.random.fork_rng():
                    build_student_network(spec.config, dataset)
        if spec.stage is not None:
            with errors.of(), prefix_errors(f"stages.{list(spec.config.stages)[-1]}"):
                self.check(spec.stage)
        errors.raise_if_any()

    def _check_unit(
        self, unit: Student | Peers, spec: RunSpec, networks: Sequence[FeatureExtractor]
    ) -> None:
        dataset = self.datasets(spec.config)
        for student in unit.students:
            if spec.config.trainer.batch_size == 1:
                # The terms of peers compare the outputs of each other.
                refuse_single_images(student, networks, dataset)
            refuse_dependent_average(student, dataset.image_shape)

    def _networks(self, spec: RunSpec, dataset: Dataset) -> list[FeatureExtractor]:
        """The networks of a run's teachers, for their shapes."""
        if (online := spec.online_teacher) is not None:
            config, features = online.config, spec.requirements.teacher_features
            seed = spec.config.teacher.seed
            network = build_teacher_network(
                config.student.model,
                seed,
                dataset,
                features,
                loss=spec.config.loss,
                image_size=config.student.image_size,
            )
            with prefix_errors("teacher", trains="teacher"):
                self.check(online)
            return [network]
        return [self._network(teacher, spec, dataset) for teacher in spec.teachers]

    def _network(self, teacher: TeacherSpec, spec: RunSpec, dataset: Dataset) -> FeatureExtractor:
        features = spec.requirements.teacher_features
        given, seed = teacher.config.given, teacher.config.seed
        identity = [teacher.model, given] if teacher.run is None else teacher.run.fingerprint
        fold = teacher.config.fold_batchnorm
        size = teacher.config.image_size
        key = json.dumps([identity, teacher.key, features, fold, size], sort_keys=True)
        if fold:
            refuse_features_of_folded(teacher, spec.config)
        if key not in self._teachers:
            network = build_teacher_network(
                teacher.model,
                seed,
                dataset,
                features,
                teacher.key,
                spec.config.loss,
                teacher.config.image_size,
            )
            if fold:
                refuse_unfoldable(teacher, network)
            if given is not None:
                load_given_weights(network.model, teacher.config, teacher.key, Task.of(dataset))
            if teacher.run is not None:
                refuse_store(teacher)
                with prefix_errors(teacher.key, trains=teacher.key):
                    self.check(teacher.run)
            self._teachers[key] = network
        return self._teachers[key]


def _parts(config: RunConfig) -> str:
    """What decides whether the parts of a run can be built, as text."""
    values = _without(to_values(config), OF_A_RUN)
    values["loss"] = {name: _without(node, OF_A_TERM) for name, node in config.loss.items()}
    return json.dumps(values, sort_keys=True, default=str)


def _without(values: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}


def warn_of_slow_average(config: RunConfig, batches: int) -> None:
    """Warn if the average of a run's weights does not get away from the first ones.

    ``batches``: of an epoch.
    """
    trainer = config.trainer
    if trainer.ema is None or trainer.ema_warmup:
        return
    steps = trainer.epochs * -(-batches // trainer.accumulate)
    if (first := trainer.ema ** (steps - 1)) >= SLOW:
        warn_once(
            f"trainer.ema={trainer.ema:g} of {config.student.name}: after {steps} steps"
            f" {first:.0%} of the average would still be the weights after the first one; a smaller"
            " decay, or trainer.ema_warmup=true, is for short training"
        )


def refuse_features_of_folded(teacher: TeacherSpec, config: RunConfig) -> None:
    """Raise UserError if loss terms read features, which folded BatchNorms change."""
    if names := terms_with_teacher_features(config):
        keys = " and ".join(f"loss.{name}" for name in names)
        raise UserError(
            f"{teacher.key}.fold_batchnorm must be false with {keys}, which read features of the"
            " teacher, got true"
        )


def refuse_unfoldable(teacher: TeacherSpec, network: FeatureExtractor) -> None:
    """Raise UserError if no BatchNorm of a teacher can be folded, or its graph is not known."""
    try:
        foldable_pairs(network.model)
    except ValueError as error:
        raise UserError(
            f"{teacher.key}.fold_batchnorm must be false with a {teacher.key}.model without"
            f" {error}, got true"
        ) from error


def refuse_store(teacher: TeacherSpec) -> None:
    """Raise UserError if teachers cannot be kept in their store; it is not made."""
    store = teacher.config.store
    if not can_be_made(Path(store)):
        raise UserError(f"{teacher.key}.store must be a folder that can be written, got {store}")
