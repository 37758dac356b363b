"""What a sweep is going to do, decided and checked before anything is made or trained."""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kdsweep.build import (
    Asked,
    asked,
    build_stream,
    build_teacher_network,
    build_unit,
    digests,
    load_checkpoint,
    resolve_device,
)
from kdsweep.common.passwords import redact_nested
from kdsweep.config.interpolation import interpolates, missing_keys, unknown_key_errors
from kdsweep.config.recipes import (
    has_company,
    online_recipe,
    peers,
    stage_before,
    teacher_recipe,
    teachers,
)
from kdsweep.config.resolve import resolve_config
from kdsweep.config.validate import validation_errors
from kdsweep.data.pipeline.split import Dataset
from kdsweep.errors import UserError
from kdsweep.identity import (
    cell,
    fingerprint,
    loss_name,
    override_keys,
    peer_fingerprint,
    run_name,
    teacher_identity,
)
from kdsweep.models.components.feature_extractor import FeatureTap
from kdsweep.training.partition import CohortKey

ADDED = ("alpha_weighted", "beside")  # to a config, by `resolved`


@dataclass(frozen=True)
class Plan:
    """One run, before it has a folder."""

    number: int  # of the job in its sweep
    values: dict[str, Any]  # the resolved config
    overrides: tuple[str, ...]
    swept: tuple[str, ...]  # those overrides that the sweep varies
    cell: str
    fingerprint: str
    asked: Asked
    teacher: str | None  # identity of the teacher, None if no term asks one
    follows: tuple[str, ...]  # those of T and alpha that have an effect
    role: str = "run"
    digests: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As people meet it: `kl T=4 alpha=0.5 seed=0`, `teacher cnn digits`."""
        if self.role in ("teacher", "assistant") and self.values["beside"] is None:
            return self.cell
        return run_name(self.cell, self.values["seed"])

    @cached_property
    def config_yaml(self) -> str:
        """The resolved config as a file, without what only kdsweep itself adds."""

        def told(node: Any) -> Any:
            if not isinstance(node, dict):
                return node
            return {key: told(child) for key, child in node.items() if key not in ADDED}

        return OmegaConf.to_yaml(OmegaConf.create(redact_nested(told(self.values))))

    @property
    def needs(self) -> CohortKey:
        """What decides the run's company in a cohort."""
        keys = ("dataset", "trainer", "seed")
        # Whoever the peers are, they ask no teacher of the cohort and suit each other's company.
        teacher = "peers" if peers(self.values) else self.teacher
        return CohortKey(_key({key: self.values[key] for key in keys}), teacher)

    @property
    def has_company(self) -> bool:
        """Whether runs of other roles belong to this one, so that it needs a parent run."""
        if self.values["stages"]:
            return True
        return self.teacher is not None and has_company(self.values)


def make_plans(
    configs: Sequence[DictConfig], jobs: Sequence[Sequence[str]], first: int, swept: Sequence[str]
) -> list[Plan]:
    """One plan a job.

    Args:
        configs: the composed config of every job, without its `hydra` node.
        jobs: the overrides of every job.
        first: number of the first job.
        swept: keys that the sweep varies.

    Raises:
        UserError: with one sentence for every value that is not allowed, and the runs it is in.
    """
    found: dict[str, list[str]] = {}
    plans: list[Plan] = []
    seen: dict[str, dict[str, str]] = {}
    for number, (cfg, job) in enumerate(zip(configs, jobs, strict=True), start=first):
        varied = tuple(o for o in job if set(override_keys([o])) & set(swept))
        try:
            plans.append(_plan(cfg, tuple(job), varied, number, seen))
        except UserError as error:
            for sentence in str(error).splitlines():
                found.setdefault(sentence, []).append(_origin(number, varied))
    if found:
        raise UserError(_report(found, len(jobs)))
    return plans


def _plan(
    cfg: DictConfig,
    job: tuple[str, ...],
    swept: tuple[str, ...],
    number: int,
    seen: dict[str, dict[str, str]],
) -> Plan:
    if absent := missing_keys(cfg):
        raise UserError("\n".join(f"{key} must be given" for key in absent))
    values = resolve_config(cfg)
    if (
        sentences := validation_errors(values)
        + unknown_key_errors(cfg)
        + _repeated(job, values["loss"])
    ):
        raise UserError("\n".join(sentences))
    needs = _asked_with_teachers(values)
    key = _key([values["dataset"], values["student"]["checkpoint"], values["teacher"]])
    found = seen[key] = seen.get(key) or digests(values)
    return Plan(
        number=number,
        values=values,
        overrides=tuple(redact_nested(job)),
        swept=swept,
        cell=cell(cfg, values, swept),
        fingerprint=_fingerprint(values, found),
        asked=needs,
        teacher=_teacher(values, needs, found),
        follows=tuple(key for key in ("T", "alpha") if interpolates(cfg, key)),
        digests=found,
    )


