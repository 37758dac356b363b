"""What `deploy=onnx` and the like make of the best run of a sweep that has ended."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from kdsweep.common.pacing import lines_while
from kdsweep.common.text import first_line
from kdsweep.config.schema import DeployConfig
from kdsweep.errors import UserError
from kdsweep.tracking.best_run import best_run
from kdsweep.tracking.metadata import read_run_config
from kdsweep.tracking.mlflow.store import MLflowStore

if TYPE_CHECKING:
    from kdsweep.deploy.classifier import Classifier

Show = Callable[[Console], None]  # prints what was made

log = logging.getLogger(__name__)


def deploy_best(sweep: Path) -> list[Show]:
    """Export and quantize the best run of a sweep by validation, as `deploy` in its config names.

    It is measured next to its teacher, for the report. Returns what prints the results. A sweep
    never fails for it: what went wrong is a warning.
    """
    options = _options(sweep)
    made: list[Show] = []
    if not options.export and not options.quantize:
        return made
    try:
        with lines_while("deploying the best run"):
            _deploy(best_run(sweep, "deploy")[0], options, made)
    except Exception as error:  # of an exporter, whatever it raises
        reason = str(error) if isinstance(error, UserError) else first_line(error)
        log.warning(
            "deploy: not all was made of the best run of %s (%s); `kdsweep export %s/best` and"
            " `kdsweep quantize` try again",
            sweep,
            reason,
            sweep,
        )
    return made


def _options(sweep: Path) -> DeployConfig:
    """Those of the first run that has a config: a sweep has one `deploy`."""
    for folder in sorted(path.parent for path in sweep.glob("*/config.yaml")):
        if (config := read_run_config(folder)) is not None and "deploy" in config:
            return DeployConfig(list(config.deploy.export), list(config.deploy.quantize))
    return DeployConfig()


def _deploy(run: Path, options: DeployConfig, made: list[Show]) -> None:
    from kdsweep.deploy.sources import find_bundle, load_bundle

    classifier = load_bundle(find_bundle(str(run), _no_store))
    for form in options.export:
        made.append(_exported(classifier, form))
    if options.quantize or "onnx" in options.export:
        made.append(_measured(classifier, options.quantize))


def _exported(classifier: "Classifier", form: str) -> Show:
    from kdsweep.deploy.evaluation_images import images_to_compare
    from kdsweep.deploy.export.export import ExportOptions, export, show

    images, _ = images_to_compare(classifier)
    return partial(show, export(classifier, ExportOptions(form), images))


def _measured(classifier: "Classifier", methods: list[str]) -> Show:
    """Without methods, the network in torch and in ONNX Runtime."""
    from kdsweep.deploy.quantize.options import images_for, options_of
    from kdsweep.deploy.quantize.quantize import quantize, show
    from kdsweep.deploy.run_record import deploy_folder
    from kdsweep.deploy.teachers import teacher_if_here

    options = options_of(methods, "minmax")
    calibration, images = images_for(classifier, options)
    teacher = teacher_if_here(classifier, _no_store)
    folder = deploy_folder(classifier)
    made = quantize(classifier, folder, options, calibration, images, teacher=teacher)
    return partial(show, made)


def _no_store() -> MLflowStore:
    """Nothing is downloaded at the end of a sweep. Raises UserError."""
    raise UserError("the files of its run are not in this folder")
