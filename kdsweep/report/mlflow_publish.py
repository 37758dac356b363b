"""A report in MLflow: files and conclusions on the sweep's run, verdicts on the runs below it.

MLflow keeps the columns that it shows of runs in the browser, so an experiment cannot have columns
of its own. The view that its "Share" button saves is made here: a tag of the experiment with the
columns, and a link with the name of the tag.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsweep.common.text import first_line
from kdsweep.report.analysis.aggregate import Cell, Grid
from kdsweep.report.cell_table import cell_table
from kdsweep.report.files import FILES
from kdsweep.report.render.markdown import item, plain
from kdsweep.report.report import Report
from kdsweep.report.sources.lookup import Source
from kdsweep.tracking.mlflow.entities import TAG_LENGTH
from kdsweep.tracking.mlflow.store import FOLDER_TAG, PARENT_TAG, MLflowStore, can_be_quoted, quoted
from kdsweep.tracking.results_table import ResultRow

if TYPE_CHECKING:
    from mlflow.entities import Run

VIEW = "mlflow.sharedViewState."  # and the name of the view
DESCRIPTION = "mlflow.note.content"
OF_EXPERIMENT = "kdsweep"
QUERY = "workflowType=machine_learning&viewStateShareKey="  # of a page, before the view's key
KEY_LENGTH = 12
MEASURED = ("val/acc", "test/acc")  # few, so that the verdict is on the screen without scrolling
SETTINGS = ("T", "alpha", "seed")  # the rest is in a run's name
VERDICTS = ("kdsweep.rank", "kdsweep.verdict")
RANK, VERDICT = VERDICTS
ROOM = 200  # characters of a description that its last sentences may take

ABOUT = """Sweeps of kdsweep: the plus sign before a sweep opens its runs.

