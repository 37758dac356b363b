"""The values that models, losses and the training loop exchange.

Shapes: B images in a batch, C classes.
"""

from typing import NamedTuple

from torch import Tensor


class Output(NamedTuple):
    """Logits and captured features of a batch; `members` for several teachers.

    Of a batch with a strong view they are those of its first, weak view.
    """

    logits: Tensor  # (B, C)
    features: dict[str, Tensor]  # module path -> (B, ...); empty where there are members
    members: tuple["Output", ...] = ()  # the output of each of several teachers
    strong: "Output | None" = None  # the output for `Batch.strong`


class MixedLabels(NamedTuple):
    """The second labels of a mixed batch (mixup, CutMix)."""

    labels: Tensor  # (B,) int64, of the images mixed in
    lam: float  # weight of `Batch.labels`, in [0.5, 1]; that of these is 1 - lam


class Batch(NamedTuple):
    """One step of a stream, the same for the teacher and every student of a cohort.

    With several devices the images, of both views, are those of the own rows of this process.
    """

    images: Tensor  # (B, channels, H, W) float32, normalised
    labels: Tensor  # (B,) int64
    # (B,) int64, position of each image in the training split; hides tuple.index on purpose
    index: Tensor  # type: ignore[assignment]
    mixed: MixedLabels | None = None
    strong: Tensor | None = None  # a second view of the same images, strongly augmented
