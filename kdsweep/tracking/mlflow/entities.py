"""MLflow's metrics, params, tags and data sets, cut to what the columns of its tables hold.

PostgreSQL and MySQL refuse longer values, sqlite does not.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from kdsweep.common.text import shorten
from kdsweep.tracking.run_dir import Row

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Metric, Param, RunTag

NAME_LENGTH = 250  # of a run, and of the key of a tag, a param or a metric
DATASET_LENGTH = 500
DIGEST_LENGTH = 36
PARAM_LENGTH = 6000  # mlflow cuts longer ones itself, with a warning
TAG_LENGTH = 8000


def mlflow_key(name: str) -> str:
    """The name of a tag, a param or a metric with the letters and the length MLflow accepts."""
    return re.sub(r"[^\w./ :-]", "_", name)[:NAME_LENGTH]


def metric_entities(rows: Iterable[Row]) -> "list[Metric]":
    """All metrics of the rows; a value that is not finite, or None, is NaN."""
    from mlflow.entities import Metric

    # mlflow would store infinity as 1.8e308, next to which all other values of a chart look equal.
    return [
        Metric(
            mlflow_key(key),
            value if value is not None and math.isfinite(value) else math.nan,
            row["time"],
            row["epoch"],
        )
        for row in rows
        for key, value in row["metrics"].items()
    ]


def metric_of_model(
    point: tuple[int, float],
    metric: "Metric",
    model_id: str,
    run_id: str,
    *,
    dataset: str | None,
    digest: str | None,
) -> "Metric":
    """The time in ms and the value of a run's metric, as a figure of its model on a data set."""
    from mlflow.entities import Metric

    time, value = point
    return Metric(metric.key, value, time, metric.step, model_id, dataset, digest, run_id)


def param_entities(params: Mapping[str, object]) -> "list[Param]":
    """Params with their values as on the command line: `null`, `true`."""
    from mlflow.entities import Param

    return [Param(mlflow_key(key), _param_value(value)) for key, value in params.items()]


def _param_value(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return shorten(str(value), PARAM_LENGTH)


def tag_values(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags with keys and values that fit."""
    return {mlflow_key(key): shorten(str(value), TAG_LENGTH) for key, value in tags.items()}


def tag_entities(tags: Mapping[str, str]) -> "list[RunTag]":
    """`tag_values` as entities."""
    from mlflow.entities import RunTag

    return [RunTag(key, value) for key, value in tag_values(tags).items()]


def dataset_input(
    name: str, digest: str, context: str, profile: Mapping[str, object] | None = None
) -> "DatasetInput":
    """A data set as the input of a run, used for ``context``, e.g. training.

    MLflow keeps the first 36 characters of ``digest``.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=shorten(name, DATASET_LENGTH),
        digest=digest[:DIGEST_LENGTH],
        source_type="kdsweep",
        source=json.dumps({"name": name, "digest": digest}),
        profile=json.dumps(profile) if profile else None,
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", context)])
