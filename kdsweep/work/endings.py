"""What a unit that is over means for the others of its graph, and for the runs of the sweep."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from kdsweep.common.files import write_json_atomic
from kdsweep.errors import UserError
from kdsweep.execution.target import RunTarget, described_by, recorded_result
from kdsweep.execution.worklist import TEACHING, WorkUnit
from kdsweep.tracking.result import RunResult
from kdsweep.tracking.run_dir import RESULT
from kdsweep.work.graph import UnitGraph

AUXILIARY = (*TEACHING, "stage")  # roles of what is trained for the runs of a sweep


@dataclass(frozen=True)
class Outcome:
    """A unit that is over.

    Attributes:
        failure: why it could not be trained; None if it could, whatever its runs have come to.
        results: of its runs, by fingerprint.
        raised: whether an exception in another process is the failure, not the end of processes.
    """

    number: int
    failure: str | None = None
    results: Mapping[str, RunResult] = field(default_factory=dict)
    raised: bool = False


@dataclass
class Ended:
    """The runs that have ended, by fingerprint; teachers and stages are none of them.

    Attributes:
        blocked: why runs among them could not be trained, for lack of a teacher or a stage.
    """

    results: dict[str, RunResult] = field(default_factory=dict)
    blocked: dict[str, str] = field(default_factory=dict)

    def add(self, other: "Ended") -> None:
        self.results |= other.results
        self.blocked |= other.blocked

    def of_sweep(self) -> dict[str, RunResult]:
        """The results of all runs of a sweep.

        Raises UserError if none of them could be trained for lack of a teacher.
        """
        if self.results and self.results.keys() <= self.blocked.keys():
            raise UserError("\n".join(sorted(set(self.blocked.values()))))
        return self.results


def end_unit(graph: UnitGraph, outcome: Outcome) -> Ended:
    """Take a unit that is over out of its graph; what cannot be trained without it has failed."""
    unit = graph.units[outcome.number]
    if (reason := outcome.failure or _failed_teacher(unit, outcome.results)) is None:
        graph.end(outcome.number)
        return Ended(dict(outcome.results) if unit.role not in AUXILIARY else {})
    ended = Ended()
    if unit.role not in AUXILIARY:
        ended.results |= {t.spec.fingerprint: _fail(t, reason) for t in unit.targets}
    for target in graph.fail(outcome.number):
        if target.spec.role not in AUXILIARY:
            ended.results[target.spec.fingerprint] = _fail(target, reason)
            ended.blocked[target.spec.fingerprint] = reason
    return ended


def _failed_teacher(unit: WorkUnit, results: Mapping[str, RunResult]) -> str | None:
    """Why a teacher has not finished; None if it has, or the unit is of other runs."""
    if unit.role not in TEACHING:
        return None
    (target,) = unit.targets
    result = results.get(target.spec.fingerprint)
    if result is not None and result.status == "FINISHED":
        return None
    reason = "it has no result" if result is None else result.reason
    return f"teacher {target.spec.config.student.name}: {reason}"


def _fail(target: RunTarget, reason: str) -> RunResult:
    """Record that a run could not be trained, unless it has ended otherwise; it can be resumed."""
    result = recorded_result(target)
    if result is not None and result.status not in ("KILLED", "FAILED"):
        return result
    if result is None:
        result = RunResult(status="FAILED", **described_by(target.spec))
    elif result.status == "FAILED":  # its own reason is more precise
        return result
    failed = replace(result, status="FAILED", reason=reason, with_cohort=True)
    target.run_dir.mkdir(parents=True, exist_ok=True)
    write_json_atomic(target.run_dir / RESULT, failed.to_json())
    return failed
