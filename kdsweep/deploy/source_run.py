"""The run that a classifier belongs to: its folder, its id in MLflow, and the store that has it."""

from collections.abc import Mapping
from pathlib import Path

from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.manifest import Manifest
from kdsweep.report.sources.address import Address, present_uri
from kdsweep.tracking.find_run import recorded_as
from kdsweep.tracking.find_sweep import sweep_of
from kdsweep.tracking.metadata import (
    read_result,
    read_run_config,
    read_run_metadata,
    read_sweep_metadata,
)

NO_RUN = "SOURCE is no run whose folder is here"


def run_folder(classifier: Classifier) -> Path | None:
    """The folder of the finished run whose weights a classifier has; None if it is not here."""
    bundle = classifier.source.get("folder")
    return None if bundle is None else run_of_bundle(Path(str(bundle)), classifier.manifest)


def run_of_bundle(bundle: Path, manifest: Manifest) -> Path | None:
    """The folder of the finished run whose weights are in a bundle; None if it is not here.

    It is just above the bundle; of a copy, such as a registered model, it is found by the
    fingerprint.
    """
    above, fingerprint = bundle.absolute().parent, manifest.run.get("fingerprint")
    if _has_weights(above, manifest):
        return above
    equal = recorded_as(str(fingerprint)) if fingerprint else []
    return next((folder for folder in equal if _has_weights(folder, manifest)), None)


def _has_weights(folder: Path, manifest: Manifest) -> bool:
    """Whether a folder is that of a finished run with the weights of a manifest."""
    result = read_result(folder)
    if result is None or result.status != "FINISHED":
        return False
    return result.weights_sha256 in (None, manifest.weights_sha256)


def run_id_of(folder: Path) -> str | None:
    """The id in MLflow of the run in a folder, which may be a download; None if it has none."""
    noted, result = read_run_metadata(folder) or {}, read_result(folder)
    run_id = noted.get("mlflow_run_id") or (result and result.mlflow_run_id)
    return str(run_id) if run_id else None


def address_of(folder: Path, named: Address | None = None) -> Address:
    """The store of the run in a folder, as far as it is recorded; one that is named comes first."""
    named = named or Address()
    config, sweep = read_run_config(folder), sweep_of(folder)
    tracking: Mapping[str, str | None] = {} if config is None else dict(config.tracking)
    note = None if sweep is None else read_sweep_metadata(sweep)
    used = (note or {}).get("tracking_uri") or tracking.get("uri")
    return Address(named.uri or present_uri(used), named.experiment or tracking.get("experiment"))
