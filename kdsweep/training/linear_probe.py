"""Linear probing: a head is trained on features that a frozen backbone computes once per image.

The backbone is in eval mode and sees no augmentation, so that features do not change from epoch to
epoch. The head is trained by the loop that trains whole networks: its student, stream and splits
have features (N, D) in place of images.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from kdsweep.common.types import Batch
from kdsweep.data.pipeline.augment import Augment
from kdsweep.data.pipeline.stream import Stream
from kdsweep.data.types import LabelledImages
from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.models.components.head import find_head, num_inputs
from kdsweep.training.evaluation import Split
from kdsweep.training.student import Student


def freeze_backbone(model: nn.Module, images: Tensor, num_classes: int) -> None:
    """Leave only the parameters of a network's head trainable.

    ``images``: (B, channels, H, W) for a forward pass. Raises ValueError if it has no single head.
    """
    head = model.get_submodule(find_head(model, images, num_classes))
    model.requires_grad_(False)
    head.requires_grad_(True)


def trained_head(model: nn.Module) -> str:
    """The path of the head of a network after `freeze_backbone`."""
    (path,) = {n.rpartition(".")[0] for n, p in model.named_parameters() if p.requires_grad}
    return path


class Backbone(nn.Module):
    """A network up to its head: images (B, channels, H, W) -> the head's inputs (B, D)."""

    def __init__(self, model: nn.Module, head: str) -> None:
        super().__init__()
        self.model, self._head = model, head

    @property
    def width(self) -> int:
        """D."""
        return num_inputs(self.model.get_submodule(self._head))

    def forward(self, images: Tensor) -> Tensor:
        inputs: list[Tensor] = []
        head = self.model.get_submodule(self._head)
        handle = head.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
        try:
            self.model(images)
        finally:
            handle.remove()
        return inputs[-1].flatten(1)


@contextmanager
def head_alone(student: Student) -> Iterator[None]:
    """Within, the student is the head of its network, which takes features (B, D)."""
    whole = student.network
    head = whole.model.get_submodule(trained_head(whole.model))
    if isinstance(head, nn.Conv2d):
        head = nn.Sequential(nn.Unflatten(1, (head.in_channels, 1, 1)), head, nn.Flatten())
    student.network = FeatureExtractor(head)
    try:
        yield
    finally:
        student.network = whole


class FeatureStream(Stream):
    """Batches of features in the order of the stream of their images."""

    def __init__(self, stream: Stream, features: Tensor) -> None:
        """``features``: (N, D) of all training images."""
        super().__init__(
            LabelledImages(features, stream.data.labels),
            batch_size=stream.batch_size,
            seed=stream.seed,
            augment=Augment(),
            mean=(0.0,),
            std=(1.0,),
            device=stream.device,
        )
        self._features = features

    def epoch(self, epoch: int) -> Iterator[Batch]:
        index = self.order(epoch).to(self.device)
        for position in index.split(self.batch_size):
            labels = self.data.labels.index_select(0, position)
            yield Batch(self._features.index_select(0, position), labels, position)


def split_of_features(split: Split, features: Tensor, batch_size: int) -> Split:
    """A split with features (N, D) in place of its images."""

    def batches() -> Iterator[Batch]:
        index = torch.arange(len(features), device=features.device)
        for position in index.split(batch_size):
            yield Batch(features[position], split.labels[position], position)

    return Split(split.name, batches, split.labels)
