"""A report in MLflow: files and answer on the sweep's run, rank and verdict on those below it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kdsweep.common.text import first_line
from kdsweep.report.analysis.aggregate import Cell, Grid
from kdsweep.report.analysis.verdicts import HEADER, NOTE, lines
from kdsweep.report.files import FILES
from kdsweep.report.mlflow_views import DESCRIPTION, VERDICTS, save_views
from kdsweep.report.render.markdown import item, plain
from kdsweep.report.report import Report
from kdsweep.report.sources.lookup import Source
from kdsweep.report.sources.mlflow import PARENT
from kdsweep.tracking.mlflow.entities import TAG_LENGTH
from kdsweep.tracking.mlflow.store import FOLDER_TAG, MLflowStore, can_be_quoted, quoted

if TYPE_CHECKING:
    from mlflow.entities import Run

RANK, VERDICT = VERDICTS
ROOM = 200  # characters of a description that its last sentences may take

Tags = dict[str, str]


def publish(found: Report, store: MLflowStore, parent: str) -> str:
    """Log what `write_report` wrote to a sweep's run; say rank and verdict on the runs below it.

    Args:
        parent: id of the sweep's run, in this store.

    Returns:
        The key of the view that shows the sweep's runs.
    """
    for path in files(found):
        store.log_artifact(parent, path)
    run = store.client.get_run(parent)
    wanted = {parent: {DESCRIPTION: description(found)}, **_of_runs(found.grid)}
    known = {parent: dict(run.data.tags), **_children(store, run)}
    for run_id, below in known.items():  # a search's trial is as its runs are
        above = below.get(PARENT, parent)
        if run_id in wanted and above != parent:
            wanted[above] = wanted[run_id]
    for run_id, tags in wanted.items():
        if run_id in known:
            _set(store, run_id, tags, known[run_id])
    return save_views(store, str(run.info.experiment_id), parent, found.evidence.rows)


def publish_if_possible(found: Report, source: Source) -> str | None:
    """Publish where there is a sweep's run to publish to; a sentence if there should be and is not.

    Several sweeps, and a part of one, have no run that a report of them belongs to.
    """
    try:
        store = source.store()
        if store is not None and source.parent is not None:
            publish(found, store, source.parent)
        elif source.parent is not None:
            return f"MLflow has no run {source.parent} to log the report to"
    except Exception as error:  # the report is there, whatever MLflow says
        return f"MLflow lacks the report: {first_line(error)}"
    return None


def files(found: Report) -> Iterator[Path]:
    """The files of a report that are there."""
    home = found.evidence.home
    pictures = [picture.path for section in found.sections for picture in section.pictures]
    yield from (path for path in [*(home / name for name in FILES), *pictures] if path.is_file())


def description(found: Report) -> str:
    """The answer and the table in markdown, as many cells as a tag of MLflow's holds."""
    head = [*map(item, found.answer), "", _bar(HEADER)]
    head.append("| --- " * len(HEADER) + "|")
    end = ["", NOTE, "", "The whole report is `report.html` among the artifacts."]
    rows = [_bar(line) for line in lines(found.grid)]
    room = TAG_LENGTH - ROOM - sum(len(line) + 1 for line in (*head, *end))
    shown = _that_fit(rows, room)
    if len(shown) < len(rows):
        end[0] = f"\nand {len(rows) - len(shown)} more cells.\n"
    return "\n".join([*head, *shown, *end])


def _bar(line: tuple[str, ...]) -> str:
    # MLflow leaves no room between columns.
    words = (plain(word) + "&nbsp;&nbsp;" for word in line)
    return f"| {' | '.join(words)} |"


def _that_fit(rows: list[str], room: int) -> list[str]:
    shown: list[str] = []
    for row in rows:
        room -= len(row) + 1
        if room < 0:
            break
        shown.append(row)
    return shown


def _of_runs(grid: Grid) -> dict[str, Tags]:
    """The tags of every run that is in a cell with a rank, by its id."""
    ranked = [cell for cell in grid.cells if cell.val is not None]
    width = len(str(len(ranked)))  # MLflow sorts tags as text
    found: dict[str, Tags] = {}
    for rank, cell in enumerate(ranked, start=1):
        tags = {RANK: f"{rank:0{width}}"} | verdict(grid, cell)
        found |= {str(row["mlflow_run_id"]): tags for row in cell.rows if row["mlflow_run_id"]}
    return found


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
    found = store.search(f"tags.`{FOLDER_TAG}` LIKE {pattern}")
    # A `%` or `_` in the folder's own name matches more.
    inside = [run for run in found if run.data.tags[FOLDER_TAG].startswith(f"{folder}/")]
    return {str(run.info.run_id): dict(run.data.tags) for run in inside}


def _set(
    store: MLflowStore, run_id: str, tags: Mapping[str, str], known: Mapping[str, str]
) -> None:
    """Set what is not so already, and take away what holds no more."""
    if fresh := {key: value for key, value in tags.items() if known.get(key) != value}:
        store.set_tags(run_id, fresh)
    if VERDICT in known and RANK in tags and VERDICT not in tags:
        store.drop_tags(run_id, [VERDICT])
