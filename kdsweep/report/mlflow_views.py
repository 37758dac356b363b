"""The columns that MLflow shows of a sweep's runs: a saved view, which a link opens.

MLflow keeps the chosen columns in the browser, so an experiment cannot have columns of its own. The
view that its "Share" button saves is made here: a tag of the experiment with the view, and a link
with the tag's name.
"""

import json
from collections.abc import Sequence
from typing import Any

from kdsweep.report.analysis.aggregate import Row
from kdsweep.tracking.mlflow.store import MLflowStore

VIEW = "mlflow.sharedViewState."  # and the name of the view
DESCRIPTION = "mlflow.note.content"
OF_EXPERIMENT = "kdsweep"
KEY_LENGTH = 12
MEASURED = ("val/acc", "test/acc")  # few, so that the verdict is on the screen without scrolling
SETTINGS = ("T", "alpha", "seed")  # the rest is in a run's name
VERDICTS = ("kdsweep.rank", "kdsweep.verdict")

ABOUT = """Sweeps of kdsweep: the plus sign before a sweep opens its runs.

- `kdsweep leaderboard` ranks the cells of all sweeps, `kdsweep report` reports on one of them.
- A sweep's run has the conclusions as its description and `report.html` among its artifacts.
- Runs with [accuracies, rank and verdict](#/experiments/{experiment}/runs?{query}) as columns.
- Search: `tags.kdsweep.verdict LIKE '%BEATS%'`, `params.T = '4.0'`, `tags.kdsweep.role = 'run'`.
"""


def save_views(store: MLflowStore, experiment: str, parent: str, rows: Sequence[Row]) -> str:
    """Save the view of a sweep's runs, and once that of the whole experiment.

    A description of the experiment that a person has written stays.

    Returns:
        The key of the sweep's view.
    """
    known = store.client.get_experiment(experiment).tags
    key = parent[:KEY_LENGTH]
    filtered = {"searchFilter": f"tags.mlflow.parentRunId = '{parent}'"}
    order = {"orderByKey": "metrics.`val/acc`", "orderByAsc": False}
    wanted = {
        f"{VIEW}{key}": {"selectedColumns": columns(rows)} | filtered | order,
        f"{VIEW}{OF_EXPERIMENT}": {"selectedColumns": columns(None)},
    }
    tags = {name: json.dumps(view) for name, view in wanted.items()}
    if DESCRIPTION not in known:
        tags[DESCRIPTION] = ABOUT.format(experiment=experiment, query=query(OF_EXPERIMENT))
    for name, value in tags.items():
        if known.get(name) != value:
            store.client.set_experiment_tag(experiment, name, value)
    return key


def query(key: str) -> str:
    """The query that opens a view, after the address of an experiment's runs."""
    return f"workflowType=machine_learning&viewStateShareKey={key}"


def columns(rows: Sequence[Row] | None) -> list[str]:
    """The settings that differ between rows, accuracies and verdicts; without rows, all of them."""
    differ = [key for key in SETTINGS if rows is None or len({row[key] for row in rows}) > 1]
    kinds: dict[str, Sequence[Any]] = {"metrics": MEASURED, "params": differ, "tags": VERDICTS}
    return [f"{kind}.`{name}`" for kind, names in kinds.items() for name in names]
