"""The options of `kdsweep quantize`, checked, and the images for it."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from kdsweep.common.validation import check_option
from kdsweep.config.validate import QUANTIZED
from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.evaluation_images import (
    EvaluationImages,
    SplitName,
    dataset_of_run,
    images_of_dataset,
    images_of_folder,
    random_images,
)
from kdsweep.deploy.quantize.int8 import CALIBRATIONS
from kdsweep.deploy.quantize.variants import QuantizeOptions
from kdsweep.deploy.source_run import NO_RUN, run_folder
from kdsweep.errors import UserError

ALL = "all"
CALIBRATION_IMAGES = 512  # at most
SPLITS = ("test", "val")


def options_of(
    methods: Sequence[str], calibration: str, *, reduce_range: bool = False
) -> QuantizeOptions:
    """The options, checked. Raises UserError for an unknown value."""
    try:
        for method in methods:
            check_option("--method", method, (*QUANTIZED, ALL))
        check_option("--calibration", calibration, CALIBRATIONS)
    except ValueError as error:
        raise UserError(str(error)) from error
    chosen = QUANTIZED if ALL in methods else [one for one in QUANTIZED if one in methods]
    return QuantizeOptions(chosen, calibration, reduce_range)


def images_for(
    classifier: Classifier,
    options: QuantizeOptions,
    folder: Path | None = None,
    split: str = "test",
    count: int = CALIBRATION_IMAGES,
) -> tuple[EvaluationImages, EvaluationImages]:
    """The images to calibrate on, ``count`` at most, and those to measure on.

    Calibration uses validation images, or training images if the run has no validation images.
    With ``folder``, its images are used for both.

    Raises UserError if there are no images and static int8 needs some.
    """
    if split not in SPLITS:
        raise UserError(f"--split must be test or val, got {split}")
    if folder is not None:
        own = images_of_folder(folder, classifier)
        return own.evenly_spaced(count), own
    run = run_folder(classifier)
    try:
        if run is None:
            raise UserError(NO_RUN)
        dataset = dataset_of_run(classifier, run)
    except UserError as error:
        if "static" in options.methods:
            raise UserError(
                f"--images must be a folder of images to calibrate static int8 on, got none, and"
                f" the run's own are not there: {error}"
            ) from error
        pixels = random_images(classifier)
        return pixels, pixels
    calibration = images_of_dataset(dataset, "val") or images_of_dataset(dataset, "train")
    measured = images_of_dataset(dataset, cast(SplitName, split))
    assert calibration is not None, "every data set has training images"
    if measured is None:
        raise UserError(f"--split must be test, got {split}, and the run has no validation images")
    return calibration.evenly_spaced(count), measured
