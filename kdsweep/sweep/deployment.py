"""What `deploy=onnx` and the like make of the best run of a sweep that has ended."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from kdsweep.common.text import first_line
from kdsweep.config.schema import DeployConfig
from kdsweep.errors import UserError
from kdsweep.tracking.best_run import best_run
from kdsweep.tracking.metadata import read_run_config
from kdsweep.tracking.mlflow.store import MLflowStore

if TYPE_CHECKING:
    from kdsweep.deploy.classifier import Classifier

CALIBRATION_IMAGES = 512  # at most, as of `kdsweep quantize`

log = logging.getLogger(__name__)


def deploy_best(sweep: Path, console: Console) -> None:
    """Export and quantize the best run of a sweep by validation, as its config says.

    A sweep never fails for it: what went wrong is a warning.
    """
    options = _options(sweep)
    if not options.export and not options.quantize:
        return
    try:
        _deploy(best_run(sweep, "deploy")[0], options, console)
    except Exception as error:  # of an exporter, whatever it raises
        reason = str(error) if isinstance(error, UserError) else first_line(error)
        log.warning(
            "deploy: not all was made of the best run of %s (%s); `kdsweep export %s/best` and"
            " `kdsweep quantize` try again",
            sweep,
            reason,
            sweep,
        )


def _options(sweep: Path) -> DeployConfig:
    """Those of the first run that has a config: a sweep has one `deploy`."""
    for folder in sorted(path.parent for path in sweep.glob("*/config.yaml")):
        if (config := read_run_config(folder)) is not None and "deploy" in config:
            return DeployConfig(list(config.deploy.export), list(config.deploy.quantize))
    return DeployConfig()


def _deploy(run: Path, options: DeployConfig, console: Console) -> None:
    from kdsweep.deploy.sources import find_bundle, load_bundle

    classifier = load_bundle(find_bundle(str(run), _no_store))
    for form in options.export:
        _export(classifier, form, console)
    if options.quantize:
        _quantize(classifier, options.quantize, console)


def _export(classifier: "Classifier", form: str, console: Console) -> None:
    from kdsweep.deploy.evaluation_images import images_to_compare
    from kdsweep.deploy.export.export import ExportOptions, export, show

    images, _ = images_to_compare(classifier)
    show(export(classifier, ExportOptions(form), images), console)


def _quantize(classifier: "Classifier", methods: list[str], console: Console) -> None:
    from kdsweep.deploy.quantize.options import images_for, options_of
    from kdsweep.deploy.quantize.quantize import quantize, show
    from kdsweep.deploy.run_record import deploy_folder

    options = options_of(methods, "minmax")
    calibration, measured = images_for(classifier, options, None, "test", CALIBRATION_IMAGES)
    made = quantize(classifier, deploy_folder(classifier), options, calibration, measured)
    show(made, console)


def _no_store() -> MLflowStore:
    raise AssertionError("a run of this sweep has a folder here")
