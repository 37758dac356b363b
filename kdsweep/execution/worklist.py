"""What is still to be trained, as work units in the order of training.

The same list is estimated by `kdsweep estimate` and trained by `kdsweep.work`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kdsweep.execution.target import (
    RunTarget,
    SweepLocation,
    finished_result,
    has_ended,
    recorded_result,
    stage_target,
)
from kdsweep.runs.spec import RunSpec
from kdsweep.tracking.metadata import read_fingerprint
from kdsweep.tracking.result import RunResult
from kdsweep.training.checkpoint import latest_epoch
from kdsweep.training.partition import partition

TEACHING = ("teacher", "assistant")  # roles


@dataclass(frozen=True)
class WorkUnit:
    """Runs that are trained together as one cohort.

    Its inputs are the finished runs that `inputs` lists; its outcome is a `result.json` and final
    weights in the directory of every target. It can be executed by any process that sees these
    directories.
    """

    targets: tuple[RunTarget, ...]
    place: tuple[int, int] = (1, 1)  # which cohort it is, from 1, of how many alike

    @property
    def role(self) -> str:
        """The role of its runs: teacher, assistant, stage or run."""
        return self.targets[0].spec.role

    @property
    def depth(self) -> int:
        """The number of stages before it."""
        return len(self.targets[0].spec.stages)

    @property
    def specs(self) -> list[RunSpec]:
        return [target.spec for target in self.targets]

    @property
    def epochs_left(self) -> tuple[int, ...]:
        """The epochs that each of its runs has still to train."""
        epochs = self.specs[0].config.trainer.epochs
        return tuple(max(epochs - epochs_done(target), 0) for target in self.targets)


def split_finished(
    targets: Sequence[RunTarget],
) -> tuple[list[RunTarget], dict[str, tuple[RunTarget, RunResult]]]:
    """The runs that are to be trained, each fingerprint once, and those that have finished."""
    missing: dict[str, RunTarget] = {}
    finished: dict[str, tuple[RunTarget, RunResult]] = {}
    for target in targets:
        result = recorded_result(target)
        if result is not None and result.status == "FINISHED":
            finished.setdefault(target.spec.fingerprint, (target, result))
        else:
            missing.setdefault(target.spec.fingerprint, target)
    return [one for key, one in missing.items() if key not in finished], finished


def pending(
    targets: Sequence[RunTarget],
    sweep: SweepLocation | None,
    capacity: int | None,
    *,
    decided: Sequence[WorkUnit] = (),
) -> list[WorkUnit]:
    """The work units of runs that are to be trained: missing stages first, then the runs.

    Missing teachers come directly before the first unit that needs them, so that one whose training
    fails loses no run that another teacher has.

    Args:
        sweep: whose directory holds the stages; None for a run without a sweep.
        capacity: most runs a cohort may hold; None for no limit.
        decided: cohorts of further runs, which stay as they are.
    """
    further = [target for unit in decided for target in unit.targets]
    stages = _missing_stages([*targets, *further], sweep)
    units: list[WorkUnit] = []
    for depth in sorted({len(stage.spec.stages) for stage in stages}):
        units += cohorts([s for s in stages if len(s.spec.stages) == depth], capacity)
    units += [*decided, *cohorts(targets, capacity)]
    ordered: list[WorkUnit] = []
    listed: set[str] = set()
    for unit in units:
        teachers = [t for t in _teachers(unit.targets, sweep) if t.spec.fingerprint not in listed]
        listed |= {teacher.spec.fingerprint for teacher in teachers}
        ordered += [*(WorkUnit((teacher,)) for teacher in teachers), unit]
    return _numbered(ordered)


def _numbered(units: Sequence[WorkUnit]) -> list[WorkUnit]:
    """The units with their places: cohorts are counted over the runs, and the stages of a depth."""
    kinds = [(unit.role, unit.depth if unit.role == "stage" else 0) for unit in units]
    counts, reached = Counter(kinds), Counter[tuple[str, int]]()
    numbered = []
    for unit, kind in zip(units, kinds, strict=True):
        reached[kind] += 1
        numbered.append(replace(unit, place=(reached[kind], counts[kind])))
    return numbered


def cohorts(targets: Sequence[RunTarget], capacity: int | None) -> list[WorkUnit]:
    """The cohorts in which runs are trained."""
    positions = partition([target.spec.cohort_key for target in targets], capacity)
    return [WorkUnit(tuple(targets[place] for place in cohort)) for cohort in positions]


def teacher_targets(target: RunTarget, sweep: SweepLocation | None) -> Iterator[RunTarget]:
    """The runs that train the teachers of a run.

    A teacher is shared between sweeps; assistants and their teachers belong to one, in MLflow too.
    """
    for teacher in target.spec.teachers:
        if teacher.run is not None:
            nested = "assistant" in (target.spec.role, teacher.run.role)
            parent = sweep.parent_run_id if sweep is not None and nested else None
            yield RunTarget(teacher.run, teacher.run_dir, parent)


def epochs_done(target: RunTarget) -> int:
    """The epochs of this very run that are in its directory."""
    if read_fingerprint(target.run_dir) != target.spec.fingerprint:
        return 0
    return latest_epoch(target.checkpoints)


def inputs(target: RunTarget, sweep: SweepLocation | None) -> tuple[RunTarget, ...]:
    """The runs whose weights a run needs."""
    stage = stage_target(target, sweep)
    return (*teacher_targets(target, sweep), *([] if stage is None else [stage]))


def _missing_stages(targets: Sequence[RunTarget], sweep: SweepLocation | None) -> list[RunTarget]:
    """The stages that runs start from, down to the first that has ended, each once."""
    missing: dict[str, RunTarget] = {}
    for target in targets:
        stage = stage_target(target, sweep)
        while stage is not None and not has_ended(stage):
            missing.setdefault(stage.spec.fingerprint, stage)
            stage = stage_target(stage, sweep)
    return list(missing.values())


def _teachers(targets: Sequence[RunTarget], sweep: SweepLocation | None) -> list[RunTarget]:
    """The teachers that no store has, each once and after its own teacher."""
    teachers: dict[str, RunTarget] = {}  # the runs of a cohort share one: its files are read once
    for target in targets:
        for teacher in teacher_targets(target, sweep):
            teachers.setdefault(teacher.spec.fingerprint, teacher)
    missing: dict[str, RunTarget] = {}
    for fingerprint, teacher in teachers.items():
        if fingerprint not in missing and finished_result(teacher) is None:
            for one in (*_teachers([teacher], sweep), teacher):
                missing.setdefault(one.spec.fingerprint, one)
    return list(missing.values())
