"""Networks that were trained with another normalisation of the images than the data set's.

Weights depend on the mean and deviation of the images they were trained on. ``set_expected`` stores
these in the network, and ``adapt_input`` converts its input from the data set's normalisation.
Weights, module paths and checkpoints do not change.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kdsweep.common.validation import shown
from kdsweep.models.components.checks import Shape


class Normalization(NamedTuple):
    """Subtracted from [0, 1] pixels, and then their divisor, channel by channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

WEIGHTS = "weights"  # value of `normalize`
EXPECTED = "expected_normalization"  # attribute of a network


def set_expected(
    model: nn.Module,
    normalize: str | None,
    in_shape: Shape,
    of_weights: Normalization | None,
    of_library: Normalization | None = None,
) -> None:
    """Set the normalisation that the network expects.

    Args:
        normalize: null: that of the weights, or without weights the data set's; ``dataset`` or
            ``imagenet``: that one, whatever the weights are; ``weights``: that of its library's,
            which it is going to start from.
        of_weights: that of the images the weights were trained on; None without weights.
        of_library: that of the images which the library's weights of it were trained on.

    Raises ValueError for other values, and for images with another number of channels.
    """
    known = {None: of_weights, "dataset": None, "imagenet": IMAGENET, WEIGHTS: of_library}
    if normalize not in known:
        raise ValueError(
            f"model.normalize must be null, dataset, imagenet or weights, got {shown(normalize)}"
        )
    expected = known[normalize]
    if expected is None:
        return
    if len(expected.mean) != in_shape[0]:
        raise ValueError(
            f"model.normalize={normalize or 'null'} needs images of {len(expected.mean)} channels, "
            f"got {in_shape[0]}"
        )
    setattr(model, EXPECTED, expected)


def adapt_input(model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
    """Make the network accept images normalised by the data set's ``mean`` and ``std``.

    A `NormalizationAdapter` converts its input, unless the network expects that normalisation.
    """
    given, expected = Normalization(tuple(mean), tuple(std)), getattr(model, EXPECTED, None)
    if expected is None or expected == given:
        return
    model.add_module("bridge", NormalizationAdapter(given, expected))
    # Looked up in the model, because a copy of it has its own adapter and the same hook.
    model.register_forward_pre_hook(_adapt)


def _adapt(model: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    images: Tensor = model.get_submodule("bridge")(*inputs)
    return images


class NormalizationAdapter(nn.Module):
    """Converts one normalisation to another, channel by channel: (B, channels, H, W) -> the same.

    Its buffers are not in checkpoints, because they depend on the data set.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, given: Normalization, expected: Normalization) -> None:
        super().__init__()
        mean, std, new_mean, new_std = (
            torch.tensor(numbers, dtype=torch.float64)[:, None, None]
            for numbers in (*given, *expected)
        )
        self.register_buffer("scale", (std / new_std).float(), persistent=False)
        self.register_buffer("shift", ((mean - new_mean) / new_std).float(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return images * self.scale + self.shift
