"""The end of a sweep: its results in one place, in MLflow and on the terminal."""

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from kdsweep.tracking.database import first_line
from kdsweep.tracking.files import read_json
from kdsweep.tracking.results import caption, collect, table, write_csv

if TYPE_CHECKING:
    from kdsweep.report.images import Load
    from kdsweep.tracking.mlflow_store import MLflowStore


log = logging.getLogger(__name__)

REPORT = "report.html"


def publish(folder: Path, session: Any) -> None:
    """Write results.csv, the pictures and the report, ship them to the parent run, and close it.

    The parent's state is computed from its children: FAILED if every run failed, KILLED if one was
    killed, else FINISHED.
    """
    from kdsweep.sweep.folder import log_own_files, mark, mark_ended
    from kdsweep.tracking.drawing import forgiving
    from kdsweep.tracking.plots import heatmap

    rows = collect(folder)
    note = read_json(folder / "sweep.json")
    write_csv(rows, folder / "results.csv")
    if session.plots != "none":
        with forgiving(str(folder / "heatmap.png")):
            heatmap(rows, folder / "heatmap.png")
    parent = note["parent_run_id"]
    if session.store is not None and parent is not None:
        log_own_files(session.store, parent, folder)
    # Who pressed Ctrl-C wants out, and goes on later; `kdsweep report` tells of what there is.
    if session.report and parent_status([row["status"] for row in rows]) != "KILLED":
        load = session.dataset if session.has_data else None  # no need to read it again
        view = make_report(folder, session.store, parent, load)
        mark(folder, {"view": view})
    if session.store is not None and parent is not None:
        session.store.finish(parent, parent_status([row["status"] for row in rows]))
    mark_ended(folder)


def make_report(
    folder: Path, store: "MLflowStore | None", parent: str | None, load: "Load | None" = None
) -> str | None:
    """The report of a sweep, in its folder and on its parent run; nothing of one run alone.

    A sweep never fails for its report: what went wrong is a warning.

    Args:
        load: gives the data set of a run, where there is one in memory.

    Returns:
        The key of MLflow's view of the sweep's runs; None if there is none.
    """
    if sum(row["same_as"] is None for row in collect(folder)) < 2:
        return None
    try:
        from kdsweep.report.evidence import from_folder
        from kdsweep.report.files import write_report

        evidence = from_folder(folder)
        found = write_report(replace(evidence, load=load) if load else evidence)
    except Exception as error:
        log.warning("no report was made (%s): `kdsweep report %s` tries again", told(error), folder)
        return None
    if store is None or parent is None:
        return None
    try:
        from kdsweep.report.publish import publish as publish_report

        return publish_report(found, store, parent)
    except Exception as error:
        log.warning("MLflow lacks the report (%s): `kdsweep sync %s` ships it", told(error), folder)
        return None


def told(error: Exception) -> str:
    """An exception in a line."""
    return f"{type(error).__name__}: {first_line(error)}"


def parent_status(children: list[str]) -> str:
    """The state of a sweep from those of its runs."""
    if "KILLED" in children or "RUNNING" in children:
        return "KILLED"
    return "FAILED" if children and set(children) == {"FAILED"} else "FINISHED"


class Answer(Callback):
    """Prints what the sweep has shown and where to look next, when it has ended."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        from kdsweep.sweep.folder import CLAIM, release
        from kdsweep.sweep.launcher import searches

        if searches(config):
            return  # a search says its answer itself
        folder = Path(str(config.hydra.sweep.dir))
        if not (folder / "sweep.json").is_file():
            if (folder / CLAIM).is_file():
                release(folder)  # it ended before it began; the reason is on the screen
            return
        note = read_json(folder / "sweep.json")
        is_lockstep = str(config.hydra.launcher._target_).endswith(".LockstepLauncher")
        if note["pid"] != os.getpid() and is_lockstep:
            return  # another sweep's folder: this one was refused
        rows = collect(folder)
        if not rows:
            return
        if not note["ended"]:
            _publish_for_a_stock_launcher(folder)
            note = read_json(folder / "sweep.json")
        console = Console()
        show_results(rows, folder, console)
        console.print(f"results  {folder / 'results.csv'}", markup=False)
        if note["tracking_uri"] is not None:
            console.print(f"browse   {ui_command(note['tracking_uri'])}", markup=False)
            console.print(f"         then {link(note)}", soft_wrap=True, markup=False)


def show_results(rows: list[dict[str, Any]], folder: Path, console: Console) -> None:
    """Print the runs of a sweep; once its report compares seeds, the cells and what it says."""
    page = folder / REPORT
    if not page.is_file():
        show_runs(rows, console)
        return
    from kdsweep.report.answer import answer
    from kdsweep.report.cells import grid
    from kdsweep.report.files import show

    cells = grid(rows)
    if cells.seeds < 2:
        show_runs(rows, console)
    elif unfinished := [row for row in rows if row["status"] != "FINISHED"]:
        console.print(table(unfinished))
    show(cells, answer(cells), console, with_table=cells.seeds > 1)
    console.print(f"report   {page}", soft_wrap=True, markup=False)


def show_runs(rows: list[dict[str, Any]], console: Console) -> None:
    """Print a row a run, best on validation first."""
    console.print(table(rows))
    console.print(caption(rows), style="dim")


def _publish_for_a_stock_launcher(folder: Path) -> None:
    """Under basic or joblib no job knows that it is the last: the sweep is closed here."""
    from kdsweep.run import Session
    from kdsweep.tracking.progress import Progress

    first = next(path for path in sorted(folder.glob("*/config.yaml")))
    tracking = OmegaConf.to_container(OmegaConf.load(first).tracking)
    assert isinstance(tracking, dict)
    session = Session({str(key): value for key, value in tracking.items()}, Progress())
    try:
        publish(folder, session)
    finally:
        session.close()


def ui_command(uri: str) -> str:
    """The command that opens this store."""
    default = f"sqlite:///{Path.cwd() / 'mlflow.db'}"
    return "mlflow ui" if uri == default else f"mlflow ui --backend-store-uri {uri}"


def link(note: dict[str, Any]) -> str:
    """The page of this sweep's runs, best on validation first, where `mlflow ui` serves it."""
    page = f"#/experiments/{note['experiment_id']}/runs?workflowType=machine_learning"
    if (view := note.get("view")) is not None:  # the report has made one, with columns
        page += f"&viewStateShareKey={view}"
    elif (parent := note["parent_run_id"]) is not None:
        page += "&searchFilter=" + quote(f"tags.mlflow.parentRunId = '{parent}'")
        page += "&orderByKey=" + quote("metrics.`val/acc`") + "&orderByAsc=false"
    return f"http://127.0.0.1:5000/{page}"
