"""Networks that were trained on images of another normalisation than the data set's.

Weights belong to the mean and deviation that their images had. Such a network says so (``expect``),
and once the data set is known its input is turned from the one form into the other (``bridge``).
Weights, module paths and checkpoints stay as they are.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kdsweep.models.components.checks import Shape


class Normalization(NamedTuple):
    """What is subtracted from [0, 1] pixels, and what divides them then, channel by channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

EXPECTED = "expected_normalisation"  # the attribute by which a network says what it expects


def set_expected(
    model: nn.Module, normalize: str | None, in_shape: Shape, of_weights: Normalization | None
) -> None:
    """Note which normalisation the network's images shall have.

    Args:
        normalize: null: that of the weights, or without weights the data set's; ``dataset`` or
            ``imagenet``: that one, whatever the weights are.
        of_weights: what the weights were trained with; None without weights.

    Raises ValueError for other words, and for images of other channels.
    """
    known = {None: of_weights, "dataset": None, "imagenet": IMAGENET}
    if normalize not in known:
        raise ValueError(f"model.normalize must be null, dataset or imagenet, got {normalize!r}")
    wanted = known[normalize]
    if wanted is None:
        return
    if len(wanted.mean) != in_shape[0]:
        raise ValueError(
            f"model.normalize={normalize or 'null'} needs images of {len(wanted.mean)} channels, "
            f"got {in_shape[0]}"
        )
    setattr(model, EXPECTED, wanted)


def adapt_input(model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
    """Let the network take images that the data set has normalised by ``mean`` and ``std``.

    It becomes the first thing that the network does. Where it expects nothing else than what the
    data set gives, it stays as it is.
    """
    given, expected = Normalization(tuple(mean), tuple(std)), getattr(model, EXPECTED, None)
    if expected is None or expected == given:
        return
    model.add_module("bridge", NormalizationAdapter(given, expected))
    model.register_forward_pre_hook(_through_bridge)


def _through_bridge(model: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    bridged: Tensor = model.get_submodule("bridge")(*inputs)
    return bridged


class NormalizationAdapter(nn.Module):
    """From one normalisation to another, channel by channel: (B, channels, H, W) -> the same.

    Its numbers are no weights and in no checkpoint: the next data set has others.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, given: Normalization, expected: Normalization) -> None:
        super().__init__()
        mean, std, own_mean, own_std = (
            torch.tensor(numbers, dtype=torch.float64)[:, None, None]
            for numbers in (*given, *expected)
        )
        self.register_buffer("scale", (std / own_std).float(), persistent=False)
        self.register_buffer("shift", ((mean - own_mean) / own_std).float(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return images * self.scale + self.shift
