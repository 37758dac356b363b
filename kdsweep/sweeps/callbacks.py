"""The end of a sweep: its results in one place, in MLflow and on the terminal."""

import os
import shlex
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.global_hydra import GlobalHydra
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from kdsweep.common.passwords import MASK, TRACKING, how_to_give, redact_password
from kdsweep.config.overrides import command_words, is_kdsweep_search, is_lockstep
from kdsweep.config.refusals import sweep_refusals
from kdsweep.config.resolve import hide_passwords
from kdsweep.errors import UserError
from kdsweep.sweeps.idle_keys import refuse_idle_dirs
from kdsweep.sweeps.launcher import log_first
from kdsweep.sweeps.recipe_grids import refuse_swept_recipes
from kdsweep.tracking.metadata import read_sweep_metadata
from kdsweep.tracking.mlflow.backend import sqlite_address
from kdsweep.tracking.mlflow.pages import is_server, page_of_sweep, ui_address
from kdsweep.tracking.printing import print_line, print_table
from kdsweep.tracking.results_table import CSV, REPORT, ResultRow, caption, collect, table

if TYPE_CHECKING:
    from kdsweep.report.report import Report
    from kdsweep.sweeps.finalize import SweepSummary


class SweepSummaryCallback(Callback):
    """Prints the results of a sweep and where to find them, when it has ended.

    Before it begins, passwords are taken out of what Hydra is about to write. The lockstep launcher
    does so itself; this is for the stock ones.
    """

    def __init__(self) -> None:
        self.refused = False
        self.sweep_summary: SweepSummary | None = None  # set by the lockstep launcher

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        hide_passwords(config, TRACKING)
        if config.get("debug"):
            os.environ["HYDRA_FULL_ERROR"] = "1"
        try:
            _refuse_nothing(config)
            _refuse_words(config)
            _refuse_password_in_log(config)
            refuse_swept_recipes(config)
            refuse_idle_dirs(config)
            if not is_lockstep(config):  # that launcher has all runs, and compares them
                log_first("Checking the jobs")
                from kdsweep.sweeps.single_job import refuse_folder
                from kdsweep.sweeps.stock_jobs import refuse_jobs

                refuse_folder(config)
                refuse_jobs(config, GlobalHydra.instance().config_loader())
        except UserError as error:
            self.refused = True
            raise SystemExit(str(error)) from error  # of any other, Hydra makes a warning

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        hide_passwords(config, TRACKING)
        log_first("Checking the run")
        from kdsweep.sweeps.stock_jobs import refuse_run

        try:
            refuse_run(config)
        except UserError as error:
            raise SystemExit(str(error)) from error

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        if is_lockstep(config):
            return
        folder = Path(config.hydra.runtime.output_dir) / (config.hydra.output_subdir or ".hydra")
        for path in folder.glob("*.yaml"):  # Hydra has just written them
            written = OmegaConf.load(path)
            before = OmegaConf.to_yaml(written)
            if isinstance(written, DictConfig):
                hide_passwords(written)
            if (text := OmegaConf.to_yaml(written)) != before:
                path.write_text(text, encoding="utf-8")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        from kdsweep.sweeps.directory import CLAIM, release

        if self.refused or is_kdsweep_search(config):
            return  # a search prints its own results
        folder = Path(str(config.hydra.sweep.dir))
        note = read_sweep_metadata(folder)
        if note is None and (folder / CLAIM).is_file():
            release(folder)  # it ended before it began; the reason is on the screen
        if note is None or (note["pid"] != os.getpid() and is_lockstep(config)):
            return  # another sweep's folder: this one was refused
        if not note["ended"] and is_lockstep(config):
            return  # its jobs continue without this process
        console = Console()
        if not note["ended"] and not is_lockstep(config):
            self.sweep_summary = _publish_for_a_stock_launcher(folder, console)
            note = read_sweep_metadata(folder) or note
        rows = self.sweep_summary.rows if self.sweep_summary else collect(folder)
        if not rows:
            return
        report = self.sweep_summary.report if self.sweep_summary else None
        _show_results(rows, folder, console, report)
        print_line(console, f"results  {folder / CSV}")
        for show in self.sweep_summary.deployed if self.sweep_summary else ():
            show(console)
        show_mlflow_page(note, console)


