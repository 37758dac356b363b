"""The graph of a network, traced by torch.export, for batches of any size.

Shapes: B images of (channels, H, W), C classes.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from kdsweep.common.text import error_reason
from kdsweep.deploy.preprocessing import Preprocessing
from kdsweep.errors import UserError

BATCH = "batch"
EXAMPLE = 2  # images; with one, torch.export would take the batch size for a constant
NOISY = ("torch", "torch.__trace", "torch.onnx", "onnxscript", "onnx_ir")  # loggers
BATCH_IS_CONSTANT = "your code specialized it to be a constant"


class WithPreprocessing(nn.Module):
    """uint8 pixels (B, H, W, channels), as `Preprocessing` has them -> probabilities (B, C)."""

    def __init__(self, module: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.module, self._preprocessing = module, preprocessing

    def forward(self, pixels: Tensor) -> Tensor:
        images = self._preprocessing.normalize(pixels.permute(0, 3, 1, 2))
        logits: Tensor = self.module(images)
        return logits.softmax(1)


def trace(module: nn.Module, preprocessing: Preprocessing, *, inside: bool) -> ExportedProgram:
    """The graph of a network in eval mode; with ``inside`` that of `WithPreprocessing`.

    Raises UserError, with the reason of torch.export, if the network has none.
    """
    if inside:
        channels, height, width = preprocessing.pixel_shape
        example = torch.zeros(EXAMPLE, height, width, channels, dtype=torch.uint8)
        preprocessing.normalize(example.permute(0, 3, 1, 2))  # its constants are made once
        module = WithPreprocessing(module, preprocessing).eval()
    else:
        example = torch.zeros(EXAMPLE, *preprocessing.in_shape)
    with silenced(), refusing("torch.export"):
        return torch.export.export(
            module, (example,), dynamic_shapes=({0: Dim(BATCH, min=1)},), strict=False
        )


@contextmanager
def refusing(exporter: str) -> Iterator[None]:
    """Raise UserError, with the reason, for whatever an exporter raises for a network."""
    try:
        yield
    except Exception as error:  # an exporter raises anything for what it does not know
        raise UserError(
            f"SOURCE must be a network that {exporter} can export: {reason(error)}"
        ) from error


def reason(error: BaseException) -> str:
    """Why a network cannot be exported, in a line."""
    while error.__cause__ is not None:
        error = error.__cause__
    if BATCH_IS_CONSTANT in str(error):
        return "its code takes the batch size for a constant"
    return error_reason(error)


@contextmanager
def silenced() -> Iterator[None]:
    """Inside, torch's exporters print no warnings: what fails is raised, or seen by the check."""
    loggers = [logging.getLogger(name) for name in NOISY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
