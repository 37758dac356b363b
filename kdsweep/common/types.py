"""What models, losses and the training loop hand to each other.

Shapes: B images in a batch, C classes.
"""

from typing import NamedTuple

from torch import Tensor


class Output(NamedTuple):
    """What a network says about a batch, or several that teach together."""

    logits: Tensor  # (B, C)
    features: dict[str, Tensor]  # module path -> (B, ...); empty where there are members
    members: tuple["Output", ...] = ()  # what each of several teachers says


class MixedLabels(NamedTuple):
    """What else the images of a mixed batch show (mixup, CutMix)."""

    labels: Tensor  # (B,) int64, of the images mixed in
    lam: float  # of `Batch.labels`, in [0.5, 1]; these have the rest


class Batch(NamedTuple):
    """One step of a stream, the same for the teacher and every student of a cohort."""

    images: Tensor  # (B, channels, H, W) float32, normalised
    labels: Tensor  # (B,) int64
    # (B,) int64, position of each image in the training split; hides tuple.index on purpose
    index: Tensor  # type: ignore[assignment]
    mixed: MixedLabels | None = None
