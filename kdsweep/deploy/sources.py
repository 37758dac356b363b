"""The classifier that the user names: a run, a folder, a registered model, a file."""

import os
from collections.abc import Callable
from pathlib import Path

from kdsweep.builders.device import resolve_device
from kdsweep.deploy.bundle import read_bundle
from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.manifest import CLASSIFIER
from kdsweep.errors import UserError
from kdsweep.tracking import run_dir
from kdsweep.tracking.find_run import STORE, find_run
from kdsweep.tracking.metadata import read_run_metadata
from kdsweep.tracking.mlflow.store import MLflowStore

SOURCE = "SOURCE"
MODELS, RUNS = "models:/", "runs:/"  # how MLflow writes the addresses of models and of runs
DOWNLOADS = STORE / "downloads"  # of what is in MLflow only


def load(
    source: str | os.PathLike[str], *, device: str = "cpu", uri: str | None = None
) -> Classifier:
    """A classifier, ready for `predict`, without its data set and its teacher.

    Args:
        source: a run's folder, its id in MLflow, its fingerprint or its name; `best`, the best run
            of the latest sweep by validation, or `SWEEP/best`; a teacher's folder; a folder or a
            file, `model.safetensors`, with a `classifier.json`; `models:/NAME@ALIAS` or
            `models:/NAME/VERSION`, a model registered in MLflow.
        device: `cpu`, `cuda` or `auto`.
        uri: the MLflow store; by default MLFLOW_TRACKING_URI, else mlflow.db here.

    Raises UserError if there is no such model, or it cannot be loaded.
    """
    from kdsweep.report.sources.lookup import Address

    address = Address(uri)
    folder = find_bundle(os.fspath(source), address.open)
    return read_bundle(folder, device=resolve_device(device), source=_about(folder))


def find_bundle(
    source: str, open_store: Callable[[], MLflowStore], downloads: Path = DOWNLOADS
) -> Path:
    """The folder with the `classifier.json` and the weights that a source names, as for `load`.

    Raises UserError if it names nothing, or a run without weights.
    """
    if source.startswith(MODELS):
        return _registered(source, open_store, downloads)
    path = Path(source)
    if path.is_file():
        return _of_file(path)
    if (path / CLASSIFIER).is_file():
        return path
    folder = find_run(source.removeprefix(RUNS).rstrip("/"), open_store, downloads, SOURCE)
    return (folder / run_dir.CLASSIFIER).parent


def _of_file(path: Path) -> Path:
    if path.suffix != ".safetensors" and path.name != CLASSIFIER:
        raise UserError(
            f"{SOURCE} must be a safetensors file with a {CLASSIFIER} next to it, got {path}"
        )
    return path.parent


def _registered(source: str, open_store: Callable[[], MLflowStore], downloads: Path) -> Path:
    """The files of a model that is registered in MLflow."""
    from mlflow.artifacts import download_artifacts

    store = open_store()
    target = downloads / "models" / source.removeprefix(MODELS).replace("@", "/")
    target.mkdir(parents=True, exist_ok=True)
    folder = Path(download_artifacts(source, dst_path=str(target), tracking_uri=store.uri))
    found = sorted(folder.rglob(CLASSIFIER))
    if not found:
        raise UserError(f"{SOURCE} must be a model of kdsweep, got {source}, without {CLASSIFIER}")
    return found[0].parent


def _about(folder: Path) -> dict[str, str]:
    """The run that a bundle belongs to."""
    run = read_run_metadata(folder.parent) or {}
    run_id = run.get("mlflow_run_id")
    return {} if run_id is None else {"run_id": str(run_id)}
