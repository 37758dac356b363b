"""Networks for images of another size than the data set's.

`resize_input` has a network resize its input. Weights, module paths and checkpoints do not change.
"""

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

Size = tuple[int, int]  # (H, W)


def resize_input(model: nn.Module, size: Size | None) -> None:
    """Make the network resize the images it is given to ``size``; None: it takes them as they are.

    Images of that size are not changed.
    """
    if size is not None:
        model.register_forward_pre_hook(partial(_resize, size=size))


def _resize(model: nn.Module, inputs: tuple[Tensor], size: Size) -> Tensor:
    return resized_input(inputs[0], size)


def resized_input(images: Tensor, size: Size) -> Tensor:
    """Normalised images (B, channels, H, W) of another (H, W): bilinear, with antialiasing."""
    if images.shape[-2:] == size:
        return images
    return F.interpolate(images, size, mode="bilinear", antialias=True)
