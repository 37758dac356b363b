"""What MLflow has of a run, so that nothing is asked for that is known, or logged twice."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Self

from kdsweep.tracking.mlflow.entities import mlflow_key
from kdsweep.tracking.run_dir import Row

if TYPE_CHECKING:
    from mlflow.entities import Run

Point = tuple[str, int]  # the name of a metric in MLflow, and a step


class Logged(NamedTuple):
    """What MLflow has at a point; ``time`` in ms."""

    time: int
    value: float


@dataclass
class RunState:
    """What MLflow has of a run, as far as it was read; a new run has nothing."""

    run_id: str
    params: set[str] = field(default_factory=set)  # their names
    tags: dict[str, str] = field(default_factory=dict)
    latest: Mapping[str, float] = field(default_factory=dict)  # the latest value of each metric
    points: dict[Point, Logged] = field(default_factory=dict)
    is_new: bool = False  # created by this process, and its end has not been uploaded yet

    @classmethod
    def of(cls, run: "Run") -> Self:
        """The state of a run that was read, without its points."""
        data = run.data
        return cls(run.info.run_id, set(data.params), dict(data.tags), dict(data.metrics))

    def missing_params(self, params: Mapping[str, object]) -> dict[str, object]:
        """Those of which the run has no value: MLflow refuses another value of a param."""
        return {k: v for k, v in params.items() if mlflow_key(k) not in self.params}

    def missing_rows(self, rows: Sequence[Row]) -> list[Row]:
        """What the rows have at other points; MLflow shows a point twice that is logged twice."""
        return missing_rows(rows, self.points)


def missing_rows(rows: Sequence[Row], points: Container[Point]) -> list[Row]:
    """The rows with the metrics that are not among the points; a row without any is left out."""
    rest: list[Row] = []
    for row in rows:
        absent = {
            key: value
            for key, value in row["metrics"].items()
            if (mlflow_key(key), row["epoch"]) not in points
        }
        if absent:
            rest.append({**row, "metrics": absent})
    return rest