def teacher_plan(values: dict[str, Any], digests: dict[str, str]) -> Plan:
    """The run that trains the one teacher of a config: an assistant if it has a teacher itself."""
    recipe = teacher_recipe(values)
    role = "assistant" if asked(recipe).needs_teacher else "teacher"
    return _recipe_plan(recipe, digests, role)


def stage_plan(plan: Plan) -> Plan | None:
    """The run whose weights a run begins with; None if it begins with none."""
    if (before := stage_before(plan.values)) is None:
        return None
    name, recipe = before
    stage = _recipe_plan(recipe, plan.digests, "stage")
    return replace(stage, cell=f"stage {name} {loss_name(recipe)}")


def stages_of(plan: Plan) -> list[Plan]:
    """Every stage of a run, the last one first."""
    stage = stage_plan(plan)
    return [] if stage is None else [stage, *stages_of(stage)]


def online_plan(plan: Plan) -> Plan | None:
    """The run of the teacher that trains beside a run; None if there is none."""
    recipe = online_recipe(plan.values) if plan.teacher is not None else None
    return None if recipe is None else _recipe_plan(recipe, plan.digests, "teacher")


def _recipe_plan(recipe: dict[str, Any], digests: dict[str, str], role: str) -> Plan:
    needs = asked(recipe)
    return Plan(
        number=0,
        values=recipe,
        overrides=(),
        swept=(),
        cell=f"{role} {recipe['student']['name']} {recipe['dataset']['name']}",
        fingerprint=_fingerprint(recipe, digests),
        asked=needs,
        teacher=_teacher(recipe, needs, digests),
        follows=(),
        role=role,
        digests=digests,
    )


def peer_plans(plan: Plan) -> dict[str, Plan]:
    """The runs of the other peers of a run, by name."""
    return {
        name: replace(
            plan,
            values=values,
            cell=f"{plan.cell} peer={name}",
            fingerprint=peer_fingerprint(plan.fingerprint, name),
            role="peer",
        )
        for name, values in peers(plan.values).items()
    }


def _asked_with_teachers(values: dict[str, Any]) -> Asked:
    """What a run asks, once it is sure that it and every recipe below has whom to ask.

    Raises:
        UserError: if loss terms cannot be built, or need a teacher where there is none.
    """
    needs, found, others = asked(values), teachers(values), peers(values)
    if others and not needs.needs_teacher:
        raise UserError(
            "loss must have a term that asks a teacher with teacher.peers, got"
            f" {loss_name(values)}: peers would learn nothing from each other"
        )
    someone = found or others or online_recipe(values)
    if needs.needs_teacher and not someone:
        name = values["teacher"]["name"]
        without = "" if name == "none" else " without a model or members"
        raise UserError(
            f"teacher must be a model for these loss terms, got {name}{without}; loss=ce needs none"
        )
    for key, one in found.items() if needs.needs_teacher else ():
        with _below(key):
            _asked_with_teachers(teacher_recipe(one))
    if (before := stage_before(values)) is not None:
        name, recipe = before
        with _below(f"stages.{name}"):
            _asked_with_teachers(recipe)
    return needs


@contextmanager
def _below(key: str) -> Iterator[None]:
    """Put the key of a recipe in front of what is wrong with it."""
    try:
        yield
    except UserError as error:
        raise UserError("\n".join(f"{key}.{line}" for line in str(error).splitlines())) from error


def _needs_teacher(values: dict[str, Any]) -> bool:
    return asked(values).needs_teacher


def _fingerprint(values: dict[str, Any], digests: dict[str, str]) -> str:
    return fingerprint(
        values, needs_teacher=_needs_teacher, digests=digests, resolve_device=resolve_device
    )


def _teacher(values: dict[str, Any], needs: Asked, digests: dict[str, str]) -> str | None:
    """The identity of the teacher that a run asks, None if it asks none."""
    if not needs.needs_teacher:
        return None
    return _key(
        teacher_identity(
            values, needs_teacher=_needs_teacher, digests=digests, resolve_device=resolve_device
        )
    )


