"""The columns that MLflow shows of a sweep's runs: a saved view, which a link opens.

MLflow keeps what is shown in the browser that chose it, so an experiment cannot have columns of its
own. What "Share" makes in its pages can be made here: a tag of the experiment with the view, and a
link with the tag's name.
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

- `kdsweep leaderboard` ranks the cells of all sweeps, `kdsweep report` tells what one has shown.
- A sweep's run has the answer as its description and `report.html` among its artifacts.
- Runs with [accuracies, rank and verdict](#/experiments/{experiment}/runs?{query}) as columns.
- Search: `tags.kdsweep.verdict LIKE '%BEATS%'`, `params.T = '4.0'`, `tags.kdsweep.role = 'run'`.
"""


def save_views(store: MLflowStore, experiment: str, parent: str, rows: Sequence[Row]) -> str:
    """Keep the view of a sweep's runs, and once that of the whole experiment; the sweep's key.

    What a person has written about the experiment stays.
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
    """What opens a view, after the address of an experiment's runs."""
    return f"workflowType=machine_learning&viewStateShareKey={key}"


def columns(rows: Sequence[Row] | None) -> list[str]:
    """What tells runs apart and how well they did; of None, what there may be."""
    settings = [key for key in SETTINGS if _differs(rows, key)]
    named: dict[str, Sequence[Any]] = {
        "metrics": MEASURED,
        "params": settings,
        "tags": VERDICTS,
    }
    return [f"{kind}.`{name}`" for kind, names in named.items() for name in names]


def _differs(rows: Sequence[Row] | None, key: str) -> bool:
    return rows is None or len({row[key] for row in rows}) > 1
