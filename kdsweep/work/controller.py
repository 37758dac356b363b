"""Has the units of a sweep trained, each as soon as its inputs are there."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from kdsweep.common.files import write_json_atomic
from kdsweep.errors import RunFailed, UserError
from kdsweep.execution.context import TrainingContext
from kdsweep.execution.target import (
    RunTarget,
    described_by,
    finished_result,
    has_ended,
    recorded_result,
)
from kdsweep.execution.worklist import TEACHING, WorkUnit, inputs
from kdsweep.tracking.result import RunResult
from kdsweep.tracking.run_dir import RESULT
from kdsweep.work.graph import UnitGraph
from kdsweep.work.placement import Placement

POLL_SECONDS = 0.5  # between two looks at the units in training


class Controller:
    """Has the units of a graph trained. Further units may be added to the graph meanwhile.

    Args:
        ends_on_error: an exception in the process of a unit is raised here, as one in this process
            is; else it fails the unit alone.
    """

    def __init__(
        self,
        graph: UnitGraph,
        placement: Placement,
        context: TrainingContext,
        *,
        ends_on_error: bool = False,
    ) -> None:
        self.graph, self.placement, self._context = graph, placement, context
        self._ends_on_error = ends_on_error

    def train(self) -> dict[str, RunResult]:
        """Train all units; returns the result of every run, by fingerprint.

        Raises UserError if all runs need a teacher that could not be trained, and what the
        placement raises; what is at work then is ended first, to be resumed. On SystemExit it goes
        on if it can without this process.
        """
        results: dict[str, RunResult] = {}
        reasons: set[str] = set()  # why there was nothing to train
        is_blocked = True
        try:
            while self.graph.units:
                found, blocked = self.step(POLL_SECONDS)
                is_blocked &= found.keys() <= blocked.keys()
                reasons |= set(blocked.values())
                results |= found
        except BaseException as error:
            # A signal that ends this process is no wish to end the sweep, as Ctrl-C is.
            self.placement.close(leave=isinstance(error, SystemExit))
            raise
        self.placement.close()
        if results and is_blocked:
            raise UserError("\n".join(sorted(reasons)))
        return results

    def step(self, seconds: float) -> tuple[dict[str, RunResult], dict[str, str]]:
        """Place units that can be trained, and wait at most so long for some to be over.

        Returns the results of the runs that have ended, by fingerprint, and of those among them
        that could not be trained for lack of a teacher the reason.

        Raises RunFailed if a unit ends on an error.
        """
        numbers = self.graph.take(self.placement.free())
        if numbers:
            self.placement.submit({number: self.graph.units[number] for number in numbers})
        results: dict[str, RunResult] = {}
        blocked: dict[str, str] = {}
        for outcome in self.placement.poll(seconds):
            if outcome.raised and self._ends_on_error:
                raise RunFailed(str(outcome.failure))
            unit = self.graph.units[outcome.number]
            if (reason := outcome.failure or _failed_teacher(unit, outcome.results)) is None:
                self.graph.end(outcome.number)
                results |= _of_runs(unit, outcome.results)
                continue
            if unit.role not in (*TEACHING, "stage"):
                results |= {t.spec.fingerprint: _fail(t, reason) for t in unit.targets}
            lost = [t for t in self.graph.fail(outcome.number) if _is_run(t)]
            results |= {target.spec.fingerprint: _fail(target, reason) for target in lost}
            blocked |= {target.spec.fingerprint: reason for target in lost}
        return results, blocked


def upload_inputs(targets: Sequence[RunTarget], context: TrainingContext) -> None:
    """Upload what MLflow lacks of teachers and stages that ended in an earlier process."""
    for target in targets:
        for one in inputs(target, context.sweep):
            if one.run_dir in context.run_dirs:
                continue
            is_there = has_ended(one) if one.spec.role == "stage" else finished_result(one)
            if is_there:
                context.upload_missing(one.run_dir)
            else:
                upload_inputs([one], context)


def _is_run(target: RunTarget) -> bool:
    return target.spec.role not in (*TEACHING, "stage")


def _of_runs(unit: WorkUnit, results: Mapping[str, RunResult]) -> dict[str, RunResult]:
    """Of teachers and stages nobody needs the results."""
    return dict(results) if _is_run(unit.targets[0]) else {}


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
