"""Whether an exported file computes what the network computes.

Shapes: N images, C classes.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.evaluation_images import EvaluationImages
from kdsweep.deploy.runtimes import normalized, torch_runtime
from kdsweep.errors import UserError

ALLOWED = 1e-4  # difference of logits up to 10; of larger ones in proportion
ORDINARY = 10.0
# Networks that amplify rounding: so many times what float32 changes in their own outputs. The other
# order of a sum is as good as torch's, and both may be off in opposite directions.
ROUNDINGS = 4.0


@dataclass(frozen=True)
class Check:
    """An exported file next to the network.

    Attributes:
        images: what they were compared on.
        count: N.
        same_class: images with the same most probable class.
        largest_difference: of two outputs.
        allowed_difference: of two outputs.
        accuracy: of the file, in [0, 1]; None for images without labels.
        torch_accuracy: of the network.
    """

    images: str
    count: int
    same_class: int
    largest_difference: float
    allowed_difference: float
    accuracy: float | None
    torch_accuracy: float | None

    @property
    def agrees(self) -> bool:
        """Whether every image has the same class, and outputs that are equal up to rounding."""
        # A difference that is NaN is not allowed either.
        is_close = self.largest_difference <= self.allowed_difference
        return self.same_class == self.count and is_close

    def require(self, name: str) -> None:
        """Raise UserError, with the reason, unless the file agrees with the network."""
        if not self.agrees:
            raise UserError(
                f"{name} must compute what the network computes, got the same class for"
                f" {self.same_class:,} of {self.images}, and outputs that differ by up to"
                f" {self.largest_difference:.2g}, of {self.allowed_difference:.2g} that are"
                " allowed; the file was not kept"
            )


def compare(
    classifier: Classifier,
    run: Callable[[NDArray[Any]], NDArray[np.float32]],
    images: EvaluationImages,
    *,
    inside: bool,
) -> Check:
    """Run a file and the network, in float32, on the same images.

    Args:
        run: the file; with ``inside`` on pixels (B, H, W, channels), returning probabilities.
    """
    network = torch_runtime(classifier.module)
    of_network: list[NDArray[np.float32]] = []
    of_file: list[NDArray[np.float32]] = []
    for pixels in images.batches():
        inputs = normalized(classifier.preprocessing, pixels)
        logits = network(inputs)
        of_network.append(softmax(logits) if inside else logits)
        of_file.append(run(channels_last(pixels) if inside else inputs))
    expected, actual = np.concatenate(of_network), np.concatenate(of_file)
    difference = float(np.abs(expected - actual).max())
    allowed = ALLOWED * max(1.0, float(np.abs(expected).max()) / ORDINARY)
    if difference > allowed:
        rounding = own_rounding(classifier, images, expected, inside=inside)
        allowed = max(allowed, ROUNDINGS * rounding)
    return Check(
        images=images.name,
        count=len(images),
        same_class=int((expected.argmax(1) == actual.argmax(1)).sum()),
        largest_difference=difference,
        allowed_difference=allowed,
        accuracy=accuracy(actual, images.labels),
        torch_accuracy=accuracy(expected, images.labels),
    )


def own_rounding(
    classifier: Classifier,
    images: EvaluationImages,
    outputs: NDArray[np.float32],
    *,
    inside: bool,
) -> float:
    """The largest difference between a network's outputs (N, C) in float32 and those in float64.

    0 for a network that cannot compute in float64.
    """
    network = deepcopy(classifier.module).double()
    exact: list[NDArray[Any]] = []
    try:
        with torch.inference_mode():
            for pixels in images.batches():
                inputs = torch.from_numpy(normalized(classifier.preprocessing, pixels))
                exact.append(network(inputs.double()).numpy())
    except RuntimeError:  # its code has a type of its own
        return 0.0
    logits = np.concatenate(exact)
    return float(np.abs(outputs - (softmax(logits) if inside else logits)).max())


def channels_last(pixels: Tensor) -> NDArray[np.uint8]:
    """Pixels (B, channels, H, W) as (B, H, W, channels)."""
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())


def softmax(logits: NDArray[Any]) -> NDArray[np.float32]:
    """Probabilities (N, C) of logits (N, C), computed in float64."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    probs: NDArray[np.float32] = (exponentials / exponentials.sum(1, keepdims=True)).astype("f4")
    return probs


def accuracy(outputs: NDArray[np.float32], labels: Tensor | None) -> float | None:
    """The share of N images whose largest output is that of their class."""
    if labels is None:
        return None
    return float((outputs.argmax(1) == labels.cpu().numpy()).mean())
