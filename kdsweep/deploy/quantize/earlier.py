"""Files that earlier commands have made of the same weights.

They are measured again with those of the command, so that all rows of a table are of the same
images, and their latencies can be compared.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

from kdsweep.common.notices import warn_once
from kdsweep.config.validate import QUANTIZED
from kdsweep.deploy.bundle import read_bundle
from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.export.onnx_file import is_of, read_metadata
from kdsweep.deploy.manifest import CLASSIFIER, read_manifest
from kdsweep.deploy.quantize.int8 import CALIBRATION
from kdsweep.deploy.quantize.variants import (
    INT8,
    Variant,
    int8_path,
    of_aware,
    row_name,
    torch_variant,
)
from kdsweep.deploy.quantize.weights import TYPES
from kdsweep.deploy.runtimes import onnx_runtime
from kdsweep.deploy.sources import load_bundle
from kdsweep.errors import UserError
from kdsweep.tracking import run_dir
from kdsweep.tracking.deployed import FOLDER, QAT_FOLDER
from kdsweep.training.checkpoint import sha256


def earlier_variants(
    classifier: Classifier, folder: Path, without: Collection[str] = ()
) -> Iterator[Variant]:
    """The int8 files and the bundles of rounded weights in a folder.

    Those of other weights are left out, and damaged ones with a warning.

    Args:
        without: methods that are left out, too.
    """
    for method in QUANTIZED:
        if method in without:
            continue
        with _damage_is_a_warning():
            variant = _int8(classifier, folder, method) or _rounded(classifier, folder, method)
            if variant is not None:
                yield variant


def earlier_aware(run: Path) -> list[Variant]:
    """The network of the last `--qat` of a run, as `aware_variants` has it; empty without one."""
    files = run.glob(f"{FOLDER}/{QAT_FOLDER}*/{int8_path(Path(FOLDER), 'static')}")
    for file in sorted(files, key=lambda path: path.stat().st_mtime, reverse=True):
        bundle = file.parents[1] / Path(run_dir.CLASSIFIER).parent
        with _damage_is_a_warning():
            aware = load_bundle(bundle)
            static = _int8(aware, file.parent, "static")
            if static is not None:
                return [of_aware(torch_variant(aware)), of_aware(static)]
    return []


@contextmanager
def _damage_is_a_warning() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        warn_once(f"a file of an earlier command is left out: {error}")


def _int8(classifier: Classifier, folder: Path, method: str) -> Variant | None:
    path = int8_path(folder, method)
    if method not in INT8 or not is_of(path, classifier):
        return None
    calibration = read_metadata(path).get(CALIBRATION) or None
    return Variant(row_name(method), (path,), onnx_runtime(path), calibration=calibration)


def _rounded(classifier: Classifier, folder: Path, method: str) -> Variant | None:
    bundle = folder / method
    if method not in TYPES or not (bundle / CLASSIFIER).is_file():
        return None
    expected = sha256(deepcopy(classifier.module).to(TYPES[method]))
    if read_manifest(bundle).weights_sha256 != expected:
        return None
    return torch_variant(read_bundle(bundle), row_name(method))
