"""The LoggedModel of a finished run: an entry in MLflow's Models tab that can be loaded and served.

It has one only if it has ended with weights and their `classifier.json`, and `tracking.models` is
on. Each step may be repeated: a model is READY only when all of it is in MLflow, and is found again
by its run, so that an interrupted upload makes no second one.
"""

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from kdsweep.common.files import read_json
from kdsweep.tracking import run_dir
from kdsweep.tracking.metadata import read_result, read_run_metadata
from kdsweep.tracking.mlflow import entities
from kdsweep.tracking.mlflow.experiment import local_folder
from kdsweep.tracking.mlflow.model_files import write_model_files
from kdsweep.tracking.mlflow.provenance import provenance_tags
from kdsweep.tracking.mlflow.store import MLflowStore
from kdsweep.tracking.run_dir import Row

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

WANTED = "log_model"  # in run.json: whether the run is to have a model, `tracking.models`
MODEL_TYPE = "classifier"
NAME_LENGTH = 500
DIGEST = "kdsweep.weights_sha256"
LINKED = ("val/", "test/", "latency_ms")  # metrics of the Models tab; those of training are noise
OWN_TAGS = ("kdsweep.role", "kdsweep.cell", "kdsweep.fingerprint")


def is_wanted(folder: Path) -> bool:
    """Whether a run is to have a model, and has what that takes."""
    run = read_run_metadata(folder) or {}
    return bool(run.get(WANTED)) and has_files(folder)


def has_files(folder: Path) -> bool:
    """Whether a run has finished with weights that can be loaded by themselves."""
    result = read_result(folder)
    files = (run_dir.WEIGHTS, run_dir.CLASSIFIER)
    is_whole = all((folder / name).is_file() for name in files)
    return result is not None and result.status == "FINISHED" and is_whole


def log_model(store: MLflowStore, run_id: str, folder: Path) -> str:
    """The id of the run's model, which is logged as far as it is not in MLflow yet."""
    run = read_run_metadata(folder) or _in_mlflow(store, run_id)
    classifier = read_json(folder / run_dir.CLASSIFIER)
    digest = str(classifier.get("weights_sha256"))
    model = find_model(store, run_id, str(run["name"]))
    if model is None:
        model, is_linked = _create(store, run_id, run, digest), False
    elif model.status == "READY" and model.tags.get(DIGEST) == digest:
        return str(model.model_id)
    else:
        store.client.set_logged_model_tags(model.model_id, {DIGEST: digest})
        outputs = store.client.get_run(run_id).outputs
        is_linked = model.model_id in {m.model_id for m in getattr(outputs, "model_outputs", [])}
    model_id = str(model.model_id)
    _upload_files(store, run_id, folder, model, classifier)
    rows = run_dir.read_rows(folder)
    if not is_linked:
        _link(store, run_id, model_id, rows)
    _log_metrics(store, run_id, model_id, run, rows)
    store.client.finalize_logged_model(model_id, "READY")
    return model_id


def _in_mlflow(store: MLflowStore, run_id: str) -> dict[str, Any]:
    """What run.json would have of a run whose folder was downloaded."""
    run = store.client.get_run(run_id)
    inputs = run.inputs.dataset_inputs if run.inputs else []
    data = {"name": inputs[0].dataset.name, "digest": inputs[0].dataset.digest} if inputs else {}
    tags = dict(run.data.tags)
    return {
        "name": run.info.run_name,
        "fingerprint": tags.get("kdsweep.fingerprint", ""),
        "tags": tags,
        "params": dict(run.data.params),
        "dataset": data,
    }


def find_model(store: MLflowStore, run_id: str, run_name: str) -> "LoggedModel | None":
    """The model that `log_model` has created for a run, whether or not it is complete."""
    wanted = f"source_run_id = '{run_id}' and name = '{model_name(run_name)}'"
    found = store.client.search_logged_models([store.experiment_id], wanted, max_results=1)
    return found[0] if found else None


def model_name(run_name: str) -> str:
    """The name of a run's model: the run's, without the characters that MLflow refuses."""
    return re.sub(r"[/:.%\"']", "_", run_name)[:NAME_LENGTH] or "run"


