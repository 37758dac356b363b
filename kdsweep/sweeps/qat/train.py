"""Trains a run's network with the rounding of int8, next to the run."""

from contextlib import closing
from dataclasses import replace

from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.source_run import address_of, run_folder
from kdsweep.deploy.sources import load_bundle
from kdsweep.errors import RunFailed, UserError
from kdsweep.execution.context import TrainingContext
from kdsweep.execution.target import RunTarget, finished_result
from kdsweep.report.sources.address import Address
from kdsweep.runs.preflight import preflight
from kdsweep.sweeps.qat.spec import qat_spec
from kdsweep.sweeps.rerun.original import read_original
from kdsweep.tracking.console import Progress
from kdsweep.tracking.deployed import FOLDER, QAT_FOLDER
from kdsweep.tracking.metadata import read_run_metadata
from kdsweep.work.inline import train

DIGITS = 8  # of a fingerprint in the name of a folder


def train_aware(classifier: Classifier, epochs: int, address: Address | None = None) -> Classifier:
    """The network of a run, trained further with rounding, as a run of its own (role `qat`).

    Its folder is in `deploy/` of the run, which is its parent in MLflow. One that has finished is
    not trained again. Its bundle holds the network without rounding.

    ``address``: the MLflow store to record in, by default that of the run; none if the run is not
    in MLflow.

    Raises UserError if the run cannot be trained further, RunFailed if that does not finish.
    """
    folder = run_folder(classifier)
    if folder is None:
        raise UserError("--qat needs a run to train further, got SOURCE, which is no folder of one")
    original = read_original(folder)
    spec = qat_spec(original, epochs)
    noted = read_run_metadata(folder) or {}
    target = RunTarget(
        spec,
        folder / FOLDER / f"{QAT_FOLDER}{spec.fingerprint[:DIGITS]}",
        noted.get("mlflow_run_id"),
    )
    if finished_result(target) is not None:
        return load_bundle(target.checkpoints)
    uri, experiment = address_of(folder, address)
    tracking = replace(
        spec.config.tracking,
        uri=uri if noted.get("mlflow_run_id") else None,
        experiment=experiment or spec.config.tracking.experiment,
    )
    with (
        Progress(total_runs=1) as progress,
        closing(TrainingContext(tracking, progress, spec.config.cache)) as context,
    ):
        preflight([spec], context.dataset)
        result = train([target], context, resume=True)[spec.fingerprint]
    if result.status != "FINISHED":
        raise RunFailed(f"{result.name} in {target.run_dir} is {result.status}: {result.reason}")
    return load_bundle(target.checkpoints)
