"""How a run has ended, as MLflow has it: its state, and tags."""

from typing import Any, get_args

from kdsweep.tracking.mlflow.entities import tag_values
from kdsweep.tracking.mlflow.store import Status
from kdsweep.tracking.result import RunResult

PRUNED_TAG = "kdsweep.pruned"
# MLflow has no state PRUNED; a tag has it.
STATES: dict[str, Status] = {status: status for status in get_args(Status)} | {"PRUNED": "KILLED"}
END_METRICS = ("val/acc_best", "epochs", "seconds")  # known once a run has ended, and only then
END_TAGS = {"reason": "kdsweep.reason", "weights_sha256": "kdsweep.weights_sha256"}
# A run that can be resumed has the same figures as tags: a metric's points cannot be taken back.
SO_FAR_TAGS = {key: f"kdsweep.so_far.{key}" for key in END_METRICS}
# Tags of how a run has ended; one that has been started again has none of them.
ENDED_TAGS = {*END_TAGS.values(), PRUNED_TAG, *SO_FAR_TAGS.values()}


def end_tags(result: RunResult | None) -> dict[str, str]:
    """The tags of how a run has ended, none of one that has not.

    With them and the figures that `run_sync` logs at the end, MLflow alone has all of result.json.
    """
    if result is None:
        return {}
    known = known_values(result)
    tags = {tag: str(known[key]) for key, tag in END_TAGS.items() if key in known}
    if result.status == "PRUNED":  # MLflow has no such state
        tags[PRUNED_TAG] = "true"
    if result.status != "FINISHED":
        tags |= {SO_FAR_TAGS[k]: repr(float(known[k])) for k in END_METRICS if k in known}
    return tag_values(tags)


def known_values(result: RunResult) -> dict[str, Any]:
    """What a result has a value of."""
    return {key: value for key, value in result.to_json().items() if value is not None}


def as_status(status: str) -> Status:
    """MLflow's state for the status of a result. Raises ValueError for an unknown one."""
    if status not in STATES:
        raise ValueError(f"status must be one of {', '.join(get_args(Status))}, got {status}")
    return STATES[status]
