"""What is made of a classifier, each with how it is run and what it takes on disk."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from kdsweep.config.validate import QUANTIZED
from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.evaluation_images import EvaluationImages
from kdsweep.deploy.export.export import FORMATS, ensure_onnx
from kdsweep.deploy.manifest import CLASSIFIER, WEIGHTS
from kdsweep.deploy.quantize.int8 import quantize_dynamic, quantize_static
from kdsweep.deploy.quantize.weights import write_rounded
from kdsweep.deploy.run_record import deploy_folder
from kdsweep.deploy.runtimes import Runtime, fast_torch_runtime, normalized, onnx_runtime
from kdsweep.errors import UserError
from kdsweep.tracking.deployed import ONNX, TEACHER, TORCH

QAT = "QAT "  # how the names of a network begin that was trained with rounding
CALIBRATION_BATCH = 64


@dataclass(frozen=True)
class Variant:
    """A model, its files and how it is run."""

    name: str
    files: tuple[Path, ...]
    run: Runtime
    weights: int = 0  # bytes of a network without files

    @property
    def num_bytes(self) -> int:
        """Of its files, or its weights."""
        return sum(file.stat().st_size for file in self.files) or self.weights


@dataclass(frozen=True)
class QuantizeOptions:
    """What to make, and how int8 is calibrated."""

    methods: Sequence[str] = QUANTIZED
    calibration: str = "minmax"
    reduce_range: bool = False


def baselines(classifier: Classifier, folder: Path, images: EvaluationImages) -> list[Variant]:
    """The network in torch, and as an ONNX file that agrees with it on images."""
    path = folder / FORMATS["onnx"]
    ensure_onnx(path, classifier, images)
    bundle = Path(str(classifier.source["folder"]))
    files = (bundle / CLASSIFIER, bundle / WEIGHTS)
    return [
        Variant(TORCH, files, fast_torch_runtime(classifier.module, classifier.preprocessing)),
        Variant(ONNX, (path,), onnx_runtime(path)),
    ]


def teacher_variant(teacher: Classifier) -> Variant:
    """The teacher of the network, in torch."""
    bundle = bundle_of(teacher)
    files = () if bundle is None else (bundle / CLASSIFIER, bundle / WEIGHTS)
    run = fast_torch_runtime(teacher.module, teacher.preprocessing)
    return Variant(TEACHER, files, run, bytes_of(teacher.module))


def bundle_of(classifier: Classifier) -> Path | None:
    """The folder of its files; None for an ensemble, and for weights without a description."""
    folder = classifier.source.get("folder")
    is_bundle = folder is not None and (Path(str(folder)) / CLASSIFIER).is_file()
    return Path(str(folder)) if is_bundle else None


def bytes_of(module: nn.Module) -> int:
    """Of its parameters and buffers."""
    return sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())


def make_variants(
    classifier: Classifier,
    folder: Path,
    options: QuantizeOptions,
    calibration: EvaluationImages,
) -> Iterator[Variant]:
    """What the options ask for, in a folder that holds `model.onnx`.

    Raises UserError if one of them cannot be made.
    """
    source = folder / FORMATS["onnx"]

    def static(target: Path) -> None:
        batches = calibration.batches(CALIBRATION_BATCH)
        inputs = (normalized(classifier.preprocessing, pixels) for pixels in batches)
        quantize_static(
            source,
            target,
            inputs,
            options.calibration,
            reduce_range=options.reduce_range,
        )

    def dynamic(target: Path) -> None:
        quantize_dynamic(source, target)

    writers = {"static": static, "dynamic": dynamic}
    for method in options.methods:
        if method in writers:
            yield _onnx_variant(method, folder, writers[method])
        else:
            bundle = folder / method
            rounded = write_rounded(classifier, bundle, method)
            files = tuple(sorted(bundle.iterdir()))
            yield Variant(
                f"{method} weights",
                files,
                fast_torch_runtime(rounded.module, classifier.preprocessing),
            )


def aware_variants(
    aware: Classifier, options: QuantizeOptions, calibration: EvaluationImages
) -> list[Variant]:
    """A network that was trained with rounding: without it, and as static int8.

    The files are in `deploy/` of its own run. Raises UserError if one of them cannot be made.
    """
    folder = deploy_folder(aware)
    folder.mkdir(parents=True, exist_ok=True)
    before, _ = baselines(aware, folder, calibration)
    static = replace(options, methods=("static",))
    (after,) = make_variants(aware, folder, static, calibration)
    return [replace(before, name=f"{QAT}{before.name}"), replace(after, name=f"{QAT}{after.name}")]


def _onnx_variant(method: str, folder: Path, write: Callable[[Path], None]) -> Variant:
    path = folder / f"int8-{method}.onnx"
    draft = path.with_name(f".{path.name}")
    try:
        write(draft)
        run = onnx_runtime(draft)
        draft.replace(path)
    except UserError:
        raise
    except Exception as error:  # of ONNX Runtime, for an operator that it has no kernel of
        raise UserError(f"{path} must be a model that ONNX Runtime can run: {error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return Variant(f"int8 {method}", (path,), run)
