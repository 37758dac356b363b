"""The LoggedModel of a finished run: an entry in MLflow's Models tab that can be loaded and served.

It has one only if it has ended with weights and their `classifier.json`, and `tracking.models` is
on. Each step may be repeated: a model is READY only when all of it is in MLflow, and is found again
by its run, so that an interrupted upload makes no second one.
"""

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from kdsweep.tracking.mlflow.run_state import Logged, Point
from kdsweep.tracking.mlflow.store import MLflowStore
from kdsweep.tracking.run_dir import Row

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Metric

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


@dataclass(frozen=True)
class OpenModel:
    """The model of a run in MLflow, which may lack files or figures there.

    Attributes:
        run: the content of the run's `run.json`.
        classifier: that of its `classifier.json`.
        rows: of its `metrics.jsonl`.
        entity: what MLflow has of the model.
        is_complete: whether it has all of it.
        is_linked: whether it is an output of its run.
    """

    store: MLflowStore
    run_id: str
    folder: Path
    run: Mapping[str, Any]
    classifier: Mapping[str, Any]
    rows: Sequence[Row]
    entity: "LoggedModel"
    is_complete: bool
    is_linked: bool

    @property
    def id(self) -> str:
        return str(self.entity.model_id)

    def metrics(self, logged: Mapping[Point, Logged]) -> "list[Metric]":
        """The figures of the run's last epoch, for the model.

        MLflow logs them to the run as well, and keeps one of those that are equal. So they are
        those that are ``logged`` already, where there are any: an epoch that was trained again
        after an interruption has another time in the run's rows, and another latency.
        """
        last: dict[str, Row] = {}
        for row in self.rows:
            for key, value in row["metrics"].items():
                if key.startswith(LINKED):
                    last[key] = {**row, "metrics": {key: value}}
        name, digest = _dataset(self.run)
        return [
            entities.metric_of_model(
                logged.get((metric.key, metric.step), Logged(metric.timestamp, metric.value)),
                metric,
                self.id,
                self.run_id,
                dataset=name,
                digest=digest,
            )
            for metric in entities.metric_entities(last.values())
        ]

    def upload_files(self) -> None:
        """Upload its files, which may take as long as its weights are large."""
        _upload_files(self)

    def finish(self) -> None:
        """Link it to its run; with its files in MLflow it is complete then."""
        if not self.is_linked:
            _link(self)
        self.store.client.finalize_logged_model(self.id, "READY")


def log_model(store: MLflowStore, run_id: str, folder: Path) -> str:
    """The id of the run's model, which is logged as far as it is not in MLflow yet."""
    model = open_model(store, run_id, folder)
    if not model.is_complete:
        keys = {metric.key for metric in model.metrics({})}
        store.log(run_id, of_model=model.metrics(store.points(run_id, keys)))
        model.upload_files()
        model.finish()
    return model.id


def open_model(
    store: MLflowStore, run_id: str, folder: Path, *, may_exist: bool = True
) -> OpenModel:
    """The model of a run, created if it is not there; with `may_exist` it is looked for first."""
    run = read_run_metadata(folder) or _in_mlflow(store, run_id)
    classifier = read_json(folder / run_dir.CLASSIFIER)
    digest = str(classifier.get("weights_sha256"))
    model = find_model(store, run_id, str(run["name"])) if may_exist else None
    is_complete = is_linked = False
    if model is None:
        model = _create(store, run_id, run, digest)
    elif model.status == "READY" and model.tags.get(DIGEST) == digest:
        is_complete = is_linked = True
    else:
        store.client.set_logged_model_tags(model.model_id, {DIGEST: digest})
        outputs = store.client.get_run(run_id).outputs
        is_linked = model.model_id in {m.model_id for m in getattr(outputs, "model_outputs", [])}
    content = run, classifier, run_dir.read_rows(folder)
    return OpenModel(store, run_id, folder, *content, model, is_complete, is_linked)


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
    models = store.client.search_logged_models([store.experiment_id], wanted, max_results=1)
    return models[0] if models else None


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


def _upload_files(model: OpenModel) -> None:
    folder, location = model.folder, model.entity.artifact_location
    about = {"model_id": model.id, "run_id": model.run_id, "location": location}
    target = local_folder(location)
    if target is not None:
        target.mkdir(parents=True, exist_ok=True)
        write_model_files(target, model.classifier, **about)
        shutil.copyfile(folder / run_dir.CLASSIFIER, target / Path(run_dir.CLASSIFIER).name)
        # .../EXPERIMENT/models/MODEL/artifacts, and .../EXPERIMENT/RUN/artifacts
        logged = target.parents[2] / model.run_id / "artifacts" / run_dir.WEIGHTS
        _link_or_copy(logged, folder / run_dir.WEIGHTS, target / Path(run_dir.WEIGHTS).name)
        return
    with TemporaryDirectory(prefix="kdsweep-model-") as draft:
        write_model_files(Path(draft), model.classifier, **about)
        for name in (run_dir.CLASSIFIER, run_dir.WEIGHTS):
            _link_or_copy(folder / name, folder / name, Path(draft, Path(name).name))
        model.store.client.log_model_artifacts(model.id, draft)


def _link_or_copy(first: Path, other: Path, target: Path) -> None:
    """Make ``target`` a second name of ``first``, which takes no room, else a copy of ``other``."""
    target.unlink(missing_ok=True)
    try:
        os.link(first, target)
    except OSError:  # another disk, a file system without links, or no such file
        shutil.copyfile(other, target)


def _link(model: OpenModel) -> None:
    """Make the model an output of its run."""
    from mlflow.entities import LoggedModelOutput

    step = model.rows[-1]["epoch"] if model.rows else 0
    model.store.client.log_outputs(model.run_id, [LoggedModelOutput(model.id, step)])


def _dataset(run: Mapping[str, Any]) -> tuple[str, str] | tuple[None, None]:
    """Name and digest of the run's data, as its dataset input has them."""
    known = run.get("dataset") or {}
    if not known.get("name") or not known.get("digest"):
        return None, None
    return known["name"][: entities.DATASET_LENGTH], known["digest"][: entities.DIGEST_LENGTH]
