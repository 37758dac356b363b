"""What was made of a run's classifier, kept with the run: in its folder and in MLflow."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from kdsweep.common.files import write_json_atomic
from kdsweep.common.passwords import redact_password
from kdsweep.common.text import first_line
from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.source_run import NO_RUN, address_of, run_folder, run_id_of
from kdsweep.report.sources.address import Address
from kdsweep.tracking import run_dir
from kdsweep.tracking.deployed import FOLDER, PREFIX
from kdsweep.tracking.metadata import read_result
from kdsweep.tracking.mlflow.store import MLflowStore, now_ms


def deploy_folder(classifier: Classifier) -> Path:
    """Where files made of a classifier go by default: in its run's folder, else here."""
    folder = run_folder(classifier)
    return Path() if folder is None else Path(_short(folder)) / FOLDER


def record(
    classifier: Classifier,
    name: str,
    facts: Mapping[str, object],
    metrics: Mapping[str, float | None],
    files: Iterable[Path],
    address: Address | None = None,
) -> str:
    """Keep facts and files about a run's classifier; returns where, as a sentence.

    The facts go to `deploy/NAME.json` in the folder of its run; facts, metrics and files to its run
    in MLflow, if it has one. An error of MLflow is returned, not raised: the files are complete.

    Args:
        metrics: by their names without `deploy/`; those that are None are left out.
        address: the MLflow store, by default that of the run.
    """
    folder = run_folder(classifier)
    if folder is None:
        return f"not logged: {NO_RUN}"
    path = folder / FOLDER / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    write_json_atomic(path, facts)
    run_id = run_id_of(folder)
    if run_id is None:
        return f"recorded in {_short(path)}; the run is not in MLflow"
    known = {f"{PREFIX}{key}": value for key, value in metrics.items() if value is not None}
    try:
        store = MLflowStore.existing(*address_of(folder, address).resolved())
        if not store.has_run(run_id):
            where = redact_password(store.uri)
            return f"recorded in {_short(path)}; the MLflow store {where} has no run {run_id}"
        result = read_result(folder)
        last = max(((result and result.epochs) or 1) - 1, 0)
        logged = store.client.get_run(run_id).data.metrics
        changed = {key: value for key, value in known.items() if logged.get(key) != value}
        store.log(run_id, rows=[run_dir.make_row(last, now_ms(), changed)])
        for file in [path, *files]:
            store.log_artifact(run_id, file, _artifact_folder(file, folder / FOLDER))
    except Exception as error:  # of MLflow, which must not undo what has been made
        return f"recorded in {_short(path)}; MLflow lacks it: {first_line(error)}"
    return f"logged to the run {run_id} in MLflow"


def _short(path: Path) -> str:
    """A path as seen from the current folder."""
    try:
        return os.path.relpath(path)
    except ValueError:  # it is on another drive of Windows
        return str(path)


def _artifact_folder(file: Path, folder: Path) -> str:
    """`deploy`, or `deploy/bf16` of a file in such a folder below that of a run."""
    above = file.absolute().parent
    inside = above.relative_to(folder) if above.is_relative_to(folder) else Path()
    return (Path(FOLDER) / inside).as_posix()
