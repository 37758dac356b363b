"""The end of a sweep: its files are written first, then MLflow is made to agree with them."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kdsweep.common.pacing import lines_while
from kdsweep.common.text import first_line
from kdsweep.config.run_config import from_values
from kdsweep.config.schema import DatasetConfig
from kdsweep.data.pipeline.split import Dataset
from kdsweep.execution.context import TrainingContext
from kdsweep.plotting.drawing import warn_on_failure
from kdsweep.plotting.heatmap import draw_heatmap
from kdsweep.sweeps.deployment import Show, deploy_best
from kdsweep.sweeps.record import log_own_files, mark
from kdsweep.tracking.disk import is_full
from kdsweep.tracking.metadata import read_sweep_metadata
from kdsweep.tracking.mlflow.pending import PendingUpload, run_and_trial_dirs, sync_command
from kdsweep.tracking.mlflow.trial_sync import sync_search
from kdsweep.tracking.results_table import CSV, ResultRow, collect, write_csv

if TYPE_CHECKING:
    from kdsweep.report.report import Report
    from kdsweep.tracking.mlflow.store import MLflowStore, Status

INTERRUPTED_SECONDS = 5.0  # longest wait for MLflow after Ctrl-C or a scheduler's signal

log = logging.getLogger(__name__)


class SweepSummary(NamedTuple):
    """What a sweep has resulted in."""

    rows: list[ResultRow]
    report: "Report | None"
    deployed: Sequence[Show] = ()  # print what was made of the best run


def publish(
    folder: Path, context: TrainingContext, error: BaseException | None = None
) -> SweepSummary:
    """Write results.csv, the pictures, what `deploy` names and the report; close it in MLflow.

    The files are there whatever MLflow does, which is waited for at most `tracking.wait` seconds.
    The parent's state is computed from its children: FAILED if every run failed, KILLED if one was
    killed, else FINISHED. ``error`` has ended the sweep, if it has not come to its end.

    Raises OSError if a file cannot be written; the sweep is closed in MLflow by then.
    """
    if isinstance(error, KeyboardInterrupt | SystemExit):
        context.retrier.limit(INTERRUPTED_SECONDS)
    context.retrier.drain()  # so that the folders know the ids of their runs
    rows = collect(folder)
    status = parent_status([row["status"] for row in rows])
    if error is not None and status == "FINISHED":  # not all of its runs have begun
        status = "KILLED" if isinstance(error, KeyboardInterrupt | SystemExit) else "FAILED"
    # Not after Ctrl-C: it takes a while. `kdsweep report` reports what there is.
    with_report = context.options.report and status != "KILLED" and not is_full(error)
    deployed: Sequence[Show] = ()
    try:
        write_csv(rows, folder / CSV)
        if context.options.plots != "none":
            with warn_on_failure(str(folder / "heatmap.png")):
                draw_heatmap(rows, folder / "heatmap.png")
        if status == "FINISHED":
            deployed = deploy_best(folder)
    finally:
        report = close(folder, context, status, error, with_report=with_report)
    mark(folder, {"ended": True})
    return SweepSummary(rows, report, deployed)


def close(
    folder: Path,
    context: TrainingContext,
    status: "Status",
    error: BaseException | None = None,
    *,
    with_report: bool,
    only: Callable[[], Iterable[Path]] | None = None,
) -> "Report | None":
    """Have MLflow agree with a sweep or a search that has ended, and make the report.

    The report is made when the runs are uploaded, or `tracking.wait` seconds are over: its links
    are the ids of the runs. A message names the command that uploads the rest.

    ``only`` are the folders of the runs and trials to upload if other processes continue the
    search; they upload theirs, and the last of them closes the run of the whole.
    """
    store, parent = context.store, (read_sweep_metadata(folder) or {}).get("parent_run_id")

    own = run_and_trial_dirs(folder) if only is None else []  # all of them are there by now

    def runs() -> list[PendingUpload]:
        folders = {*own, *context.run_dirs} if only is None else set(only())
        return context.pending_uploads(sorted(folders))

    try:
        is_whole = context.upload_pending(runs)
    finally:  # a signal ends the wait, too
        report = make_report(folder, context) if with_report else None
    if store is None:
        if context.lacks_store:
            _name_sync(folder, [folder, *context.run_dirs], context)
        return report
    views: list[str | None] = []
    # On a full disk, runs that are not whole can be marked no more.
    if parent is not None and only is None and (is_whole or is_full(error)):
        last = PendingUpload(
            folder, lambda: views.append(upload_sweep(store, parent, folder, report, status))
        )
        is_whole = context.upload_pending(lambda: [] if views else [last]) and is_whole
    if views:
        mark(folder, {"view": views[0]})
    if not is_whole and not is_full(error):  # its message names the way to resume
        _name_sync(folder, [one.folder for one in runs()] or [folder], context)
    return report


def _name_sync(folder: Path, places: Iterable[Path], context: TrainingContext) -> None:
    """Print the command that uploads what MLflow lacks, of a sweep and of teachers outside it."""
    command = sync_command(folder, places)
    context.progress.note(
        f"MLflow has not taken all of this sweep: `{command}` uploads the rest later; everything is"
        " in the folder"
    )


def upload_sweep(
    store: "MLflowStore",
    parent: str,
    folder: Path,
    report: "Report | None",
    status: "Status",
    end_time_ms: int | None = None,
) -> str | None:
    """Upload what a sweep or a search as a whole has, and close its run.

    Returns the key of MLflow's view of the sweep's runs; None without a report.
    """
    try:
        write_csv(collect(folder), folder / CSV)  # by now the ids of all runs are known
        sync_search(folder, store, parent)
        log_own_files(store, parent, folder)
    finally:  # a full disk of ours does not keep the run open
        store.finish(parent, status, end_time_ms)
    if report is None:
        return None
    from kdsweep.report.mlflow_publish import publish as publish_report

    return publish_report(report, store, parent)


def make_report(folder: Path, context: TrainingContext | None = None) -> "Report | None":
    """The report of a sweep, in its folder; None for one run alone, which has none.

    A sweep never fails for its report: what went wrong is a warning. The data sets of a context
    are in memory, and not read again.
    """
    if sum(row["same_as"] is None for row in collect(folder)) < 2:
        return None
    try:
        from kdsweep.report.files import write_report
        from kdsweep.report.sources.collection import from_folder

        collection = from_folder(folder)
        if context is not None and context.has_data:
            collection = replace(collection, load=partial(_load, context))
        with lines_while("making the report"):
            return write_report(collection)
    except Exception as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        log.warning("no report was made (%s): `kdsweep report %s` tries again", reason, folder)
        return None


def _load(context: TrainingContext, values: dict[str, Any]) -> Dataset:
    """The data set of a run's plain config."""
    node = from_values(DatasetConfig, values["dataset"])
    return context.load_dataset(node, values["trainer"]["device"])


def parent_status(children: list[str]) -> "Status":
    """The state of a sweep from those of its runs."""
    if "KILLED" in children or "RUNNING" in children:
        return "KILLED"
    return "FAILED" if children and set(children) == {"FAILED"} else "FINISHED"
