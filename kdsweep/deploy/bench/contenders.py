"""The models that are measured against each other."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.evaluation_images import random_images
from kdsweep.deploy.export.export import FORMATS, ensure_onnx
from kdsweep.deploy.manifest import WEIGHTS
from kdsweep.deploy.quantize.earlier import earlier_variants
from kdsweep.deploy.quantize.variants import bundle_of, bytes_of
from kdsweep.deploy.quantize.weights import TYPES
from kdsweep.deploy.runtimes import Runtime, fast_torch_runtime, onnx_runtime
from kdsweep.deploy.source_run import run_folder
from kdsweep.tracking.deployed import FOLDER, ONNX, TORCH


@dataclass(frozen=True)
class Contender:
    """A model as one runtime runs it.

    Attributes:
        model: the name of the classifier.
        runtime: `torch fp32`, `ONNX fp32`, `int8 static`, ...
        path: the ONNX file, or the folder of the bundle; None for a network without one.
        run: the model, loaded.
    """

    classifier: Classifier
    model: str
    runtime: str
    path: Path | None
    run: Runtime

    @property
    def name(self) -> str:
        """Unique among those of a measurement."""
        return f"{self.model}, {self.runtime}"

    @property
    def num_bytes(self) -> int:
        """The size of its weights on disk."""
        if self.path is None:
            return bytes_of(self.classifier.module)
        file = self.path if self.path.is_file() else self.path / WEIGHTS
        return file.stat().st_size


def contenders_of(classifier: Classifier, model: str, scratch: Path) -> Iterator[Contender]:
    """A classifier in torch, in ONNX, and as the int8 files that `kdsweep quantize` has written.

    Args:
        model: its name in the table.
        scratch: a folder for an ONNX file, if its run has none of these weights.

    Raises UserError if it cannot be exported.
    """
    run = fast_torch_runtime(classifier.module, classifier.preprocessing)
    yield Contender(classifier, model, TORCH, bundle_of(classifier), run)
    folder = run_folder(classifier)
    deployed = None if folder is None else folder / FOLDER
    made = None if deployed is None else deployed / FORMATS["onnx"]
    path = made if made is not None and made.is_file() else scratch / FORMATS["onnx"]
    ensure_onnx(path, classifier, random_images(classifier))
    yield Contender(classifier, model, ONNX, path, onnx_runtime(path))
    if deployed is not None:
        for one in earlier_variants(classifier, deployed, without=TYPES):
            yield Contender(classifier, model, one.name, one.files[0], one.run)