- `kdsweep leaderboard` ranks the cells of all sweeps, `kdsweep report` reports on one of them.
- A sweep's run has the conclusions as its description and `report.html` among its artifacts.
- Runs with [accuracies, rank and verdict](#/experiments/{experiment}/runs?{query}) as columns.
- Search: `tags.kdsweep.verdict LIKE '%BEATS%'`, `params.T = '4.0'`, `tags.kdsweep.role = 'run'`.
"""

Tags = dict[str, str]


def publish(report: Report, store: MLflowStore, parent: str) -> str:
    """Log the files of `write_report` to a sweep's run, and tag its children with their verdicts.

    ``parent`` is the id of the sweep's run. Returns the key of the view that shows its runs.
    """
    for path in files(report):
        store.log_artifact(parent, path)
    run = store.client.get_run(parent)
    wanted = {parent: {DESCRIPTION: description(report)}, **_verdicts(report.grid)}
    known = {parent: dict(run.data.tags), **_children(store, run)}
    for run_id, tags in known.items():  # the trials of a search have the tags of their runs
        above = tags.get(PARENT_TAG, parent)
        if run_id in wanted and above != parent:
            wanted[above] = wanted[run_id]
    with store.one_commit():
        for run_id in [one for one in wanted if one in known]:
            _change_tags(store, run_id, known[run_id], wanted[run_id])
    return save_views(store, str(run.info.experiment_id), parent, report.collection.rows)


def _change_tags(store: MLflowStore, run_id: str, before: Tags, wanted: Tags) -> None:
    if changed := {key: value for key, value in wanted.items() if before.get(key) != value}:
        store.set_tags(run_id, changed)
    if VERDICT in before and RANK in wanted and VERDICT not in wanted:  # it holds no longer
        store.drop_tags(run_id, [VERDICT])


def publish_if_possible(report: Report, source: Source) -> str | None:
    """Publish where there is a sweep's run to publish to; a message if that is missing or fails.

    Several sweeps, and a part of one, have no run that a report of them belongs to.
    """
    try:
        store = source.store()
        if store is not None and source.parent is not None:
            publish(report, store, source.parent)
        elif source.parent is not None:
            return f"MLflow has no run {source.parent} to log the report to"
    except Exception as error:  # the report's files are complete without MLflow
        return f"MLflow lacks the report: {first_line(error)}"
    return None


def files(report: Report) -> list[Path]:
    """The existing files of a report."""
    pictures = [picture.path for section in report.sections for picture in section.pictures]
    paths = [*(report.collection.folder / name for name in FILES), *pictures]
    return [path for path in paths if path.is_file()]


def description(report: Report) -> str:
    """The conclusions and the table in markdown, as many cells as a tag of MLflow's can hold."""
    table = cell_table(report.grid)
    head = [*map(item, report.conclusions), "", _bar(table.header)]
    head.append("| --- " * len(table.header) + "|")
    end = ["", table.note, "", "The whole report is `report.html` among the artifacts."]
    rows = [_bar(line) for line in table.rows]
    room = TAG_LENGTH - ROOM - sum(len(line) + 1 for line in (*head, *end))
    shown: list[str] = []
    for row in rows:
        room -= len(row) + 1
        if room < 0:
            end[0] = f"\nand {len(rows) - len(shown)} more cells.\n"
            break
        shown.append(row)
    return "\n".join([*head, *shown, *end])


def _bar(line: tuple[str, ...]) -> str:
    # MLflow leaves no room between columns.
    words = (plain(word) + "&nbsp;&nbsp;" for word in line)
    return f"| {' | '.join(words)} |"


def _verdicts(grid: Grid) -> dict[str, Tags]:
    """The tags of every run that is in a cell with a rank, by its id."""
    ranked = [cell for cell in grid.cells if cell.val is not None]
    width = len(str(len(ranked)))  # MLflow sorts tags as text
    by_run: dict[str, Tags] = {}
    for rank, cell in enumerate(ranked, start=1):
        tags = {RANK: f"{rank:0{width}}"} | verdict(grid, cell)
        by_run |= {str(row["mlflow_run_id"]): tags for row in cell.rows if row["mlflow_run_id"]}
    return by_run


def verdict(grid: Grid, cell: Cell) -> Tags:
    """`BEATS`, `TIED` or `LOSES` against the baseline, `baseline`, with `best` before it."""
    words = ["best"] if cell is grid.best else []
    if cell.name in grid.baselines.values():
        words.append("baseline")
    elif cell.against_baseline is not None and cell.against_baseline.verdict is not None:
        words.append(cell.against_baseline.verdict)
    return {VERDICT: ", ".join(words)} if words else {}


def _children(store: MLflowStore, parent: "Run") -> dict[str, Tags]:
    """The tags of all runs below a sweep's or a search's, by id."""
    folder = parent.data.tags.get(FOLDER_TAG)
    if folder is None:
        return {}
    pattern = quoted(f"{folder}/%") if can_be_quoted(folder) else "'%'"
    runs = store.search(f"tags.`{FOLDER_TAG}` LIKE {pattern}")
    # A `%` or `_` in the folder's own name matches more.
    inside = [run for run in runs if run.data.tags[FOLDER_TAG].startswith(f"{folder}/")]
    return {str(run.info.run_id): dict(run.data.tags) for run in inside}


def save_views(store: MLflowStore, experiment: str, parent: str, rows: Sequence[ResultRow]) -> str:
    """Save the view of a sweep's runs, and once that of the whole experiment.

    A description of the experiment that a person has written stays. Returns the key of the sweep's
    view.
    """
    known = store.client.get_experiment(experiment).tags
    key = parent[:KEY_LENGTH]
    filtered = {"searchFilter": f"tags.{PARENT_TAG} = '{parent}'"}
    order = {"orderByKey": "metrics.`val/acc`", "orderByAsc": False}
    wanted = {
        f"{VIEW}{key}": {"selectedColumns": columns(rows)} | filtered | order,
        f"{VIEW}{OF_EXPERIMENT}": {"selectedColumns": columns(None)},
    }
    tags = {name: json.dumps(view) for name, view in wanted.items()}
    if DESCRIPTION not in known:
        tags[DESCRIPTION] = ABOUT.format(experiment=experiment, query=QUERY + OF_EXPERIMENT)
    for name, value in tags.items():
        if known.get(name) != value:
            store.client.set_experiment_tag(experiment, name, value)
    return key


def columns(rows: Sequence[ResultRow] | None) -> list[str]:
    """The settings that differ between rows, accuracies and verdicts; without rows, all of them."""
    differ = [key for key in SETTINGS if rows is None or len({row[key] for row in rows}) > 1]
    kinds: dict[str, Sequence[Any]] = {"metrics": MEASURED, "params": differ, "tags": VERDICTS}
    return [f"{kind}.`{name}`" for kind, names in kinds.items() for name in names]
