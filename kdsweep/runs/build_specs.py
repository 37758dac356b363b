"""From composed configs to run specs: everything is decided and validated before training."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from omegaconf import DictConfig

from kdsweep.builders.arithmetic import resolve_arithmetic
from kdsweep.builders.checkpoints import CheckpointFiles
from kdsweep.builders.device import resolve_device
from kdsweep.builders.digests import content_digests
from kdsweep.builders.losses import Requirements, objective_requirements
from kdsweep.builders.sources import DataSources
from kdsweep.common.passwords import redact_nested
from kdsweep.common.teacher_views import SAME
from kdsweep.config.added_keys import without_added_of_model
from kdsweep.config.allow import allow
from kdsweep.config.interpolation import missing_keys, raw, unknown_key_errors
from kdsweep.config.overrides import override_values
from kdsweep.config.recipes import (
    last_stage,
    online_recipe,
    peer_recipes,
    single_teachers,
    teacher_recipe,
)
from kdsweep.config.resolve import resolve_config
from kdsweep.config.run_config import RunConfig, to_values
from kdsweep.config.schema import BY_NAME
from kdsweep.config.targets import target_errors
from kdsweep.config.threads import resolve_threads
from kdsweep.config.validate import validation_errors
from kdsweep.errors import CollectedErrors, UserError, prefix_errors
from kdsweep.runs.errors_by_run import ErrorsByRun
from kdsweep.runs.fingerprint import fingerprint, peer_fingerprint, student_identity
from kdsweep.runs.naming import Cell, cell_of
from kdsweep.runs.spec import RunSpec, TeacherSpec
from kdsweep.runs.value_checks import (
    WEIGHING,
    ValueChecks,
    about_other_keys,
    key_of,
    loss_option_errors,
    unknown_term_options,
)


def build_specs(
    configs: Sequence[DictConfig],
    jobs: Sequence[Sequence[str]],
    first: int,
    swept: Sequence[str],
    sources: DataSources | None = None,
) -> list[RunSpec]:
    """One spec a job.

    Args:
        configs: the composed config of every job, without its `hydra` node.
        jobs: the overrides of every job.
        first: number of the first job.
        swept: keys that the sweep varies.
        sources: the data sources of the command, if it uses them again.

    The modules that these configs allow are those that this process allows from now on. Raises
    UserError with one message for every value that is not allowed, and the runs it is in.
    """
    allow(dict.fromkeys(name for cfg in configs for name in cfg.allow))
    errors = ErrorsByRun(len(jobs))
    builder = SpecBuilder(sources)
    specs: list[RunSpec] = []
    for number, (cfg, job) in enumerate(zip(configs, jobs, strict=True), start=first):
        varied = tuple(word for word in job if set(override_values([word])) & set(swept))
        words = tuple(redact_nested(job))
        with errors.of(number, varied):
            spec = builder.of_job(cfg, job, varied)
            numbered = partial(replace, number=number, overrides=words, swept=varied)
            peers = {name: numbered(peer) for name, peer in spec.peers.items()}
            specs.append(numbered(spec, peers=peers))
    errors.raise_if_any()
    return specs


class SpecBuilder:
    """Builds the tree of each run bottom up; what several runs share is built once."""

    def __init__(self, sources: DataSources | None = None) -> None:
        self._checkpoints = CheckpointFiles()
        self._sources = sources or DataSources()
        self._digests: dict[str, dict[str, str]] = {}
        self._shared: dict[str, RunSpec] = {}
        self._checks = ValueChecks()

    def of_job(self, cfg: DictConfig, job: Sequence[str], swept: Sequence[str]) -> RunSpec:
        """The spec of a job. Raises UserError, with a message a line."""
        written = raw(cfg)
        if absent := missing_keys(written):
            raise UserError("\n".join(f"{key} must be given" for key in absent))
        config, errors = self._checkpoints.resolve(resolve_config(cfg))
        errors += validation_errors(config) + target_errors(config) + unknown_key_errors(written)
        errors += loss_option_errors(job, config.loss)
        requirements = self._checked_requirements(config, errors)
        return self._run(config, requirements, cell_of(cfg, config, swept))

    def of_config(self, config: RunConfig, cell: Cell) -> RunSpec:
        """The spec of a run with this valid config. Raises UserError."""
        return self._run(config, _requirements(config), cell)

    def _run(self, config: RunConfig, requirements: Requirements, cell: Cell) -> RunSpec:
        config = resolve_threads(config)
        own = [config.student.checkpoint, config.student.start]
        named = [to_values(config.dataset), own, to_values(config.teacher)]
        key = json.dumps(named, sort_keys=True)
        if key not in self._digests:
            self._digests[key] = content_digests(config, self._sources)
        return self._spec(config, requirements, self._digests[key], "run", cell)

    def _checked_requirements(self, config: RunConfig, errors: list[str]) -> Requirements:
        """What the loss terms of a run require, if all of its values are allowed.

        Args:
            errors: messages about it that there are already; of two for a key the first counts.

        Raises UserError with these and all others.
        """
        collected, requirements = CollectedErrors(), None
        keys = set(map(key_of, errors))
        if WEIGHING & keys:  # a term may be wrong because alpha is
            collected.messages += unknown_term_options(config)
        else:
            with collected.of():
                requirements = _requirements(config)
        needs_teacher = requirements is None or requirements.needs_teacher
        collected.messages += self._checks.errors(config, needs_teacher=needs_teacher, known=keys)
        collected.messages = errors + about_other_keys(collected.messages, errors)
        collected.raise_if_any()
        assert requirements is not None, "there is no error"
        return requirements

    def _spec(
        self,
        config: RunConfig,
        requirements: Requirements,
        digests: dict[str, str],
        role: str,
        cell: Cell,
        prefix: str = "",
    ) -> RunSpec:
        device = resolve_device(config.trainer.device)
        config = resolve_arithmetic(config, device, prefix)
        stage = self._stage(config, digests)
        teachers: tuple[TeacherSpec, ...] = ()
        online: RunSpec | None = None
        identity: Any = None
        if requirements.needs_teacher:
            for key, single in single_teachers(config).items():
                with prefix_errors(key):
                    inner = f"{prefix}{key}."
                    run = self.related(teacher_recipe(single), digests, "teacher", prefix=inner)
                is_trained = single.teacher.given_by is None
                teachers += (TeacherSpec(key, single.teacher, run if is_trained else None),)
            recipe = online_recipe(config)
            if recipe is not None:
                online = self.related(recipe, digests, "teacher", prefix=f"{prefix}teacher.")
            identity = _teacher_identity(config, teachers, online, digests)
        spec = RunSpec(
            config=config,
            cell=cell,
            fingerprint=fingerprint(
                config,
                digests=digests,
                device=device,
                teacher=identity,
                stage=None if stage is None else stage.fingerprint,
            ),
            requirements=requirements,
            digests=digests,
            role=role,
            teachers=teachers,
            online_teacher=online,
            stage=stage,
            teacher_identity=None if identity is None else json.dumps(identity, sort_keys=True),
        )
        return replace(spec, peers=_peers(spec))

    def _stage(self, config: RunConfig, digests: dict[str, str]) -> RunSpec | None:
        if (last := last_stage(config)) is None:
            return None
        name, recipe = last
        with prefix_errors(f"stages.{name}"):
            return self.related(recipe, digests, "stage", f"stage {name} {recipe.loss_name}")

    def related(
        self,
        config: RunConfig,
        digests: dict[str, str],
        role: str,
        cell: str | None = None,
        *,
        prefix: str = "",
    ) -> RunSpec:
        """The spec of a run that another one depends on; ``prefix``: of its keys in warnings."""
        key = json.dumps([role, cell, to_values(config), digests], sort_keys=True, default=str)
        if key not in self._shared:
            requirements = _requirements(config)
            if role == "teacher" and requirements.needs_teacher:
                role = "assistant"
            name = cell or f"{role} {config.student.name} {config.dataset.name}"
            self._shared[key] = self._spec(
                config, requirements, digests, role, Cell(name, config.loss_name), prefix
            )
        return self._shared[key]


def _peers(spec: RunSpec) -> dict[str, RunSpec]:
    return {
        name: replace(
            spec,
            config=config,
            cell=replace(spec.cell, name=f"{spec.cell.name} peer={name}"),
            fingerprint=peer_fingerprint(spec.fingerprint, name),
            requirements=objective_requirements(config),
            role="peer",
        )
        for name, config in peer_recipes(spec.config).items()
    }


def _requirements(config: RunConfig) -> Requirements:
    """What a run's loss terms require; a teacher they require must be configured.

    Raises UserError if loss terms cannot be built, or need a teacher where there is none.
    """
    requirements = objective_requirements(config)
    teacher = config.teacher
    if teacher.peers and not requirements.needs_teacher:
        raise UserError(
            "loss must have a term that needs a teacher with teacher.peers, got"
            f" {config.loss_name}: peers would learn nothing from each other"
        )
    has_teacher = bool(single_teachers(config) or teacher.peers or online_recipe(config))
    if requirements.needs_teacher and not has_teacher:
        without = "" if teacher.name == "none" else " without a model or members"
        raise UserError(
            f"teacher must be a model for these loss terms, got {teacher.name}{without};"
            " loss=ce needs none"
        )
    return requirements


def _teacher_identity(
    config: RunConfig,
    teachers: Sequence[TeacherSpec],
    online: RunSpec | None,
    digests: Mapping[str, str],
) -> Any:
    """What identifies the teachers of a run.

    Of each that is frozen the run that trains it, or its given file, and how its outputs are
    computed.
    """
    if online is not None:
        return {"online": online.fingerprint}
    if config.teacher.peers:
        return {
            "peers": [
                [name, student_identity(to_values(peer.student), digests), peer.loss]
                for name, peer in peer_recipes(config).items()
            ]
        }
    single = [_frozen_identity(teacher, digests) for teacher in teachers]
    identity = {"members": single} if config.teacher.members else single[0]
    view = config.teacher.view
    return identity if view == SAME else {**identity, "view": view}


def _frozen_identity(teacher: TeacherSpec, digests: Mapping[str, str]) -> dict[str, Any]:
    config = teacher.config
    computed: dict[str, Any] = {
        "precision": config.precision,
        "memory_format": config.memory_format,
    }
    if config.logits != "fp32":  # so that an earlier run is the same without the key
        computed["logits"] = config.logits
    if config.fold_batchnorm:
        computed["fold_batchnorm"] = config.fold_batchnorm
    if config.image_size is not None and teacher.run is None:  # else it is in that run
        computed["image_size"] = config.image_size
    if teacher.run is not None:
        return {"run": teacher.run.fingerprint, **computed}
    if config.given_by == "start" and config.start_match != BY_NAME:
        computed["start_match"] = config.start_match
    model = without_added_of_model(teacher.model)
    return {"model": model, "checkpoint": digests[str(config.given)], **computed}
