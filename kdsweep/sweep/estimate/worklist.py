"""What a sweep would have to train, in the order of training, and a probe of each kind of it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from kdsweep.build import (
    build_splits,
    build_stream,
    build_student,
    build_teacher_network,
    build_unit,
    resolve_device,
)
from kdsweep.config.recipes import teachers
from kdsweep.data.pipeline.split import Dataset
from kdsweep.data.pipeline.stream import Stream
from kdsweep.errors import UserError
from kdsweep.plan import Plan, online_plan, stages_of, teacher_plan
from kdsweep.run import Place, Session, finished
from kdsweep.sweep.estimate.cost_model import Cohorts, Epochs, show
from kdsweep.tracking.metadata import fingerprint_in, result_of
from kdsweep.training.checkpoint import latest_epoch
from kdsweep.training.memory import is_out_of_memory
from kdsweep.training.online_teacher import OnlineTeacher
from kdsweep.training.partition import partition
from kdsweep.training.profiling import STEPS, WARM_UP, CohortProfile, profile_cohort
from kdsweep.training.teacher import Ensemble, Teacher
from kdsweep.training.trainer import AnyTeacher

LOGIT, LABEL = 4, 8  # bytes of each in a file of answers


@dataclass(frozen=True)
class Task:
    """A run that has to be trained, from the epoch that is there of it."""

    plan: Plan
    done: int = 0  # epochs

    @property
    def left(self) -> int:
        """Epochs to train."""
        return max(int(self.plan.values["trainer"]["epochs"]) - self.done, 0)


Cohort = tuple[Task, ...]


def workload(plans: Sequence[Plan], capacity: int | None, folder: Path | None) -> list[Cohort]:
    """Every cohort that the runs of a sweep take: missing teachers, then stages, then runs.

    Args:
        capacity: most runs a cohort may hold; None for no limit.
        folder: of the sweep that is gone on with; None for one that starts afresh.
    """
    runs = _missing_runs(plans, folder)
    return [*before(runs, capacity, folder), *cohorts_of(runs, capacity)]


def before(runs: Sequence[Task], capacity: int | None, folder: Path | None) -> list[Cohort]:
    """Every cohort that is trained before runs can be."""
    stages = _missing_stages(runs, folder)
    taught = missing_teachers([task.plan for task in (*stages, *runs)])
    found: list[Cohort] = [(teacher,) for teacher in taught.values()]
    for depth in sorted({_depth(stage) for stage in stages}):
        found += cohorts_of([stage for stage in stages if _depth(stage) == depth], capacity)
    return found


def _depth(stage: Task) -> int:
    """How many stages there are before a stage."""
    return len(stage.plan.values["stages"])


def cohorts_of(tasks: Sequence[Task], capacity: int | None) -> list[Cohort]:
    """The cohorts in which runs are trained."""
    needs = [task.plan.needs for task in tasks]
    return [tuple(tasks[place] for place in places) for places in partition(needs, capacity)]


def missing_teachers(plans: Sequence[Plan]) -> dict[str, Task]:
    """The teachers that no store has, by fingerprint; who teaches another one comes before it."""
    found: dict[str, Task] = {}
    for plan in plans:
        for one in teachers(plan.values).values() if plan.teacher is not None else ():
            if one["teacher"]["checkpoint"] is not None:
                continue
            recipe = teacher_plan(one, plan.digests)
            folder = Path(one["teacher"]["store"]) / recipe.fingerprint
            if finished(Place(recipe, folder, None)) is None:
                found = found | missing_teachers([recipe])
                found.setdefault(recipe.fingerprint, Task(recipe, _epochs_in(folder, recipe)))
    return found


def _missing_runs(plans: Sequence[Plan], folder: Path | None) -> list[Task]:
    """The runs that have not finished, equal ones once."""
    found: dict[str, Task] = {}
    ended = set()
    for plan in plans:
        there = None if folder is None else folder / str(plan.number)
        result = None if there is None else result_of(there, plan.fingerprint)
        if result is not None and result["status"] == "FINISHED":
            ended.add(plan.fingerprint)
        found.setdefault(plan.fingerprint, Task(plan, _epochs_in(there, plan)))
    return [task for mark, task in found.items() if mark not in ended]


def _missing_stages(runs: Sequence[Task], folder: Path | None) -> list[Task]:
    """What the runs begin with; before a stage that is there nothing is missing."""
    found: dict[str, Task] = {}
    for run in runs:
        for stage in stages_of(run.plan):
            there = None if folder is None else folder / f"stage-{stage.fingerprint}"
            if there is not None and finished(Place(stage, there, None)) is not None:
                break
            found.setdefault(stage.fingerprint, Task(stage, _epochs_in(there, stage)))
    return list(found.values())


def _epochs_in(folder: Path | None, plan: Plan) -> int:
    """Epochs that are there of a run; those of another run do not count."""
    if folder is None or fingerprint_in(folder) != plan.fingerprint:
        return 0
    return latest_epoch(folder / "checkpoint")


def tell(cohorts: Sequence[Cohort], session: Session, console: Console) -> None:
    """Probe what is to be trained, and print what it takes.

    Raises:
        UserError: if a run fails in its first steps, or a cohort does not fit into memory.
    """
    if not cohorts:
        console.print("nothing is left to train")
        return
    session.forget_sources()
    tracking = cohorts[0][0].plan.values["tracking"]
    show(list(measured(cohorts, session)), console, copied=tracking["uri"] is not None)


def measured(cohorts: Sequence[Cohort], session: Session) -> Iterator[Cohorts]:
    """A probe of every kind of cohort; those that differ in nothing but the seed are one kind.

    Raises:
        UserError: if a run fails in its first steps, or a cohort does not fit into memory.
    """
    kinds: dict[str, list[Cohort]] = {}
    for cohort in cohorts:
        kinds.setdefault(_kind(cohort), []).append(cohort)
    for alike in kinds.values():
        count, name = len(alike[0]), _told(alike[0])
        who = name if count == 1 else f"{count} runs side by side: {name}"
        session.progress.note(f"timing {STEPS} steps of {who}")
        yield _cohorts(alike, session)


def _kind(cohort: Cohort) -> str:
    """What decides the cost of a step."""
    nodes = [{k: v for k, v in task.plan.values.items() if k != "seed"} for task in cohort]
    return json.dumps(nodes, sort_keys=True, default=str)


def _told(cohort: Cohort) -> str:
    """`kl T=1 alpha=0.1, ...`."""
    return cohort[0].plan.cell + (", ..." if len(cohort) > 1 else "")


def _cohorts(alike: Sequence[Cohort], session: Session) -> Cohorts:
    """Cohorts of one kind, with a probe of the first."""
    plans = [task.plan for task in alike[0]]
    values, dataset = plans[0].values, session.dataset(plans[0].values)
    stream = build_stream(values, dataset, resolve_device(values["trainer"]["device"]))
    val, test = len(dataset.val.labels) if dataset.val else 0, len(dataset.test.labels)
    last = test + (val if session.answers else 0)
    return Cohorts(
        name=_told(alike[0]),
        role=plans[0].role,
        left=tuple(tuple(task.left for task in cohort) for cohort in alike),
        epochs=Epochs(
            number=values["trainer"]["epochs"],
            steps=stream.steps_per_epoch,
            measured=val + (test if values["trainer"]["test_curve"] else 0),
        ),
        tested=last,
        answers=last * (LOGIT * dataset.num_classes + LABEL) if session.answers else 0,
        asks=tuple(plan.teacher is not None for plan in plans),
        probe=_probe(plans, dataset, stream),
    )


def _probe(plans: Sequence[Plan], dataset: Dataset, stream: Stream) -> CohortProfile:
    """A few steps of a cohort, built as `train_cohort` builds it, with nowhere to write to."""
    values = plans[0].values
    # A schedule ends with its run, and a short run has fewer steps than are probed.
    steps = max(stream.steps_per_epoch, WARM_UP + STEPS)
    teacher = _untrained(plans, dataset, steps)
    networks = teacher.networks if teacher else ()
    units = [build_unit(plan.values, dataset, networks, steps) for plan in plans]
    splits = build_splits(values, dataset, str(stream.device))
    try:
        found = profile_cohort(
            units,
            stream,
            teacher=teacher,
            split=splits.get("val", splits["test"]),
            threads=values["trainer"]["threads"],
        )
    except Exception as error:
        if is_out_of_memory(error):
            raise UserError(_does_not_fit(plans)) from error
        raise
    for plan, unit in zip(plans, units, strict=True):
        if unit.failure is not None:
            raise UserError(f"{plan.name} fails in its first steps: {unit.failure}")
    return found


def _does_not_fit(plans: Sequence[Plan]) -> str:
    if len(plans) == 1:
        return f"{plans[0].name} does not fit into memory"
    return (
        f"hydra.launcher.cohort_size must be less than {len(plans)}, for {plans[0].name} and the"
        " runs beside it do not fit into memory together"
    )


def _untrained(plans: Sequence[Plan], dataset: Dataset, steps: int) -> AnyTeacher | None:
    """The teacher of a cohort with the weights that it is born with: it costs no less trained."""
    plan = next((plan for plan in plans if plan.teacher is not None), None)
    if plan is None:
        return None
    features = sorted({name for p in plans for name in p.asked.teacher_features})
    if (beside := online_plan(plan)) is not None:
        student = build_student(beside.values, dataset, (), steps, features=features)
        return OnlineTeacher(student)
    trainer = plan.values["trainer"]
    device = resolve_device(trainer["device"])
    found = []
    for key, one in teachers(plan.values).items():
        network = build_teacher_network(one, dataset, features, key)
        network.model.to(device)
        found.append(Teacher(network, precision=trainer["precision"], device=device))
    if not found:
        return None
    return Ensemble(found) if plan.values["teacher"]["members"] else found[0]
