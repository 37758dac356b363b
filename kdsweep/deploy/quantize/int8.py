"""ONNX files with int8 weights, made by ONNX Runtime.

Jacob et al. 2018 (arXiv 1712.05877): real = scale * (integer - zero point), with one scale for each
output channel of a weight, and one for each activation.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from kdsweep.common.text import error_reason
from kdsweep.deploy.export.graph import silenced
from kdsweep.deploy.export.onnx_file import read_metadata
from kdsweep.deploy.packages import import_deploy
from kdsweep.deploy.runtimes import IMAGES
from kdsweep.errors import UserError

MINMAX = "minmax"
CALIBRATIONS = {MINMAX: "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
CALIBRATION = "calibration"  # in the metadata of a file: how it was calibrated
LINEAR = ["MatMul", "Gemm"]  # what dynamic quantization is for


class CalibrationBatches:
    """Normalised images (B, channels, H, W), as ONNX Runtime reads them."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        """The next batch; None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else {IMAGES: batch}


def of_equal_size(batches: Iterable[Any]) -> Iterator[Any]:
    """Without a smaller last batch, which ONNX Runtime's histograms cannot hold."""
    size = 0
    for batch in batches:
        size = size or len(batch)
        if len(batch) == size:
            yield batch


def quantize_static(
    source: Path,
    target: Path,
    batches: Iterable[Any],
    calibration: str = MINMAX,
    *,
    reduce_range: bool = False,
    note: str = "",
) -> None:
    """Write an ONNX file with int8 weights and 8-bit activations (QDQ) of one in fp32.

    Args:
        batches: what the ranges of activations are read from.
        calibration: how they are read, a key of `CALIBRATIONS`. All but `minmax` keep every
            activation of all batches in memory.
        reduce_range: weights of 7 bits, for x86 CPUs without VNNI, which saturate sums of 8 bits.
        note: how it was calibrated, in words, for the metadata of the file.

    Raises UserError if ONNX Runtime cannot quantize the file.
    """
    runtime = import_deploy("onnxruntime.quantization")
    prepared = target.with_name(f"{target.name}.prepared")
    try:
        with _quantizing():
            # BatchNorms into convolutions, and the shape of every activation.
            runtime.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            runtime.quantize_static(
                str(prepared),
                str(target),
                CalibrationBatches(batches if calibration == MINMAX else of_equal_size(batches)),
                quant_format=runtime.QuantFormat.QDQ,
                per_channel=True,
                reduce_range=reduce_range,
                activation_type=runtime.QuantType.QUInt8,
                weight_type=runtime.QuantType.QInt8,
                calibrate_method=getattr(runtime.CalibrationMethod, CALIBRATIONS[calibration]),
            )
    finally:
        prepared.unlink(missing_ok=True)
    _keep_metadata(source, target, {CALIBRATION: note})


def quantize_dynamic(source: Path, target: Path) -> None:
    """Write an ONNX file whose linear layers have int8 weights; convolutions stay as they are.

    Activations are quantized while it runs, by the range of each batch. Raises UserError if ONNX
    Runtime cannot quantize the file.
    """
    runtime = import_deploy("onnxruntime.quantization")
    with _quantizing():
        runtime.quantize_dynamic(
            str(source),
            str(target),
            op_types_to_quantize=LINEAR,
            per_channel=True,
            weight_type=runtime.QuantType.QInt8,
        )
    _keep_metadata(source, target)


def _keep_metadata(source: Path, target: Path, added: Mapping[str, str] | None = None) -> None:
    """Copy the metadata of a file, which ONNX Runtime drops, and add to it."""
    onnx = import_deploy("onnx")
    model = onnx.load(str(target))
    onnx.helper.set_model_props(model, {**read_metadata(source), **(added or {})})
    onnx.save(model, str(target))


@contextmanager
def _quantizing() -> Iterator[None]:
    """Inside, ONNX Runtime's advice is not printed, and its errors are UserErrors."""
    root = logging.getLogger()  # which its functions log to
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with silenced(), redirect_stdout(StringIO()):
            yield
    except Exception as error:  # of ONNX Runtime, whatever it raises
        raise UserError(
            f"SOURCE must be a network that ONNX Runtime can quantize: {error_reason(error)}"
        ) from error
    finally:
        root.setLevel(level)
