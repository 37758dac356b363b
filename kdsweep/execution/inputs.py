"""Uploads teachers and stages that an earlier process has trained."""

from collections.abc import Sequence

from kdsweep.execution.context import TrainingContext
from kdsweep.execution.target import RunTarget, finished_result, has_ended
from kdsweep.execution.worklist import inputs


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
