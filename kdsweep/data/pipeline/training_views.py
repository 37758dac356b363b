"""What is done to training photographs: a random box, then random colours, then erasing.

Shapes: N images of (channels, H, W) in an epoch, B in a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kdsweep.common.rng import derive
from kdsweep.data.pipeline.auto_augment import POLICY_OPERATIONS, Policy
from kdsweep.data.pipeline.central_view import CentralView
from kdsweep.data.pipeline.color_jitter import JITTER_OPERATIONS, ColorJitter
from kdsweep.data.pipeline.drawn_operations import OperationBatch, operate
from kdsweep.data.pipeline.random_boxes import RandomErasing, RandomResizedCrop
from kdsweep.data.pipeline.resampling import Size


class ViewParams(NamedTuple):
    """The random parameters of a batch; None for what is off."""

    crop: Tensor | None = None  # (B, 4) int64, boxes of the images as they are decoded, on the CPU
    policy: OperationBatch | None = None
    jitter: OperationBatch | None = None
    erased: Tensor | None = None  # (B, 4) int64, on the device


@dataclass(frozen=True)
class TrainingViews:
    """Random views of images; by default each image as it is.

    ``view``: of images whose size is not that of training; ``crop`` takes its place. Each draws
    from a generator of its own, so that none changes what another draws.
    """

    view: CentralView | None = None
    crop: RandomResizedCrop | None = None
    policy: Policy | None = None
    jitter: ColorJitter | None = None
    erasing: RandomErasing | None = None

    def size(self, image: Size) -> Size:
        """(H, W) of the views of images of (H, W)."""
        return image if self.view is None else self.view.size

    def draw(
        self, count: int, image: Size, parts: Sequence[Tensor], device: torch.device, *seed: int
    ) -> list[ViewParams]:
        """The parameters of each batch of an epoch, all drawn on the CPU and moved at once.

        Args:
            count: N.
            image: (H, W) of the images as they are decoded.
            parts: the places (B,) in the order of the epoch of the images of each batch.
            seed: of the run, and the epoch.
        """
        sizes, index, size = [len(part) for part in parts], torch.cat([*parts]), self.size(image)

        def generator(name: str) -> torch.Generator:
            return torch.Generator().manual_seed(derive(name, *seed))

        params: dict[str, Sequence[Any]] = {}
        if self.crop is not None:
            boxes = self.crop.draw(count, image, generator("random_resized_crop"))
            params["crop"] = boxes[index].split(sizes)
        if self.policy is not None:
            drawn = self.policy.draw(count, size, generator("auto_augment"))
            params["policy"] = drawn.rows(index).batches(sizes, device)
        if self.jitter is not None:
            drawn = self.jitter.draw(count, generator("color_jitter"))
            params["jitter"] = drawn.rows(index).batches(sizes, device)
        if self.erasing is not None:
            boxes = self.erasing.draw(count, size, generator("random_erasing"))[index]
            params["erased"] = boxes.to(device, non_blocking=True).split(sizes)
        return [
            ViewParams(**{name: drawn[number] for name, drawn in params.items()})
            for number in range(len(parts))
        ]

    def placed(self, images: Tensor, params: ViewParams) -> Tensor:
        """uint8 images (B, channels, H, W) as decoded -> their boxes, of the size of training."""
        if self.crop is not None and params.crop is not None:
            return self.crop.apply(images, params.crop)
        return images if self.view is None else self.view(images)

    def coloured(self, images: Tensor, params: ViewParams) -> Tensor:
        """uint8 images after their random operations."""
        if params.policy is not None:
            images = operate(images, params.policy, POLICY_OPERATIONS)
        if params.jitter is not None:
            images = operate(images, params.jitter, JITTER_OPERATIONS)
        return images

    def erased(self, images: Tensor, params: ViewParams, colour: Tensor) -> Tensor:
        """uint8 images with their boxes in a colour (channels, 1, 1)."""
        if self.erasing is None or params.erased is None:
            return images
        return self.erasing.apply(images, params.erased, colour)
