"""A model that can be run, whatever runs it: torch or ONNX Runtime.

Shapes: B images of (channels, H, W), C classes.
"""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kdsweep.common.text import error_reason
from kdsweep.deploy.evaluation_images import EvaluationImages
from kdsweep.deploy.packages import import_deploy
from kdsweep.deploy.preprocessing import Preprocessing
from kdsweep.errors import UserError
from kdsweep.training.arithmetic import NetworkKind

IMAGES = "images"  # the name of the input of an ONNX file

# Normalised images (B, channels, H, W) float32 -> logits (B, C) float32.
Runtime: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def torch_runtime(module: nn.Module) -> Runtime:
    """A network in eval mode, on the CPU, in float32."""

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits: NDArray[np.float32] = module(torch.from_numpy(images)).numpy()
        return logits

    return run


def fast_torch_runtime(module: nn.Module, preprocessing: Preprocessing) -> Runtime:
    """The same in the memory format that is faster on CPUs, as training has it (`auto`).

    That is channels_last for a network with convolutions whose forward pass works in it.
    """
    if not NetworkKind.of(module).convolutions:
        return torch_runtime(module)
    run = torch_runtime(deepcopy(module).to(memory_format=torch.channels_last))
    try:
        run(np.zeros((1, *preprocessing.in_shape), dtype=np.float32))
    except RuntimeError:  # its code calls `view` on feature maps
        return torch_runtime(module)
    return run


def onnx_runtime(path: Path, name: Path | None = None) -> Runtime:
    """An ONNX file in ONNX Runtime on the CPU, with as many threads as torch has.

    The input is normalised images, or what the file takes instead of them.

    Args:
        name: of the file in messages; by default its path.

    Raises UserError if it is damaged, or has an operator that ONNX Runtime has no kernel for.
    """
    runtime = import_deploy("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    try:
        session = runtime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime has an exception type for each status
        raise UserError(
            f"{name or path} must be a model that ONNX Runtime can run: {error_reason(error)}"
        ) from error

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        (outputs,) = session.run(None, {IMAGES: images})
        logits: NDArray[np.float32] = outputs
        return logits

    return run


def normalized(preprocessing: Preprocessing, pixels: Tensor) -> NDArray[np.float32]:
    """What a network is given for uint8 pixels (B, channels, H, W)."""
    return np.ascontiguousarray(preprocessing.normalize(pixels).numpy())


def logits_of(
    runtime: Runtime, preprocessing: Preprocessing, images: EvaluationImages
) -> NDArray[np.float32]:
    """The logits (N, C) of N images."""
    return np.concatenate(
        [runtime(normalized(preprocessing, pixels)) for pixels in images.batches()]
    )