def check(plans: Sequence[Plan], datasets: Callable[[dict[str, Any]], Dataset]) -> None:
    """Build every run's parts once, and throw them away: nothing wrong may show up in the night.

    Args:
        datasets: values -> Dataset, the process's cache.

    Raises:
        UserError: all that is wrong, each with the runs it is in.
    """
    found: dict[str, list[str]] = {}
    checked: set[str] = set()
    checker = _Checker(datasets)
    for plan in plans:
        if plan.fingerprint in checked:
            continue
        checked.add(plan.fingerprint)
        try:
            checker.check(plan)
        except UserError as error:
            found.setdefault(str(error), []).append(_origin(plan.number, plan.swept))
    if found:
        raise UserError(_report(found, len(plans)))


class _Checker:
    """Builds what plans describe; what several plans share, such as a teacher, only once."""

    def __init__(self, datasets: Callable[[dict[str, Any]], Dataset]) -> None:
        self.datasets = datasets
        self._teachers: dict[str, FeatureTap] = {}

    def check(self, plan: Plan) -> None:
        dataset = self.datasets(plan.values)
        device = resolve_device(plan.values["trainer"]["device"])
        stream = build_stream(plan.values, dataset, device)
        networks = [] if plan.teacher is None else self.teachers(plan, dataset)
        build_unit(plan.values, dataset, networks, stream.steps_per_epoch)
        if (stage := stage_plan(plan)) is not None:
            with _below(f"stages.{list(plan.values['stages'])[-1]}"):
                self.check(stage)

    def teachers(self, plan: Plan, dataset: Dataset) -> list[FeatureTap]:
        if (beside := online_plan(plan)) is not None:
            network = build_teacher_network(plan.values, dataset, plan.asked.teacher_features)
            with _below("teacher"):
                self.check(beside)
            return [network]
        return [self.teacher(key, one, plan, dataset) for key, one in teachers(plan.values).items()]

    def teacher(self, key: str, values: dict[str, Any], plan: Plan, dataset: Dataset) -> FeatureTap:
        features = plan.asked.teacher_features
        mark = _key([_teacher(values, plan.asked, plan.digests), features])
        if mark not in self._teachers:
            teacher = build_teacher_network(values, dataset, features, key)
            if (path := values["teacher"]["checkpoint"]) is not None:
                load_checkpoint(teacher.model, path, key)
            else:
                make_folder(Path(values["teacher"]["store"]), f"{key}.store")
                with _below(key):
                    self.check(teacher_plan(values, plan.digests))
            self._teachers[mark] = teacher
        return self._teachers[mark]


def make_folder(folder: Path, key: str) -> None:
    """Make a folder that a config key names.

    Raises:
        UserError: if it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"{key} must be a folder that can be written, got {folder}") from error


def _repeated(job: Sequence[str], terms: Collection[str]) -> list[str]:
    """Sentences about `loss=[]`, `loss=null`, `loss=[kl,kl]`, `~loss` and options without a term.

    All of them compose without a word.
    """
    if any(word.partition("=")[0] == "~loss" for word in job):
        return ["loss must name at least one option (ce for none beside the hard term), got ~loss"]
    written = override_keys(job).get("loss")
    if written is None:
        return []
    names = [name.strip() for name in written.strip("[]").split(",") if name.strip()]
    if not names or names == ["null"]:
        return [
            f"loss must name at least one option (ce for none beside the hard term), got {written}"
        ]
    if len(set(names)) < len(names):
        return [f"loss must name each option once, got {written}"]
    if len(options := [name for name in names if name != "ce"]) > len(terms):
        found = ", ".join(terms) or "none"
        return [
            f"loss must name options with a loss term each, got {', '.join(options)}, which have"
            f" {found} (ce is the option without)"
        ]
    return []


def _origin(number: int, swept: Sequence[str]) -> str:
    return f"run {number}: {' '.join(swept)}" if swept else f"run {number}"


def _report(found: dict[str, list[str]], runs: int) -> str:
    """A sentence a line; the runs it concerns are named unless it concerns all."""
    lines = []
    for sentence, origins in found.items():
        more = f" and {len(origins) - 3} more" if len(origins) > 3 else ""
        where = f" ({'; '.join(origins[:3])}{more})" if len(origins) < runs else ""
        lines.append(sentence + where)
    return "\n".join(lines)


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
