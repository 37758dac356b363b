"""`kdsweep export`: a classifier as a file, which is kept only if it agrees with the network."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from kdsweep.common.files import atomic_write
from kdsweep.common.text import error_reason
from kdsweep.common.validation import check_option
from kdsweep.deploy.bundle import read_bundle, write_bundle
from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.evaluation_images import EvaluationImages
from kdsweep.deploy.export.check import Check, compare
from kdsweep.deploy.export.graph import silenced, trace
from kdsweep.deploy.export.onnx_file import (
    LOGITS,
    OPSET,
    OPSETS,
    PROBABILITIES,
    describe,
    is_of,
    metadata,
    to_onnx,
)
from kdsweep.deploy.manifest import CLASSIFIER, WEIGHTS
from kdsweep.deploy.packages import import_deploy
from kdsweep.deploy.run_record import deploy_folder, record
from kdsweep.deploy.runtimes import onnx_runtime, torch_runtime
from kdsweep.errors import UserError
from kdsweep.report.sources.address import Address
from kdsweep.tracking.deployed import EXPORT

if TYPE_CHECKING:
    from rich.console import Console

FORMATS = {"onnx": "model.onnx", "pt2": "model.pt2", "safetensors": "bundle"}  # default names
WITH_PREPROCESSING = "-preprocess"  # in the default name


@dataclass(frozen=True)
class ExportOptions:
    """What to write, and where. A UserError names an option that is not possible."""

    format: str = "onnx"
    output: Path | None = None  # None: in `deploy/` of the run's folder
    inside: bool = False  # preprocessing inside: uint8 pixels in, probabilities out
    opset: int = OPSET

    def __post_init__(self) -> None:
        try:
            check_option("--format", self.format, FORMATS)
        except ValueError as error:
            raise UserError(str(error)) from error
        if self.opset not in OPSETS:
            raise UserError(f"--opset must be from {OPSETS[0]} to {OPSETS[-1]}, got {self.opset}")
        if self.inside and self.format == "safetensors":
            raise UserError("--preprocess must be left out with --format safetensors, a bundle")

    def path(self, classifier: Classifier) -> Path:
        """The file, or the folder of a bundle, to write."""
        if self.output is not None:
            return self.output
        name = Path(FORMATS[self.format])
        middle = WITH_PREPROCESSING if self.inside else ""
        return deploy_folder(classifier) / f"{name.stem}{middle}{name.suffix}"


@dataclass(frozen=True)
class Export:
    """A file that agrees with the network, and where it was recorded."""

    path: Path
    num_bytes: int
    check: Check
    recorded: str


def export(
    classifier: Classifier,
    options: ExportOptions,
    images: EvaluationImages,
    address: Address | None = None,
) -> Export:
    """Write a classifier in a format, compare it with the network on images, and record both.

    ``address``: the MLflow store to record in, by default that of the run.

    Raises UserError, and keeps no file, if the network cannot be exported or the file has other
    outputs than the network.
    """
    path = options.path(classifier)
    path.parent.mkdir(parents=True, exist_ok=True)
    write = {"onnx": _write_onnx, "pt2": _write_pt2, "safetensors": _write_bundle}[options.format]
    check = write(path, classifier, options, images)
    files = [path] if path.is_file() else [path / CLASSIFIER, path / WEIGHTS]
    num_bytes = sum(file.stat().st_size for file in files)
    name = f"{EXPORT}{options.format}{WITH_PREPROCESSING if options.inside else ''}"
    facts = {"file": path.name, "bytes": num_bytes, "opset": options.opset, **asdict(check)}
    if options.format != "onnx":
        del facts["opset"]
    key = name.removeprefix(EXPORT).replace("-", "_")
    metrics: dict[str, float | None] = {
        f"{key}/acc": check.accuracy,
        f"{key}/largest_difference": check.largest_difference,
        f"{key}/bytes": num_bytes,
    }
    recorded = record(classifier, name, facts, metrics, files, address)
    return Export(path, num_bytes, check, recorded)


def write_onnx(
    path: Path,
    classifier: Classifier,
    images: EvaluationImages,
    *,
    inside: bool = False,
    opset: int = OPSET,
) -> Check:
    """Write an ONNX file that agrees with the network. Raises UserError otherwise."""
    onnx = import_deploy("onnx")
    program = trace(classifier.module, classifier.preprocessing, inside=inside)
    model = to_onnx(program, PROBABILITIES if inside else LOGITS, opset)
    describe(model, classifier, inside=inside)
    content = model.SerializeToString()

    def opened(draft: Path) -> Callable[..., Any]:
        try:
            onnx.checker.check_model(str(draft), full_check=True)
        except Exception as error:  # of the checker or of protobuf
            raise UserError(f"{path} must be a valid ONNX model: {error_reason(error)}") from error
        return onnx_runtime(draft, path)

    return _write_checked(path, content, opened, classifier, images, inside)


def ensure_onnx(path: Path, classifier: Classifier, images: EvaluationImages) -> None:
    """Write an ONNX file as `write_onnx` does, unless one of the same network is there.

    That one was compared with the network when it was written. A damaged file is replaced.
    """
    if not is_of(path, classifier):
        write_onnx(path, classifier, images)


def _write_onnx(
    path: Path, classifier: Classifier, options: ExportOptions, images: EvaluationImages
) -> Check:
    return write_onnx(path, classifier, images, inside=options.inside, opset=options.opset)


def _write_pt2(
    path: Path, classifier: Classifier, options: ExportOptions, images: EvaluationImages
) -> Check:
    from io import BytesIO

    program = trace(classifier.module, classifier.preprocessing, inside=options.inside)
    buffer = BytesIO()
    about = metadata(classifier, inside=options.inside)
    with silenced():
        torch.export.save(
            program, buffer, extra_files={f"{key}.txt": v for key, v in about.items()}
        )

    def opened(draft: Path) -> Callable[..., Any]:
        with silenced(), draft.open("rb") as file:
            return torch_runtime(torch.export.load(file).module())

    return _write_checked(path, buffer.getvalue(), opened, classifier, images, options.inside)


def _write_checked(
    path: Path,
    content: bytes,
    opened: Callable[[Path], Callable[..., Any]],
    classifier: Classifier,
    images: EvaluationImages,
    inside: bool,
) -> Check:
    """Write a file in one step, once a draft of it agrees with the network."""
    with atomic_write(path) as draft:
        draft.write_bytes(content)
        check = compare(classifier, opened(draft), images, inside=inside)
        check.require(str(path))
    return check


def _write_bundle(
    path: Path, classifier: Classifier, options: ExportOptions, images: EvaluationImages
) -> Check:
    """A folder of the user's may hold other files, so nothing is removed from it."""
    with TemporaryDirectory() as draft:
        written = read_bundle(write_bundle(Path(draft), classifier.module, classifier.manifest))
        check = compare(classifier, torch_runtime(written.module), images, inside=False)
        check.require(str(path))
    write_bundle(path, classifier.module, classifier.manifest)
    return check


def show(export: Export, console: "Console") -> None:
    """Print what was written, how it was checked, and where it was recorded."""
    from rich.filesize import decimal

    from kdsweep.tracking.printing import print_line

    check = export.check
    print_line(console, f"written    {export.path}, {decimal(export.num_bytes)}")
    print_line(
        console,
        f"checked    the same class for all of {check.images}, outputs differ by at most"
        f" {check.largest_difference:.1g}",
    )
    if check.accuracy is not None and check.torch_accuracy is not None:
        print_line(console, f"accuracy   {check.accuracy:.2%}, in torch {check.torch_accuracy:.2%}")
    print_line(console, f"recorded   {export.recorded}")
