"""The outcome of a run, as it is in the run's result.json."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """One run that has ended. A field is None where the run has no such value.

    The fields are the keys of result.json in their order, with `val_acc` for `val/acc` and so on.
    """

    status: str  # FINISHED, FAILED, KILLED or PRUNED
    reason: str | None = None  # why it has not finished
    name: str | None = None
    role: str | None = None  # run, teacher, assistant, peer, stage, ...
    fingerprint: str | None = None
    cell: str | None = None
    seed: int | None = None
    mlflow_run_id: str | None = None
    val_acc: float | None = None  # accuracies, agreements and the ECE are in [0, 1]
    val_loss: float | None = None
    val_acc_best: float | None = None
    val_agreement: float | None = None  # share of images with the teacher's prediction
    test_acc: float | None = None
    test_loss: float | None = None
    test_ece: float | None = None
    test_agreement: float | None = None
    epochs: int | None = None
    seconds: float | None = None
    num_params: int | None = None
    latency_ms: float | None = None
    weights_sha256: str | None = None
    same_as: str | None = None  # folder, relative to the sweep, of the equal run that was trained
    with_cohort: bool | None = None  # whether it ended because its whole cohort did: resumable
    T: float | None = None
    alpha: float | None = None
    loss: str | None = None
    student: str | None = None
    teacher: str | None = None
    provenance: Mapping[str, Any] | None = None  # of a finished run: `execution.provenance`
    extra: Mapping[str, Any] = field(default_factory=dict)  # keys of other versions of kdsweep

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The result in a result.json of any version; keys that it lacks are None.

        Raises KeyError if it has no status.
        """
        known = {name: content.get(key) for name, key in _KEYS.items()}
        extra = {key: value for key, value in content.items() if key not in RESULT_KEYS}
        return cls(**{**known, "status": content["status"]}, extra=extra)

    def to_json(self) -> dict[str, Any]:
        """The content of result.json."""
        return {key: getattr(self, name) for name, key in _KEYS.items()} | dict(self.extra)


# Field -> key of result.json.
_KEYS = {
    field.name: re.sub(r"^(val|test)_", r"\1/", field.name)
    for field in fields(RunResult)
    if field.name != "extra"
}
RESULT_KEYS = tuple(_KEYS.values())
