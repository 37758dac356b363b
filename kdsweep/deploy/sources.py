"""The classifier that the user names: a run, a folder, a registered model, a file."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from kdsweep.builders.checkpoints import DOWNLOADS, MLFLOW, final_weights
from kdsweep.builders.device import resolve_device
from kdsweep.common.text import error_reason
from kdsweep.config.allow import also_allowed
from kdsweep.deploy.bundle import read_bundle
from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.manifest import CLASSIFIER, WEIGHTS
from kdsweep.deploy.of_run import write_missing_manifest
from kdsweep.deploy.source_run import run_id_of
from kdsweep.errors import UserError
from kdsweep.report.sources.address import Address
from kdsweep.tracking import run_dir
from kdsweep.tracking.find_run import STORE, find_run
from kdsweep.tracking.mlflow.store import MLflowStore, quoted

SOURCE = "SOURCE"
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".tar")
MODELS = "models:/"  # how MLflow writes the address of a model
MODEL_ID = re.compile(r"m-[0-9a-f]{32}")  # of a model that a run has logged


def load(
    source: str | os.PathLike[str],
    *,
    device: str = "cpu",
    uri: str | None = None,
    experiment: str | None = None,
    allow: Sequence[str] = (),
) -> Classifier:
    """A trained network, ready for `predict`, without its data set and its teacher.

    Args:
        source: a run's folder, its id in MLflow, its fingerprint or its name; `best`, the best run
            of the latest sweep by validation, or `SWEEP/best`; a teacher's folder; a folder or a
            file, `model.safetensors`, with a `classifier.json`; `models:/NAME@ALIAS` or
            `models:/NAME/VERSION`, a model registered in MLflow.
        device: `cpu`, `cuda` or `auto`.
        uri: the MLflow store; by default MLFLOW_TRACKING_URI, else mlflow.db in this folder.
        experiment: name of the experiment of a run that only MLflow has; by default
            MLFLOW_EXPERIMENT_NAME, else kdsweep.
        allow: modules with networks of your own, `["mynet"]`: their code runs. Those that
            pyproject.toml allows need not be named.

    Raises UserError if there is no such model, or it cannot be loaded. Nothing is unpickled.
    """
    with also_allowed(allow):
        folder = find_bundle(os.fspath(source), Address(uri, experiment).open)
        return load_bundle(folder, device)


def load_bundle(folder: Path, device: str = "cpu") -> Classifier:
    """The classifier in a folder that `find_bundle` has found. Raises UserError."""
    run_id = run_id_of(folder.parent)
    about = {} if run_id is None else {"run_id": run_id}
    return read_bundle(folder, device=checked_device(device), source=about)


def checked_device(name: str) -> str:
    """The name of a device that is there; `auto`: the accelerator, if there is one.

    Raises UserError for another one.
    """
    try:
        return resolve_device(name)
    except UserError as error:
        raise UserError(str(error).replace("trainer.device", "--device")) from error


def find_bundle(
    source: str,
    open_store: Callable[[], MLflowStore],
    downloads: Path = STORE / DOWNLOADS,
    key: str = SOURCE,
) -> Path:
    """The folder of the weights and the `classifier.json` that a source names, as for `load`.

    Args:
        open_store: the MLflow store; called only if nothing here is named.
        downloads: the folder for files of runs and models that only MLflow has.
        key: what the user has given the source for, for the messages.

    Raises UserError if it names nothing, or a run that has not finished.
    """
    if source.startswith(MODELS):
        return _registered(source, open_store(), downloads, key)
    path = Path(source)
    if path.is_file():
        return _of_file(path, key)
    if (path / CLASSIFIER).is_file():
        return path
    if (path / run_dir.CLASSIFIER).is_file() and not (path / run_dir.RESULT).exists():
        return (path / run_dir.CLASSIFIER).parent  # a copy of what is needed
    word = source.removeprefix(MLFLOW).rstrip("/").removesuffix("/checkpoint")
    folder = find_run(word, open_store, downloads, key)
    weights = final_weights(folder, key)
    if not (folder / run_dir.CLASSIFIER).is_file():
        write_missing_manifest(folder)
    return weights.parent


def _of_file(path: Path, key: str) -> Path:
    if path.name not in (WEIGHTS, CLASSIFIER):
        pickles = "; pickles are never loaded" if path.suffix in PICKLES else ""
        raise UserError(
            f"{key} must be a {WEIGHTS} with a {CLASSIFIER} next to it, got {path}{pickles}"
        )
    return path.parent


def _registered(source: str, store: MLflowStore, downloads: Path, key: str) -> Path:
    """The files of a model in MLflow, downloaded; those of a version never change."""
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        label, location = _location(source.removeprefix(MODELS), store)
        target = downloads / "models" / label
        target.mkdir(parents=True, exist_ok=True)
        # Not `models:/...`: MLflow looks that up in the registry of its environment.
        folder = download_artifacts(location, dst_path=str(target), tracking_uri=store.uri)
    except (MlflowException, ValueError) as error:
        raise UserError(
            f"{key} must be a model registered in MLflow, {MODELS}NAME@ALIAS or"
            f" {MODELS}NAME/VERSION, got {source}: {error_reason(error)}"
        ) from error
    files = sorted(Path(folder).rglob(CLASSIFIER))
    if not files:
        raise UserError(f"{key} must be a model with a {CLASSIFIER}, got {source} without")
    return files[0].parent


class _Place(NamedTuple):
    label: str  # a path that no other model has
    location: str  # of its files


def _location(word: str, store: MLflowStore) -> _Place:
    """Where `NAME@ALIAS`, `NAME/VERSION`, `NAME/latest` or a model's id, `m-...`, has its files."""
    if MODEL_ID.fullmatch(word):
        return _Place(word, store.client.get_logged_model(word).artifact_location)
    name, version = _version(word, store)
    location = store.client.get_model_version_download_uri(name, version)
    logged = location.removeprefix(MODELS)
    if logged != location:  # a version of a model that a run has logged
        location = store.client.get_logged_model(logged).artifact_location
    return _Place(f"{name}/{version}", location)


def _version(word: str, store: MLflowStore) -> tuple[str, str]:
    """The name and the version that a word stands for."""
    name, at, alias = word.partition("@")
    if at:
        return name, str(store.client.get_model_version_by_alias(name, alias).version)
    name, _, version = word.partition("/")
    if version == "latest":
        versions = store.client.search_model_versions(f"name = {quoted(name)}")
        version = str(max((int(one.version) for one in versions), default=""))
    if not version.isdecimal():
        raise ValueError("it names neither a version nor an alias")
    return name, version
