"""The end of a sweep: its results in one place, in MLflow and on the terminal."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from kdsweep.tracking.files import read_json
from kdsweep.tracking.results import caption, collect, table, write_csv


def publish(folder: Path, session: Any) -> None:
    """Write results.csv and the pictures, ship them to the parent run, and close it.

    The parent's state is computed from its children: FAILED if every run failed, KILLED if one was
    killed, else FINISHED.
    """
    from kdsweep.sweep.folder import log_own_files, mark_ended
    from kdsweep.tracking.plots import heatmap

    rows = collect(folder)
    note = read_json(folder / "sweep.json")
    write_csv(rows, folder / "results.csv")
    if session.plots != "none":
        heatmap(rows, folder / "heatmap.png")
    parent = note["parent_run_id"]
    if session.store is not None and parent is not None:
        log_own_files(session.store, parent, folder)
        session.store.finish(parent, parent_status([row["status"] for row in rows]))
    mark_ended(folder)


def parent_status(children: list[str]) -> str:
    """The state of a sweep from those of its runs."""
    if "KILLED" in children or "RUNNING" in children:
        return "KILLED"
    return "FAILED" if children and set(children) == {"FAILED"} else "FINISHED"


class Answer(Callback):
    """Prints the table of all runs and where to look next, when the sweep has ended."""

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
        if note["pid"] != os.getpid() and "lockstep" in str(config.hydra.launcher._target_):
            return
        rows = collect(folder)
        if not rows:
            return
        if not note["ended"]:
            _publish_for_a_stock_launcher(folder)
        console = Console()
        console.print(table(rows))
        console.print(caption(rows), style="dim")
        console.print(f"results  {folder / 'results.csv'}")
        if note["tracking_uri"] is not None:
            console.print(f"browse   {ui_command(note['tracking_uri'])}")
            console.print(f"         then {link(note)}", soft_wrap=True)


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
    if (parent := note["parent_run_id"]) is not None:
        page += "&searchFilter=" + quote(f"tags.mlflow.parentRunId = '{parent}'")
        page += "&orderByKey=" + quote("metrics.`val/acc`") + "&orderByAsc=false"
    return f"http://127.0.0.1:5000/{page}"
