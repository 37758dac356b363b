"""What is made of a classifier, each with how it is run and its size on disk."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from kdsweep.config.validate import QUANTIZED
from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.evaluation_images import EvaluationImages
from kdsweep.deploy.export.export import FORMATS, ensure_onnx
from kdsweep.deploy.manifest import CLASSIFIER, WEIGHTS
from kdsweep.deploy.quantize.int8 import MINMAX, quantize_dynamic, quantize_static
from kdsweep.deploy.quantize.weights import write_rounded
from kdsweep.deploy.run_record import deploy_folder
from kdsweep.deploy.runtimes import Runtime, fast_torch_runtime, normalized, onnx_runtime
from kdsweep.tracking.deployed import ONNX, TEACHER, TORCH

QAT = "QAT "  # how the names of the rows of a network begin that was trained with rounding
INT8 = ("static", "dynamic")  # methods that write an ONNX file
CALIBRATION_BATCH = 64


@dataclass(frozen=True)
class Variant:
    """A model, its files and how it is run.

    Attributes:
        name: that of its row.
        files: all that it consists of; none for a network without files.
        weights: bytes of a network without files.
        calibration: how the ranges of its activations were found; None without calibration.
    """

    name: str
    files: tuple[Path, ...]
    run: Runtime
    weights: int = 0
    calibration: str | None = None

    @property
    def num_bytes(self) -> int:
        """The size of its files, or of its weights."""
        return sum(file.stat().st_size for file in self.files) or self.weights


@dataclass(frozen=True)
class QuantizeOptions:
    """What to make, and how int8 is calibrated."""

    methods: Sequence[str] = QUANTIZED
    calibration: str = MINMAX
    reduce_range: bool = False

    def note(self, images: EvaluationImages) -> str:
        """How static int8 is calibrated, in words."""
        bits = ", weights of 7 bits" if self.reduce_range else ""
        return f"{self.calibration} on {images.name}{bits}"


def row_name(method: str) -> str:
    """The name of the row of a method."""
    return f"int8 {method}" if method in INT8 else f"{method} weights"


def int8_path(folder: Path, method: str) -> Path:
    """The ONNX file of a method."""
    return folder / f"int8-{method}.onnx"


def baselines(classifier: Classifier, folder: Path, images: EvaluationImages) -> list[Variant]:
    """The network in torch, and as an ONNX file that agrees with it on images."""
    path = folder / FORMATS["onnx"]
    ensure_onnx(path, classifier, images)
    return [torch_variant(classifier), Variant(ONNX, (path,), onnx_runtime(path))]


def torch_variant(classifier: Classifier, name: str = TORCH) -> Variant:
    """A network in torch."""
    bundle = bundle_of(classifier)
    files = () if bundle is None else (bundle / CLASSIFIER, bundle / WEIGHTS)
    run = fast_torch_runtime(classifier.module, classifier.preprocessing)
    return Variant(name, files, run, bytes_of(classifier.module))


def teacher_variant(teacher: Classifier) -> Variant:
    """The teacher of the network, in torch."""
    return torch_variant(teacher, TEACHER)


def bundle_of(classifier: Classifier) -> Path | None:
    """The folder of its files; None for an ensemble, and for weights without a description."""
    folder = classifier.source.get("folder")
    is_bundle = folder is not None and (Path(str(folder)) / CLASSIFIER).is_file()
    return Path(str(folder)) if is_bundle else None


def bytes_of(module: nn.Module) -> int:
    """The size of its parameters and buffers."""
    return sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())


def make_variants(
    classifier: Classifier,
    folder: Path,
    options: QuantizeOptions,
    calibration: EvaluationImages,
) -> Iterator[Variant]:
    """What the options name, in a folder that holds `model.onnx`.

    Raises UserError if one of them cannot be made.
    """
    source = folder / FORMATS["onnx"]
    note = options.note(calibration)

    def static(target: Path) -> None:
        batches = calibration.batches(CALIBRATION_BATCH)
        inputs = (normalized(classifier.preprocessing, pixels) for pixels in batches)
        quantize_static(
            source,
            target,
            inputs,
            options.calibration,
            reduce_range=options.reduce_range,
            note=note,
        )

    def dynamic(target: Path) -> None:
        quantize_dynamic(source, target)

    for method in options.methods:
        if method == "static":
            yield replace(_onnx_variant(method, folder, static), calibration=note)
        elif method == "dynamic":
            yield _onnx_variant(method, folder, dynamic)
        else:
            rounded = write_rounded(classifier, folder / method, method)
            yield torch_variant(rounded, row_name(method))


def aware_variants(
    aware: Classifier, options: QuantizeOptions, calibration: EvaluationImages
) -> list[Variant]:
    """A network that was trained with rounding: in fp32, and as static int8.

    The files are in `deploy/` of its own run. Raises UserError if one of them cannot be made.
    """
    folder = deploy_folder(aware)
    folder.mkdir(parents=True, exist_ok=True)
    before, _ = baselines(aware, folder, calibration)
    static = replace(options, methods=("static",))
    (after,) = make_variants(aware, folder, static, calibration)
    return [of_aware(before), of_aware(after)]


def of_aware(variant: Variant) -> Variant:
    """The variant, named as one of a network that was trained with rounding."""
    return replace(variant, name=f"{QAT}{variant.name}")


def _onnx_variant(method: str, folder: Path, write: Callable[[Path], None]) -> Variant:
    path = int8_path(folder, method)
    draft = path.with_name(f".{path.name}")
    try:
        write(draft)
        run = onnx_runtime(draft, path)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return Variant(row_name(method), (path,), run)
