"""What a sweep is going to do, decided and checked before anything is made or trained."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kdsweep.build import (
    Asked,
    asked,
    build_stream,
    build_student,
    build_teacher_network,
    digests,
    load_checkpoint,
    resolve_device,
)
from kdsweep.config import follows, problems, resolved, teacher_recipe
from kdsweep.data.split import Dataset
from kdsweep.errors import UserError
from kdsweep.identity import cell, fingerprint, override_keys, run_name, teacher_identity
from kdsweep.models.features import FeatureTap
from kdsweep.training.cohort import Needs


@dataclass(frozen=True)
class Plan:
    """One run, before it has a folder."""

    number: int  # of the job in its sweep
    values: dict[str, Any]  # the resolved config
    config_yaml: str
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
        """As people meet it: `kl T=4 alpha=0.5 seed=0`."""
        return run_name(self.cell, self.values["seed"])

    @property
    def needs(self) -> Needs:
        """What decides the run's company in a cohort."""
        keys = ("dataset", "trainer", "seed")
        return Needs(_key({key: self.values[key] for key in keys}), self.teacher)


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
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        raise UserError("\n".join(f"{key} must be given" for key in missing))
    values = resolved(cfg)
    if sentences := problems(values) + _repeated(job):
        raise UserError("\n".join(sentences))
    needs = asked(values)
    if needs.needs_teacher and teacher_recipe(values) is None:
        raise UserError(
            "teacher must be a model for these loss terms, got none; loss=ce needs none"
        )
    key = _key([values["dataset"], values["student"]["checkpoint"], values["teacher"]])
    found = seen[key] = seen.get(key) or digests(values)
    identity = teacher_identity(values, found, resolve_device) if needs.needs_teacher else None
    return Plan(
        number=number,
        values=values,
        config_yaml=OmegaConf.to_yaml(cfg, resolve=True),
        overrides=job,
        swept=swept,
        cell=cell(cfg, values, swept),
        fingerprint=fingerprint(
            values,
            needs_teacher=needs.needs_teacher,
            digests=found,
            resolve_device=resolve_device,
        ),
        asked=needs,
        teacher=None if identity is None else _key(identity),
        follows=tuple(key for key in ("T", "alpha") if follows(cfg, key)),
        digests=found,
    )


def teacher_plan(plan: Plan) -> Plan:
    """The run that trains a plan's teacher."""
    recipe = teacher_recipe(plan.values)
    assert recipe is not None
    return Plan(
        number=0,
        values=recipe,
        config_yaml=OmegaConf.to_yaml(OmegaConf.create(recipe)),
        overrides=(),
        swept=(),
        cell=f"teacher {recipe['student']['name']} {recipe['dataset']['name']}",
        fingerprint=fingerprint(
            recipe, needs_teacher=False, digests=plan.digests, resolve_device=resolve_device
        ),
        asked=Asked(False, (), ()),
        teacher=None,
        follows=(),
        role="teacher",
        digests=plan.digests,
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
        teacher = None if plan.teacher is None else self.teacher(plan, dataset)
        build_student(plan.values, dataset, teacher, stream.steps_per_epoch)

    def teacher(self, plan: Plan, dataset: Dataset) -> FeatureTap:
        key = _key([plan.teacher, plan.asked.teacher_features])
        if key not in self._teachers:
            teacher = build_teacher_network(plan.values, dataset, plan.asked.teacher_features)
            if (path := plan.values["teacher"]["checkpoint"]) is not None:
                load_checkpoint(teacher.model, path, "teacher")
            else:
                make_folder(Path(plan.values["teacher"]["store"]), "teacher.store")
                self.recipe(teacher_plan(plan))
            self._teachers[key] = teacher
        return self._teachers[key]

    def recipe(self, plan: Plan) -> None:
        dataset = self.datasets(plan.values)
        try:
            stream = build_stream(plan.values, dataset, "cpu")
            build_student(plan.values, dataset, None, stream.steps_per_epoch)
        except UserError as error:
            raise UserError(f"teacher.{error}") from error


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


def _repeated(job: Sequence[str]) -> list[str]:
    """Sentences about `loss=[]`, `loss=null` and `loss=[kl,kl]`, which compose without a word."""
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
