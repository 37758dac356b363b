"""The models that are measured against each other."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdsweep.common.files import read_json
from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.evaluation_images import random_images
from kdsweep.deploy.export.export import FORMATS, ensure_onnx
from kdsweep.deploy.manifest import WEIGHTS
from kdsweep.deploy.quantize.variants import bundle_of, bytes_of
from kdsweep.deploy.runtimes import Runtime, fast_torch_runtime, onnx_runtime
from kdsweep.deploy.source_run import run_folder
from kdsweep.tracking.deployed import FOLDER, ONNX, QUANTIZE, TORCH


@dataclass(frozen=True)
class Contender:
    """A model as one runtime runs it.

    Attributes:
        model: the name of the classifier.
        runtime: `torch fp32`, `ONNX fp32`, `int8 static`, ...
        path: the ONNX file, or the folder of the bundle; None for a network without one.
        run: the model, loaded.
        accuracy: on the test set, in [0, 1]; None if it is not known.
    """

    classifier: Classifier
    model: str
    runtime: str
    path: Path | None
    run: Runtime
    accuracy: float | None

    @property
    def name(self) -> str:
        """Unique among those of a measurement."""
        return f"{self.model}, {self.runtime}"

    @property
    def num_bytes(self) -> int:
        """Of its weights on disk."""
        if self.path is None:
            return bytes_of(self.classifier.module)
        file = self.path if self.path.is_file() else self.path / WEIGHTS
        return file.stat().st_size


def contenders_of(classifier: Classifier, model: str, scratch: Path) -> Iterator[Contender]:
    """A classifier in torch, in ONNX, and with the int8 files of `kdsweep quantize`.

    Args:
        model: its name in the table.
        scratch: a folder for an ONNX file that agrees with it.

    Raises UserError if it cannot be exported.
    """
    metrics: dict[str, Any] = dict(classifier.source.get("metrics") or {})
    accuracy = metrics.get("test/acc")
    run = fast_torch_runtime(classifier.module, classifier.preprocessing)
    yield Contender(classifier, model, TORCH, bundle_of(classifier), run, accuracy)
    run_of = run_folder(classifier)
    made = None if run_of is None else run_of / FOLDER / FORMATS["onnx"]
    path = made if made is not None and made.is_file() else scratch / FORMATS["onnx"]
    ensure_onnx(path, classifier, random_images(classifier))
    yield Contender(classifier, model, ONNX, path, onnx_runtime(path), accuracy)
    for row, file in _quantized(classifier):
        yield Contender(classifier, model, row["name"], file, onnx_runtime(file), row["accuracy"])


def _quantized(classifier: Classifier) -> Iterator[tuple[dict[str, Any], Path]]:
    """The int8 files of a run, with the figures that were measured of them on the test set."""
    run = run_folder(classifier)
    if run is None or not (run / FOLDER / f"{QUANTIZE}.json").is_file():
        return
    known = read_json(run / FOLDER / f"{QUANTIZE}.json")
    if known.get("weights_sha256") != classifier.manifest.weights_sha256:
        return  # of weights that the run no longer has
    for row in known["rows"]:
        file = run / FOLDER / f"{row['name'].replace(' ', '-')}.onnx"
        if row["name"].startswith("int8") and file.is_file():
            yield row | ({} if known["split"] == "test" else {"accuracy": None}), file