def _create(store: MLflowStore, run_id: str, run: Mapping[str, Any], digest: str) -> "LoggedModel":
    own = {key: value for key, value in (run.get("tags") or {}).items() if key in OWN_TAGS}
    tags = {**provenance_tags(), **own, "kdsweep.fingerprint": run["fingerprint"], DIGEST: digest}
    return store.client.create_logged_model(
        store.experiment_id,
        name=model_name(str(run["name"])),
        source_run_id=run_id,
        model_type=MODEL_TYPE,
        tags=entities.tag_values(tags),
        params={p.key: p.value for p in entities.param_entities(_settings(run))},
    )


def _settings(run: Mapping[str, Any]) -> dict[str, object]:
    """The params by which models are compared; the run has the rest, its whole config."""
    params = run.get("params") or {}
    return {k: v for k, v in params.items() if "." not in k or k.startswith("weight.")}


def _upload_files(
    store: MLflowStore,
    run_id: str,
    folder: Path,
    model: "LoggedModel",
    classifier: Mapping[str, Any],
) -> None:
    about = {"model_id": str(model.model_id), "run_id": run_id, "location": model.artifact_location}
    target = local_folder(model.artifact_location)
    if target is not None:
        target.mkdir(parents=True, exist_ok=True)
        write_model_files(target, classifier, **about)
        shutil.copyfile(folder / run_dir.CLASSIFIER, target / Path(run_dir.CLASSIFIER).name)
        # .../EXPERIMENT/models/MODEL/artifacts, and .../EXPERIMENT/RUN/artifacts
        logged = target.parents[2] / run_id / "artifacts" / run_dir.WEIGHTS
        _link_or_copy(logged, folder / run_dir.WEIGHTS, target / Path(run_dir.WEIGHTS).name)
        return
    with TemporaryDirectory(prefix="kdsweep-model-") as draft:
        write_model_files(Path(draft), classifier, **about)
        for name in (run_dir.CLASSIFIER, run_dir.WEIGHTS):
            _link_or_copy(folder / name, folder / name, Path(draft, Path(name).name))
        store.client.log_model_artifacts(str(model.model_id), draft)


def _link_or_copy(first: Path, other: Path, target: Path) -> None:
    """Make ``target`` a second name of ``first``, which takes no room, else a copy of ``other``."""
    target.unlink(missing_ok=True)
    try:
        os.link(first, target)
    except OSError:  # another disk, a file system without links, or no such file
        shutil.copyfile(other, target)


def _link(store: MLflowStore, run_id: str, model_id: str, rows: Sequence[Row]) -> None:
    """Make the model an output of its run."""
    from mlflow.entities import LoggedModelOutput

    step = rows[-1]["epoch"] if rows else 0
    store.client.log_outputs(run_id, [LoggedModelOutput(model_id, step)])


def _log_metrics(
    store: MLflowStore, run_id: str, model_id: str, run: Mapping[str, Any], rows: Sequence[Row]
) -> None:
    """Give the model the figures of the run's last epoch.

    MLflow logs them to the run as well, where they are already, with equal times and steps: it
    keeps one of each.
    """
    from mlflow.entities import Metric

    last: dict[str, Row] = {}
    for row in rows:
        for key, value in row["metrics"].items():
            if key.startswith(LINKED):
                last[key] = {**row, "metrics": {key: value}}
    name, digest = _dataset(run)
    metrics = [
        Metric(m.key, m.value, m.timestamp, m.step, model_id, name, digest, run_id)
        for m in entities.metric_entities(last.values())
    ]
    if metrics:
        store.client.log_batch(run_id, metrics=metrics)


def _dataset(run: Mapping[str, Any]) -> tuple[str, str] | tuple[None, None]:
    """Name and digest of the run's data, as its dataset input has them."""
    known = run.get("dataset") or {}
    if not known.get("name") or not known.get("digest"):
        return None, None
    return known["name"][: entities.DATASET_LENGTH], known["digest"][: entities.DIGEST_LENGTH]