def _refuse_nothing(config: DictConfig) -> None:
    for node in ("launcher", "sweeper"):
        if config.hydra[node] is None:
            raise UserError(f"hydra/{node} must name an option, got null")


def _refuse_words(config: DictConfig) -> None:
    """Refuse sweeps that no job could be composed of, before the sweep has a folder."""
    loader = GlobalHydra.instance().config_loader()
    if sentences := sweep_refusals(config, command_words(config), loader):
        raise UserError("\n".join(sentences))


def _refuse_password_in_log(config: DictConfig) -> None:
    """Hydra's own optuna sweeper logs the address of its storage as it is."""
    storage = OmegaConf.select(config, "hydra.sweeper.storage")
    if is_kdsweep_search(config) or not isinstance(storage, str):
        return
    if MASK in (redacted := redact_password(storage)):
        raise UserError(
            "hydra.sweeper.storage must hold no password with Hydra's own optuna sweeper, which"
            f" writes it to its log, got {redacted}; give it in"
            f" {how_to_give(storage)} or use hydra/sweeper=kdsweep"
        )


def _show_results(
    rows: list[ResultRow], folder: Path, console: Console, report: "Report | None"
) -> None:
    """Print the runs of a sweep; with a report over several seeds, its cells and conclusions.

    ``report`` is None if none was made at the sweep's end, or by an earlier process.
    """
    if report is None and not (folder / REPORT).is_file():
        _show_runs(rows, console)
        return
    from kdsweep.report.analysis.aggregate import grid
    from kdsweep.report.conclusions import conclusions
    from kdsweep.report.files import show

    cells = grid(rows) if report is None else report.grid
    if cells.seeds < 2:
        _show_runs(rows, console)
    elif unfinished := [row for row in rows if row["status"] != "FINISHED"]:
        print_table(console, table(unfinished))
    sentences = conclusions(cells) if report is None else report.conclusions
    show(cells, sentences, console, with_table=cells.seeds > 1)
    print_line(console, f"report   {folder / REPORT}")


def _show_runs(rows: list[ResultRow], console: Console) -> None:
    """Print a row a run, best on validation first."""
    print_table(console, table(rows))
    console.print(caption(rows), style="dim")


def _publish_for_a_stock_launcher(folder: Path, console: Console) -> "SweepSummary | None":
    """Close a sweep under basic or joblib, where no job is known to be the last."""
    from kdsweep.sweeps.finalize import publish
    from kdsweep.sweeps.open_context import open_context
    from kdsweep.tracking.console import Progress
    from kdsweep.tracking.disk import disk_full, full_folder, how_to_resume, is_full

    tracking = dict(OmegaConf.load(min(folder.glob("*/config.yaml"))).tracking)
    with Progress() as progress, closing(open_context(tracking, progress, folder)) as context:
        context.open_store()
        try:
            return publish(folder, context)
        except OSError as error:
            if is_full(error):
                print_line(console, str(disk_full(full_folder(error, folder), how_to_resume())))
            else:
                print_line(console, f"no results were written: {error}")
            return None


def show_mlflow_page(note: dict[str, Any], console: Console) -> None:
    """Print the command that opens a sweep's store, and its page there; nothing without a store."""
    if (uri := note["tracking_uri"]) is None:
        return
    page = f"{ui_address(uri)}/{page_of_sweep(note)}"
    if is_server(uri):
        print_line(console, f"browse   {page}")
        return
    is_default = uri == sqlite_address(Path.cwd() / "mlflow.db")
    option = "" if is_default else f" --backend-store-uri {shlex.quote(uri)}"
    print_line(console, f"browse   mlflow ui{option}")
    print_line(console, f"         then {page}")
