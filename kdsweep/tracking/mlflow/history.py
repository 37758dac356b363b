"""The metrics of a run in MLflow, as the rows of a run's folder."""

from typing import TYPE_CHECKING

from kdsweep.tracking.mlflow.run_end import END_METRICS
from kdsweep.tracking.run_dir import Row, make_row

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def history(client: "MlflowClient", run: "Run") -> list[Row]:
    """One row per epoch, and one more for the test metrics."""
    rows: dict[tuple[int, int], dict[str, float]] = {}
    for key in (key for key in run.data.metrics if key not in END_METRICS):
        for entry in client.get_metric_history(run.info.run_id, key):
            rows.setdefault((entry.step, entry.timestamp), {})[key] = entry.value
    return [make_row(step, time, rows[step, time]) for step, time in sorted(rows)]
